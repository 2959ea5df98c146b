//! Kubernetes' Common Expression Language: compiling, type checking, costs and evaluation, the
//! libraries of Kubernetes 1.36, and the validation rules of custom resources.
//!
//! Knows no store, no transport and no clock. Upstream counterpart: cel-go,
//! `k8s.io/apiserver/pkg/cel` and `k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel`.

mod checker;
mod cost;
mod data;
mod decl;
mod environment;
mod estimate;
mod eval;
mod library;
mod plan;
pub mod rules;
mod syntax;
mod time;
mod types;
mod val;
mod validators;

pub use checker::Reference;
pub use data::{Data, Source};
pub use decl::*;
pub use environment::*;
pub use estimate::{Estimate, Sizes, UnknownSizes};
pub use library::{
    AuthorizationCheck, Authorizer, Cidr, NamedFormat, Opaque, Overload, Semver, Url, Verdict,
};
pub use syntax::{CompileError, join};
pub use time::Timestamp;
pub use types::Type;
pub use val::*;
