//! Custom types: compiling a CRD's structural schema, and checking values against it.
//!
//! Rules in CEL are kept, not evaluated. Upstream counterpart: `apiextensions-apiserver/pkg/apiserver`
//! `schema` and `validation`, and `kube-openapi/pkg/validation`.

mod compile;
mod formats;
mod validate;

pub use compile::compile_crd_schema;
pub use validate::validate;
