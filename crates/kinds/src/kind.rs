//! A kind in one version: everything the door needs to know to serve it.
//!
//! Upstream counterpart: `genericregistry.Store` and `APIResource` taken together.

use crate::{
    Columns, Generation, Strategy, catalogue::Part, defaults, fields::stored_field, internal, meta,
    required, subresource, zeros,
};
use k8s_cel::rules::Rules;
use machinery::{
    FieldError, FieldErrorKind, GroupResource, GroupVersion, GroupVersionKind, SmolStr, Value,
};
use schema::TypeRef;
use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// Errors that leave an object in no shape to evaluate rules on.
const BLOCKING: [FieldErrorKind; 5] = [
    FieldErrorKind::NotSupported,
    FieldErrorKind::Required,
    FieldErrorKind::TooLong,
    FieldErrorKind::TooMany,
    FieldErrorKind::TypeInvalid,
];
/// Said beside such errors.
const UNCHECKED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

/// A set of request verbs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verbs(u8);

/// Letter in the discovery table, verb; in the order discovery lists them.
const VERBS: [(char, &str); 8] = [
    ('C', "create"),
    ('D', "delete"),
    ('X', "deletecollection"),
    ('G', "get"),
    ('L', "list"),
    ('P', "patch"),
    ('U', "update"),
    ('W', "watch"),
];

impl Verbs {
    /// All eight.
    pub const ALL: Verbs = Verbs(0xff);
    /// What `status` and `scale` take: get, patch, update.
    pub const GET_PATCH_UPDATE: Verbs = Verbs(0b0110_1000);

    pub(crate) fn parse(letters: &str) -> Verbs {
        let bit =
            |(at, (letter, _)): (usize, &(char, &str))| u8::from(letters.contains(*letter)) << at;
        Verbs(VERBS.iter().enumerate().map(bit).sum())
    }

    /// Whether `verb` is in it.
    pub fn contains(self, verb: &str) -> bool {
        self.iter().any(|one| one == verb)
    }

    /// The verbs in alphabetical order.
    pub fn iter(self) -> impl Iterator<Item = &'static str> {
        let present = move |(at, _): &(usize, &(char, &str))| self.0 >> at & 1 == 1;
        VERBS
            .iter()
            .enumerate()
            .filter(present)
            .map(|(_, (_, verb))| *verb)
    }
}

/// A subresource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// Last path segment.
    pub name: SmolStr,
    /// Kind of its body.
    pub gvk: GroupVersionKind,
    /// Verbs.
    pub verbs: Verbs,
    /// What it does.
    pub kind: SubKind,
}

/// What a subresource does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubKind {
    /// Writes `status` of the object.
    Status,
    /// Shows and sets the number of replicas.
    Scale(ScalePaths),
    /// A stream or proxy to what runs (`exec`, `attach`, `log`, `portforward`, `proxy`).
    Connect,
    /// An action with a body of its own (`binding`, `eviction`, `token`).
    Create,
    /// Writes a part of the object (`ephemeralcontainers`, `resize`, `approval`, `finalize`).
    Part,
}

/// Where a kind keeps what `Scale` shows; dotted paths below the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScalePaths {
    /// Wanted replicas: `spec.replicas`.
    pub spec: SmolStr,
    /// Seen replicas: `status.replicas`.
    pub status: SmolStr,
    /// The selector: a label selector (or plain map) in built-in kinds, text in custom ones;
    /// empty if none.
    pub selector: SmolStr,
}

/// Rewrites an object from one `apiVersion` to another, in place.
pub type Convert = fn(&mut Value, &str, &str);

