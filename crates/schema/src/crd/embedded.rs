//! Whole objects inside custom objects: they say what they are, and their metadata is in order.
//!
//! Upstream counterpart: `apiextensions-apiserver/pkg/apiserver/schema/objectmeta`.

use crate::{At, Shape, TypeRef, path::Path};
use machinery::{FieldError, Map, Value, dns1035_label, label_value, path_segment, qualified_name};

/// What is wrong with embedded objects in `value`, which stands at `path`.
pub(super) fn embedded_errors(value: &Value, of: &TypeRef, path: &str) -> Vec<FieldError> {
    let mut walk = Walk {
        path: Path::new(path),
        errors: Vec::new(),
    };
    if of.schema.has_embedded {
        walk.value(value, At::new(of));
    }
    walk.errors
}

struct Walk {
    path: Path,
    errors: Vec<FieldError>,
}

impl Walk {
    fn value(&mut self, value: &Value, at: At) {
        match (at.shape(), value) {
            (Shape::Struct(known), Value::Object(map)) if known.custom => {
                if known.embedded {
                    self.object(map);
                }
                for (key, value) in map.iter() {
                    if let Some(inner) = at.member(key) {
                        self.inside(key, |walk| walk.value(value, inner));
                    }
                }
            }
            (Shape::Map { value: inner, .. }, Value::Object(map)) => {
                for (key, value) in map.iter() {
                    let mark = self.path.key(key);
                    self.value(value, at.to(*inner));
                    self.path.back(mark);
                }
            }
            (Shape::List { item, .. }, Value::Array(items)) => {
                for (position, value) in items.iter().enumerate() {
                    let mark = self.path.index(position);
                    self.value(value, at.to(*item));
                    self.path.back(mark);
                }
            }
            _ => {}
        }
    }

    fn inside(&mut self, key: &str, visit: impl FnOnce(&mut Self)) {
        let mark = self.path.member(key);
        visit(self);
        self.path.back(mark);
    }

    fn here(&self) -> String {
        self.path.as_str().to_owned()
    }

    fn invalid(&mut self, value: &Value, why: impl Into<String>) {
        self.errors
            .push(FieldError::invalid(self.here(), value, why));
    }

    fn object(&mut self, map: &Map) {
        for name in ["apiVersion", "kind"] {
            self.inside(name, |walk| match map.get(name) {
                None => walk.errors.push(FieldError::required(walk.here(), "")),
                Some(value) => walk.type_meta(name, value),
            });
        }
        if let Some(metadata) = map.get("metadata") {
            self.inside("metadata", |walk| walk.metadata(metadata));
        }
    }

    fn type_meta(&mut self, name: &str, value: &Value) {
        let Some(text) = value.as_str() else {
            return self.invalid(value, "must be a string");
        };
        if text.is_empty() {
            return self.invalid(value, "must not be empty");
        }
        if name == "apiVersion" {
            if text.matches('/').count() > 1 {
                self.invalid(value, format!("unexpected GroupVersion string: {text}"));
            }
            return;
        }
        let wrong = dns1035_label(&text.to_ascii_lowercase());
        if !wrong.is_empty() {
            let wrong = wrong.join(",");
            let why = format!("may have mixed case, but should otherwise match: {wrong}");
            self.invalid(value, why);
        }
    }

    fn metadata(&mut self, metadata: &Value) {
        for name in ["generateName", "name"] {
            let text = &metadata[name];
            if !text.str().is_empty() {
                let wrong = path_segment(text.str());
                self.inside(name, |walk| {
                    wrong.into_iter().for_each(|why| walk.invalid(text, why));
                });
            }
        }
        for (key, value) in metadata["labels"].entries() {
            let (key_wrong, value_wrong) = (qualified_name(key), label_value(value.str()));
            self.inside("labels", |walk| {
                let key = Value::from(key.as_str());
                key_wrong
                    .into_iter()
                    .for_each(|why| walk.invalid(&key, why));
                value_wrong
                    .into_iter()
                    .for_each(|why| walk.invalid(value, why));
            });
        }
        for (key, _) in metadata["annotations"].entries() {
            let wrong = qualified_name(&key.to_ascii_lowercase());
            let key = Value::from(key.as_str());
            self.inside("annotations", |walk| {
                wrong.into_iter().for_each(|why| walk.invalid(&key, why));
            });
        }
    }
}
