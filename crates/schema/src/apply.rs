//! Server-side apply and the record of who set which field.
//!
//! Structured merge over types as data. Knows no kind, no request and no clock. Upstream
//! counterpart: `sigs.k8s.io/structured-merge-diff` and `apimachinery/pkg/util/managedfields`.

mod compare;
mod entries;
mod fieldset;
mod items;
mod last_applied;
mod managed;
mod merge;
mod versions;

pub use compare::field_set;
pub use fieldset::FieldSet;
pub use managed::{Manager, apply, update_managed};
pub use merge::merge_configuration;
pub use versions::{Version, Versions};