/// A built-in or custom kind in one version.
#[derive(Clone)]
pub struct Kind {
    /// Group, version and kind.
    pub gvk: GroupVersionKind,
    /// Plural resource name.
    pub plural: SmolStr,
    /// Singular name.
    pub singular: SmolStr,
    /// Kind of its lists.
    pub list_kind: SmolStr,
    /// Short names.
    pub short_names: Vec<SmolStr>,
    /// Categories.
    pub categories: Vec<SmolStr>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Verbs.
    pub verbs: Verbs,
    /// Subresources.
    pub subresources: Vec<Subresource>,
    /// Its type.
    pub type_ref: TypeRef,
    /// Its table.
    pub columns: Arc<Columns>,
    /// Rules of writing it.
    pub strategy: Strategy,
    /// Fields that a field selector may name beside `metadata.name` and `metadata.namespace`.
    pub selectable: Vec<SmolStr>,
    /// Resource in the store: `pods`, `deployments.apps`.
    pub storage: SmolStr,
    /// `apiVersion` it is stored with.
    pub storage_version: SmolStr,
    /// Conversion between served versions; `None`: only `apiVersion` differs.
    pub convert: Option<Convert>,
    /// `spec.conversion.webhook` of a custom kind that converts by webhook.
    pub conversion_webhook: Option<Arc<Value>>,
    /// Whether its writes are worth an fsync each (not: leases, events).
    pub durable: bool,
    /// How long objects live after their last write (events).
    pub ttl: Option<Duration>,
    /// Hash shown in discovery; empty for virtual kinds.
    pub storage_version_hash: SmolStr,
    /// Whether a CRD made it.
    pub custom: bool,
    /// Types of all versions its objects may be stored in, where it is custom and has several.
    pub versions: Arc<[(SmolStr, TypeRef)]>,
    /// Validation rules of a custom kind, compiled when the first object of it is written.
    pub rules: Arc<OnceLock<Option<Rules>>>,
    /// Whether objects are stored at all (not: reviews, bindings, component statuses).
    pub stored: bool,
    /// Warning sent with every answer in this version.
    pub deprecation: Option<SmolStr>,
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kind({})", self.gvk)
    }
}

impl Kind {
    /// `apiVersion`.
    pub fn api_version(&self) -> SmolStr {
        self.gvk.group_version().api_version()
    }

    /// Group and version.
    pub fn group_version(&self) -> GroupVersion {
        self.gvk.group_version()
    }

