//! `DefaultStorageClass` and `DefaultIngressClass`: claims and ingresses that name no class
//! get the newest one marked as default.
//!
//! Upstream counterparts: `plugin/pkg/admission/storage/storageclass/setdefault`,
//! `plugin/pkg/admission/network/defaultingressclass`.

use crate::common::{annotation, is};
use kinds::{INGRESS_CLASSES, INGRESSES, PERSISTENT_VOLUME_CLAIMS, STORAGE_CLASSES};
use machinery::{Status, Value};
use registry::{Admission, Handles, Operation, Review, Snapshot};

/// What is defaulted, and how its class is told.
struct Rule {
    name: &'static str,
    storage: &'static str,
    /// Field below `spec`.
    field: &'static str,
    /// Older way of naming a class.
    annotation: &'static str,
    classes: &'static str,
    /// Annotations that mark a default class.
    marks: &'static [&'static str],
}

/// The plug-in for claims or for ingresses.
pub struct DefaultClass(&'static Rule);

impl DefaultClass {
    /// `DefaultStorageClass`.
    pub const STORAGE: DefaultClass = DefaultClass(&Rule {
        name: "DefaultStorageClass",
        storage: PERSISTENT_VOLUME_CLAIMS,
        field: "storageClassName",
        annotation: "volume.beta.kubernetes.io/storage-class",
        classes: STORAGE_CLASSES,
        marks: &[
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ],
    });
    /// `DefaultIngressClass`.
    pub const INGRESS: DefaultClass = DefaultClass(&Rule {
        name: "DefaultIngressClass",
        storage: INGRESSES,
        field: "ingressClassName",
        annotation: "kubernetes.io/ingress.class",
        classes: INGRESS_CLASSES,
        marks: &["ingressclass.kubernetes.io/is-default-class"],
    });
}

impl Admission for DefaultClass {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn handles(&self) -> Handles {
        Handles::NOTHING
            .admits(&[Operation::Create])
            .of(std::slice::from_ref(&self.0.storage))
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if is(review, self.0.storage, Operation::Create) {
            choose(self.0, &review.door.snapshot(), &mut review.object);
        }
        Ok(())
    }
}

fn choose(rule: &Rule, state: &Snapshot, object: &mut Value) {
    if !object["spec"][rule.field].is_null() || !annotation(object, rule.annotation).is_empty() {
        return;
    }
    let marked = |class: &&std::sync::Arc<machinery::Object>| {
        rule.marks
            .iter()
            .any(|mark| class.annotation(mark) == Some("true"))
    };
    let newest = state
        .list(rule.classes, None)
        .filter(marked)
        .max_by(|a, b| {
            let created =
                |class: &machinery::Object| class.at("metadata.creationTimestamp").str().to_owned();
            created(a)
                .cmp(&created(b))
                .then_with(|| b.name().cmp(a.name()))
        });
    if let Some(class) = newest {
        object.set_at(&["spec", rule.field], class.name());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::state;
    use machinery::json;

    #[test]
    fn the_newest_default_is_chosen() {
        let class = |name: &str, created: &str, default: &str| {
            (
                STORAGE_CLASSES,
                json!({"metadata": {"name": name, "creationTimestamp": created, "annotations": {"storageclass.kubernetes.io/is-default-class": default}}}),
            )
        };
        let classes = [
            class("old", "2026-01-01T00:00:00Z", "true"),
            class("new-b", "2026-02-01T00:00:00Z", "true"),
            class("new-a", "2026-02-01T00:00:00Z", "true"),
            class("other", "2026-03-01T00:00:00Z", "false"),
        ];
        let state = state(&classes);
        for (given, wanted) in [
            (json!({"spec": {}}), json!("new-a")),
            (json!({"spec": {"storageClassName": ""}}), json!("")),
            (json!({"spec": {"storageClassName": "x"}}), json!("x")),
            (
                json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "y"}}, "spec": {}}),
                Value::Null,
            ),
        ] {
            let mut claim = given;
            choose(DefaultClass::STORAGE.0, &state, &mut claim);
            assert_eq!(claim["spec"]["storageClassName"], wanted);
        }
    }
}
