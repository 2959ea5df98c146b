//! `RuntimeClass`: a pod's runtime class exists; its overhead and scheduling go into the pod.
//!
//! Upstream counterpart: `plugin/pkg/admission/runtimeclass`.

use crate::common::{forbid, is, list_at};
use kinds::{PODS, RUNTIME_CLASSES};
use machinery::{Object, Status, Value};
use registry::{Admission, Handles, Key, Operation, Review};

/// The plug-in.
pub struct RuntimeClass;

impl Admission for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self) -> Handles {
        Handles::NOTHING.admits(&[Operation::Create]).of(&[PODS])
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !is(review, PODS, Operation::Create) {
            return Ok(());
        }
        let name = review.object["spec"]["runtimeClassName"].str();
        let state = review.door.snapshot();
        let class = state.get(RUNTIME_CLASSES, &Key::new("", name));
        if class.is_none() && !name.is_empty() {
            let why = format!("pod rejected: RuntimeClass \"{name}\" not found");
            return Err(forbid(review, &why));
        }
        apply(&mut review.object, class.map(|class| &**class)).map_err(|why| forbid(review, &why))
    }
}

fn apply(pod: &mut Value, class: Option<&Object>) -> Result<(), String> {
    let overhead = class
        .map(|class| class.at("overhead.podFixed").to_value())
        .unwrap_or_default();
    let given = pod["spec"]["overhead"].clone();
    let given = if given.entries().next().is_none() {
        Value::Null
    } else {
        given
    };
    match (overhead.is_null(), given.is_null()) {
        (true, false) => {
            return Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead".into());
        }
        (false, false) if overhead != given => {
            return Err(
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".into(),
            );
        }
        (false, _) => pod.set_at(&["spec", "overhead"], overhead),
        _ => {}
    }
    class.map_or(Ok(()), |class| schedule(pod, class))
}

fn schedule(pod: &mut Value, class: &Object) -> Result<(), String> {
    for (key, value) in class.at("scheduling.nodeSelector").entries() {
        let given = pod.at(&["spec", "nodeSelector", key]);
        if given.as_str().is_some_and(|given| given != value.str()) {
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                value.str(),
                given.str()
            ));
        }
        pod.set_at(&["spec", "nodeSelector", key], value.str());
    }
    for toleration in class
        .at("scheduling.tolerations")
        .items()
        .map(machinery::Ref::to_value)
    {
        let tolerations = list_at(pod, &["spec", "tolerations"]);
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn overhead_and_scheduling() {
        let class = Object::new(
            &json!({"metadata": {"name": "c"}, "overhead": {"podFixed": {"cpu": "1"}}, "scheduling": {"nodeSelector": {"a": "b"}}}),
            1,
        );
        for (spec, class, fits) in [
            (json!({}), None, true),
            (json!({"overhead": {"cpu": "1"}}), None, false),
            (json!({}), Some(&class), true),
            (json!({"overhead": {"cpu": "1"}}), Some(&class), true),
            (json!({"overhead": {"cpu": "2"}}), Some(&class), false),
            (json!({"nodeSelector": {"a": "c"}}), Some(&class), false),
        ] {
            let mut pod = json!({"spec": spec});
            assert_eq!(apply(&mut pod, class).is_ok(), fits);
            if fits && class.is_some() {
                assert_eq!(pod.at(&["spec", "nodeSelector", "a"]).str(), "b");
                assert_eq!(pod.at(&["spec", "overhead", "cpu"]).str(), "1");
            }
        }
    }
}
