//! Who is asking, and whether they may: users, RBAC evaluation, service-account tokens.
//!
//! Pure over what it is given: roles and bindings come in as objects, time and randomness as
//! arguments. Knows no store and no transport. Upstream counterpart:
//! `k8s.io/apiserver/pkg/authentication`, `plugin/pkg/auth/authorizer/rbac`, `pkg/serviceaccount`.

mod rbac;
mod token;
mod user;

pub use rbac::*;
pub use token::*;
pub use user::*;
