//! Keywords of a CRD schema that only check values: bounds, patterns, enums, rules.

use crate::NodeId;
use machinery::{SmolStr, Value};

/// Value checks of one node (`JSONSchemaProps` keywords).
#[derive(Debug, Default)]
pub struct Checks {
    /// `format`.
    pub format: SmolStr,
    /// `pattern`.
    pub pattern: SmolStr,
    /// `enum`.
    pub allowed: Vec<Value>,
    /// `minimum` and whether it is exclusive.
    pub minimum: Option<(f64, bool)>,
    /// `maximum` and whether it is exclusive.
    pub maximum: Option<(f64, bool)>,
    /// `multipleOf`.
    pub multiple_of: Option<f64>,
    /// `minLength`, `maxLength`.
    pub length: (Option<u64>, Option<u64>),
    /// `minItems`, `maxItems`.
    pub items: (Option<u64>, Option<u64>),
    /// `minProperties`, `maxProperties`.
    pub properties: (Option<u64>, Option<u64>),
    /// `uniqueItems`.
    pub unique_items: bool,
    /// `required`.
    pub required: Vec<SmolStr>,
    /// `allOf`.
    pub all_of: Vec<NodeId>,
    /// `anyOf`.
    pub any_of: Vec<NodeId>,
    /// `oneOf`.
    pub one_of: Vec<NodeId>,
    /// `not`.
    pub not: Option<NodeId>,
    /// `x-kubernetes-validations`, kept as written.
    pub rules: Vec<Value>,
}
