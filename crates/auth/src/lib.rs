//! Who is asking, and whether they may: users, RBAC evaluation, service-account tokens.
//!
//! Pure over what it is given: roles and bindings come in as objects, time and randomness as
//! arguments. Knows no store and no transport. Upstream counterpart:
//! `k8s.io/apiserver/pkg/authentication`, `plugin/pkg/auth/authorizer/rbac`, `pkg/serviceaccount`.

mod attributes;
mod impersonate;
mod node;
mod rbac;
mod rule;
mod token;
mod user;

pub use attributes::*;
pub use impersonate::*;
pub use node::*;
pub use rbac::*;
pub use rule::*;
pub use token::*;
pub use user::*;