    /// Group and plural name.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource {
            group: self.gvk.group.clone(),
            resource: self.plural.clone(),
        }
    }

    /// The subresource called `name`.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|one| one.name == name)
    }

    /// Where replicas are, if it scales.
    pub fn scale(&self) -> Option<&ScalePaths> {
        self.subresources.iter().find_map(|one| match &one.kind {
            SubKind::Scale(paths) => Some(paths),
            _ => None,
        })
    }

    /// Whether a field selector may name `field`.
    pub fn is_selectable(&self, field: &str) -> bool {
        field == "metadata.name"
            || field == "metadata.namespace" && self.namespaced
            || self
                .selectable
                .iter()
                .any(|one| one == stored_field(self, field))
    }

    /// The type of objects of this kind that say they are of `api_version`.
    pub fn type_in(&self, api_version: &str) -> &TypeRef {
        let named = self.versions.iter().find(|(name, _)| name == api_version);
        named.map_or(&self.type_ref, |(_, of)| of)
    }

    /// Rewrites an object of this kind from its `apiVersion` to `to`. Webhook conversion is not
    /// done here.
    pub fn convert(&self, object: &mut Value, to: &str) {
        let from = SmolStr::new(object["apiVersion"].str());
        if from == to {
            return;
        }
        if let Some(convert) = self.convert {
            convert(object, &from, to);
        }
        object["apiVersion"] = to.into();
    }

    /// Fills in defaults: those of the schema, then those upstream computes.
    pub fn apply_defaults(&self, object: &mut Value) {
        if self.storage == crate::SECRETS {
            crate::core::merge_string_data(object);
        }
        defaults::apply(object, self);
        if !self.custom && self.strategy.has_status {
            zeros::write(object, &self.storage);
        }
    }

    /// Readies a new object: drops status a client may not set, then the kind's own changes.
    /// Expects `metadata` to be filled in.
    pub fn prepare_create(&self, object: &mut Value) {
        if self.strategy.has_status {
            let had_status = object.make_object().remove("status").is_some();
            if !self.custom {
                object["status"] = Value::object();
            } else if had_status {
                // What a definition states for status is no client's wish: it stays.
                self.apply_defaults(object);
            }
        }
        (self.strategy.prepare_create)(object);
        if !self.custom {
            zeros::write(object, &self.storage);
        }
        match self.strategy.generation {
            Generation::None | Generation::Changes => {
                drop(object.metadata_mut().remove("generation"));
            }
            _ => object.set_at(&["metadata", "generation"], 1_i64),
        }
    }

    /// Readies an update of the object itself: status stays as stored, the generation counts.
    pub fn prepare_update(&self, new: &mut Value, old: &Value) {
        if self.strategy.has_status {
            keep(new, old, "status");
        }
        (self.strategy.prepare_update)(new, old);
        self.count_generation(new, old);
    }

    /// Readies an update of `status`: all but status stays as stored. Built-in kinds take
    /// labels and annotations along.
    pub fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        let fields = old
            .entries()
            .chain(new.entries())
            .map(|(key, _)| key.clone());
        let fields: Vec<_> = fields.filter(|key| !is_envelope(key)).collect();
        for field in fields {
            keep(new, old, &field);
        }
        if self.custom {
            let managed = new.at(&["metadata", "managedFields"]).clone();
            new["metadata"] = old["metadata"].clone();
            new.set_at(&["metadata", "managedFields"], managed);
        } else {
            for field in [
                "ownerReferences",
                "deletionTimestamp",
                "generation",
                "finalizers",
            ] {
                keep(new.object_value("metadata"), &old["metadata"], field);
            }
        }
        (self.strategy.prepare_status_update)(new, old);
    }

    /// Counts what an update wants anew, from the stored count.
    pub fn count_generation(&self, new: &mut Value, old: &Value) {
        let generation = old.at(&["metadata", "generation"]).as_i64();
        let counts = self.strategy.generation;
        if matches!(counts, Generation::None | Generation::One) {
            keep(new.object_value("metadata"), &old["metadata"], "generation");
            return;
        }
        let noted = [&*new, old].map(|object| object.at(&["metadata", "annotations"]));
        let passed_on = counts == Generation::DesiredAndAnnotations && noted[0] != noted[1];
        let changed = passed_on || self.wants_differ(new, old);
        let count = generation.unwrap_or(0).max(0) + i64::from(changed);
        match count {
            0 => drop(new.remove_at(&["metadata", "generation"])),
            _ => new.set_at(&["metadata", "generation"], count),
        }
    }

    /// Whether anything but metadata and status differs.
    fn wants_differ(&self, new: &Value, old: &Value) -> bool {
        fn wanted(value: &Value) -> impl Iterator<Item = (&SmolStr, &Value)> {
            value.entries().filter(|(key, _)| !is_envelope(key))
        }
        !wanted(new).eq(wanted(old))
    }

    /// Everything wrong with an object that is to be created.
    pub fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate(object, self);
        errors.extend((self.strategy.validate_create)(object));
        self.validate_body(object, &mut errors);
        self.shown(errors)
    }

    /// Errors as upstream shows their values.
    fn shown(&self, mut errors: Vec<FieldError>) -> Vec<FieldError> {
        if !self.custom {
            internal::show(&mut errors, &self.type_ref);
        }
        errors
    }

    /// Everything wrong with an update.
    pub fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        self.weigh_update(new, old, &mut Vec::new())
    }

    /// As [`Kind::validate_update`]; what may stay because it did not change is warned of.
    pub fn weigh_update(
        &self,
        new: &Value,
        old: &Value,
        warnings: &mut Vec<String>,
    ) -> Vec<FieldError> {
        let mut errors = meta::validate_update(new, old, self);
        errors.extend((self.strategy.validate_update)(new, old));
        if self.custom {
            errors.extend((self.strategy.validate)(new));
            errors.extend(schema::validate_update(new, old, &self.type_ref));
            warnings.extend(self.follow_rules(new, Some(old), &mut errors));
        } else {
            self.validate_body(new, &mut errors);
        }
        self.shown(errors)
    }

    /// Everything wrong with a status update.
    pub fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_update(new, old, self);
        errors.extend((self.strategy.validate_status_update)(new, old));
        if self.custom {
            errors.extend(schema::validate_update(new, old, &self.type_ref));
            self.follow_rules(new, Some(old), &mut errors);
        }
        self.shown(errors)
    }

    /// Everything wrong with an update through a subresource that writes a part of the object.
    pub fn validate_part_update(
        &self,
        subresource: &str,
        new: &Value,
        old: &Value,
    ) -> Vec<FieldError> {
        if subresource == "approval" {
            let mut errors = meta::validate_update(new, old, self);
            errors.extend(crate::certificates::validate_approval(new, old));
            return errors;
        }
        let mut errors = self.validate_status_update(new, old);
        match subresource {
            "ephemeralcontainers" => {
                errors.extend(subresource::debuggers_stay(new, old));
                self.validate_body(new, &mut errors);
            }
            "resize" => {
                self.validate_body(new, &mut errors);
                errors.extend(crate::pod::resize::validate(new, old));
            }
            _ => {}
        }
        self.shown(errors)
    }

    /// Evaluates a custom kind's rules, unless the object is not of the shape they rely on.
    /// The result warns of what they would refuse, had it changed.
    fn follow_rules(
        &self,
        new: &Value,
        old: Option<&Value>,
        errors: &mut Vec<FieldError>,
    ) -> Vec<String> {
        let rules = self.rules.get_or_init(|| Rules::compile(&self.type_ref));
        let Some(rules) = rules else {
            return Vec::new();
        };
        if errors.iter().any(|error| BLOCKING.contains(&error.kind)) {
            errors.push(FieldError::invalid("<nil>", Value::Null, UNCHECKED));
            return Vec::new();
        }
        let found = rules.validate(new, old);
        errors.extend(found.errors);
        found.warnings
    }

    /// What a client should hear of an object it writes, given the stored one.
    /// An update whose generation stays says nothing anew; updates of pods never do.
    pub fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let generation = ["metadata", "generation"];
        let again = old.is_some_and(|old| match self.strategy.generation {
            crate::Generation::None => false,
            _ => self.storage == crate::PODS || new.at(&generation) == old.at(&generation),
        });
        let mut warnings = match again {
            true => Vec::new(),
            false => (self.strategy.warnings)(new),
        };
        if old.is_none() {
            warnings.extend(crate::warnings::name(&self.storage, new.name()));
        }
        if self.custom {
            warnings.extend(meta::finalizer_warnings(new, old));
        }
        warnings
    }

    fn validate_body(&self, object: &Value, errors: &mut Vec<FieldError>) {
        errors.extend((self.strategy.validate)(object));
        if self.custom {
            errors.extend(schema::validate(object, &self.type_ref));
            self.follow_rules(object, None, errors);
        } else if !self.strategy.is_checked {
            required::validate(object, &self.type_ref, errors);
        }
    }

    pub(crate) fn with_part(mut self, part: &Part) -> Self {
        self.strategy = part.strategy;
        self.selectable = part
            .selectable
            .iter()
            .map(|name| SmolStr::new_static(name))
            .collect();
        self.convert = part.convert;
        if let Some(row) = part.row {
            self.columns = Arc::new(Columns::of(part.heads, row));
        }
        self
    }
}

