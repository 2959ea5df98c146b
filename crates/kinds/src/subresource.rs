//! Subresources that write a part of their object, and the number of replicas as `Scale`.
//!
//! Upstream counterparts: `ephemeralcontainers`, `resize`, `approval` and `finalize` strategies,
//! `scaleFromX` functions.

use crate::Kind;
use machinery::{FieldError, GroupVersionKind, LabelSelector, Ref, Value, flat, json};
use schema::TypeRef;

/// Subresource and the paths it may write.
const WRITABLE: [(&str, &[&[&str]]); 4] = [
    ("ephemeralcontainers", &[&["spec", "ephemeralContainers"]]),
    ("approval", &[&["status", "conditions"]]),
    ("finalize", &[&["spec", "finalizers"]]),
    ("status", &[&["status"]]),
];

/// Subresources whose writers may change labels and annotations, too.
const TAKES_METADATA: [&str; 2] = ["approval", "finalize"];

/// The built-in type of that name, such as that of a subresource's body.
pub fn body_type(gvk: &GroupVersionKind) -> Option<TypeRef> {
    let group = match gvk.group.split('.').next() {
        None | Some("") => "core",
        Some(group) => group,
    };
    schema::builtin_type(&format!("io.k8s.api.{group}.{}.{}", gvk.version, gvk.kind))
}

impl Kind {
    /// Readies an update through a subresource that writes a part of the object: everything
    /// else stays as stored.
    pub fn prepare_part_update(&self, subresource: &str, new: &mut Value, old: &Value) {
        let given = std::mem::replace(new, old.clone());
        if subresource == "resize" {
            crate::pod::resize::prepare(new, &given);
        }
        let paths = WRITABLE.iter().find(|(name, _)| *name == subresource);
        for path in paths.into_iter().flat_map(|(_, paths)| paths.iter()) {
            match given.at(path) {
                Value::Null => drop(new.remove_at(path)),
                value => new.set_at(path, value),
            }
        }
        if TAKES_METADATA.contains(&subresource) {
            new["metadata"] = given["metadata"].clone();
        }
        for field in ["resourceVersion", "managedFields"] {
            new.set_at(&["metadata", field], given.at(&["metadata", field]));
        }
        if self.strategy.generation != crate::Generation::None {
            self.count_generation(new, old);
        }
    }

    /// The object's `autoscaling/v1` Scale, if the kind scales.
    pub fn to_scale(&self, object: &Value) -> Option<Value> {
        let paths = self.scale()?;
        let bytes = flat::encode(object);
        let root = Ref::new(&bytes);
        let metadata = [
            "name",
            "namespace",
            "uid",
            "resourceVersion",
            "creationTimestamp",
        ];
        let metadata = metadata
            .into_iter()
            .filter(|field| !object["metadata"][*field].is_null())
            .map(|field| (field, object["metadata"][field].clone()));
        let mut scale = json!({
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "spec": {"replicas": root.at(&paths.spec).i64()},
            "status": {"replicas": root.at(&paths.status).i64()},
        });
        scale["metadata"] = Value::Object(metadata.collect());
        let selector = if paths.selector.is_empty() {
            Ref::MISSING
        } else {
            root.at(&paths.selector)
        };
        let text = selector_text(selector);
        if !text.is_empty() {
            scale.set_at(&["status", "selector"], text);
        }
        Some(scale)
    }

    /// Writes a Scale's replicas (and its `resourceVersion`, as precondition) into the object.
    /// Whether the kind scales.
    pub fn set_scale(&self, object: &mut Value, scale: &Value) -> bool {
        let Some(paths) = self.scale() else {
            return false;
        };
        let path: Vec<&str> = paths.spec.split('.').collect();
        object.set_at(&path, scale.at(&["spec", "replicas"]).as_i64().unwrap_or(0));
        let version = scale.at(&["metadata", "resourceVersion"]);
        if !version.str().is_empty() {
            object.set_at(&["metadata", "resourceVersion"], version);
        }
        true
    }
}

/// Containers that look into a pod are added; those that are there stay as they are.
pub(crate) fn debuggers_stay(new: &Value, old: &Value) -> Vec<FieldError> {
    let all = |pod: &Value| pod.at(&["spec", "ephemeralContainers"]).items().to_vec();
    let (new, old) = (all(new), all(old));
    let complaint = |before: &Value| {
        let now = new.iter().find(|one| one["name"] == before["name"]);
        let done = match now {
            Some(now) if now == before => return None,
            Some(_) => "changed",
            None => "removed",
        };
        let why = format!(
            "existing ephemeral containers {:?} may not be {done}",
            before["name"].str()
        );
        Some(FieldError::forbidden("spec.ephemeralContainers", why))
    };
    old.iter().filter_map(complaint).collect()
}

/// A label selector, a plain map, or text that is one already.
fn selector_text(selector: Ref<'_>) -> String {
    if let Some(text) = selector.as_str() {
        return text.to_owned();
    }
    let structured =
        !selector.get("matchLabels").is_null() || !selector.get("matchExpressions").is_null();
    let selector = match structured {
        true => LabelSelector::from_ref(selector),
        false => LabelSelector::from_map(selector),
    };
    selector.to_string()
}
