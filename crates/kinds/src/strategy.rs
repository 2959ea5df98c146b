//! What is particular about writing one kind: flags and functions, plain where nothing is.
//!
//! Upstream counterpart: `rest.RESTCreateStrategy` and its siblings.

use machinery::{FieldError, Value, dns1123_subdomain};

/// What `metadata.generation` of a kind counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// It has none.
    None,
    /// Nothing: it is one for ever.
    One,
    /// Changes of what is desired; the object as it was made has none.
    Changes,
    /// Changes of what is desired, from one on.
    Desired,
    /// Those and changes of annotations, which go down to what the object makes.
    DesiredAndAnnotations,
}

/// Rules of writing one kind. The registry calls them through the methods of [`crate::Kind`],
/// which add what holds for all kinds.
#[derive(Clone, Copy, Debug)]
pub struct Strategy {
    /// What is wrong with a name; empty if nothing.
    pub name_check: fn(&str) -> Vec<String>,
    /// Whether `status` belongs to the status subresource alone.
    pub has_status: bool,
    /// Whether its spec is said once and belongs to nobody: no field manager is told to own it.
    pub unowned_spec: bool,
    /// What `metadata.generation` counts.
    pub generation: Generation,
    /// Whether a PUT to a missing name creates it.
    pub allow_create_on_update: bool,
    /// Whether an update without `resourceVersion` is taken.
    pub allow_unconditional_update: bool,
    /// Changes a new object before validation; metadata (uid too) is already filled in.
    pub prepare_create: fn(&mut Value),
    /// Changes an update (first argument) given the stored object.
    pub prepare_update: fn(&mut Value, &Value),
    /// Changes a status update (first argument) given the stored object.
    pub prepare_status_update: fn(&mut Value, &Value),
    /// Fields and where it stands when each last got another value.
    pub since: &'static [[&'static [&'static str]; 2]],
    /// What is wrong with an object.
    pub validate: fn(&Value) -> Vec<FieldError>,
    /// Whether `validate` says all there is to say, also of what is missing.
    pub is_checked: bool,
    /// What is wrong with a new object beside that.
    pub validate_create: fn(&Value) -> Vec<FieldError>,
    /// What is wrong with the transition from the stored object (second argument).
    pub validate_update: fn(&Value, &Value) -> Vec<FieldError>,
    /// What is wrong with a status update (first argument) of the stored object.
    pub validate_status_update: fn(&Value, &Value) -> Vec<FieldError>,
    /// Warnings for the client about an object it writes.
    pub warnings: fn(&Value) -> Vec<String>,
    /// Seconds of grace a deletion gives if the request names none; `None`: removed at once,
    /// whatever the request says.
    pub default_deletion_grace: fn(&Value) -> Option<i64>,
    /// Marks an object for deletion in a way of its own (a namespace's phase, a definition's
    /// finalizer) and says whether something beside `metadata` still holds it.
    pub prepare_delete: fn(&mut Value) -> bool,
    /// Whether a deletion answers with the object even when it is gone at once.
    pub shows_deleted: bool,
    /// What happens to dependents if the request does not say.
    pub default_propagation: Propagation,
    /// What a client hears who deletes without saying what happens to dependents.
    pub unsaid_propagation: &'static str,
}

/// What a deletion does to dependents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// Dependents follow later.
    #[default]
    Background,
    /// Dependents go first.
    Foreground,
    /// Dependents stay.
    Orphan,
}

impl Strategy {
    /// Nothing particular: subdomain names, no status, no generation.
    pub const PLAIN: Strategy = Strategy {
        name_check: dns1123_subdomain,
        has_status: false,
        unowned_spec: false,
        generation: Generation::None,
        allow_create_on_update: false,
        allow_unconditional_update: true,
        prepare_create: |_| (),
        prepare_update: |_, _| (),
        prepare_status_update: |_, _| (),
        since: &[],
        validate: |_| Vec::new(),
        is_checked: false,
        validate_create: |_| Vec::new(),
        validate_update: |_, _| Vec::new(),
        validate_status_update: |_, _| Vec::new(),
        warnings: |_| Vec::new(),
        default_deletion_grace: |_| None,
        prepare_delete: |_| false,
        shows_deleted: false,
        default_propagation: Propagation::Background,
        unsaid_propagation: "",
    };

    /// Status of its own and a generation: the common case of a controller's kind.
    pub const MANAGED: Strategy = Strategy {
        has_status: true,
        generation: Generation::Desired,
        ..Strategy::PLAIN
    };
}

impl Default for Strategy {
    fn default() -> Self {
        Self::PLAIN
    }
}