/// A status update (first argument) that leaves all of `metadata` as it is stored.
pub(crate) fn keep_metadata(new: &mut Value, old: &Value) {
    const FIELDS: [&str; 4] = ["annotations", "finalizers", "labels", "ownerReferences"];
    keep_in_metadata(new, old, &FIELDS);
}

/// A status update (first argument) that leaves these fields of `metadata` as they are stored.
pub(crate) fn keep_in_metadata(new: &mut Value, old: &Value, fields: &[&str]) {
    for field in fields {
        keep(new.object_value("metadata"), &old["metadata"], field);
    }
}

/// Fills in defaults of an object of `kind`.
pub fn apply_defaults(object: &mut Value, kind: &Kind) {
    kind.apply_defaults(object);
}

fn is_envelope(field: &str) -> bool {
    matches!(field, "apiVersion" | "kind" | "metadata" | "status")
}

/// Sets `field` of `new` to what `old` has, absent included. Mostly it is that already.
pub(crate) fn keep(new: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        kept if new.get(field) == kept => {}
        Some(value) => {
            new.make_object().insert(field, value.clone());
        }
        None => {
            new.make_object().remove(field);
        }
    }
}

/// Access to an object member that must be there.
pub(crate) trait Member {
    /// The member as an object, made one if it is not.
    fn object_value(&mut self, key: &str) -> &mut Value;
}

impl Member for Value {
    fn object_value(&mut self, key: &str) -> &mut Value {
        let member = self.make_object().entry_or(key, Value::object);
        member.make_object();
        member
    }
}
