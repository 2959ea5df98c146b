//! `Priority`: resolves a pod's priority class into its number and preemption policy.
//!
//! Upstream counterpart: `plugin/pkg/admission/priority`.

use crate::common::{forbid, writes};
use kinds::{PODS, PRIORITY_CLASSES};
use machinery::{Ref, Status, Value};
use registry::{Admission, Handles, Key, Operation, Review, Snapshot};

/// Classes that exist whether or not their objects do.
pub(crate) const SYSTEM: [(&str, i64); 2] = [
    ("system-node-critical", 2_000_001_000),
    ("system-cluster-critical", 2_000_000_000),
];
const PREEMPT: &str = "PreemptLowerPriority";

/// The plug-in.
pub struct Priority;

impl Admission for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self) -> Handles {
        Handles::NOTHING
            .admits(&[Operation::Create, Operation::Update])
            .validates(&[Operation::Create, Operation::Update])
            .of(&[PODS, PRIORITY_CLASSES])
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !writes(review, PODS) {
            return Ok(());
        }
        if let Some(old) = review.old {
            keep(&mut review.object, old.at("spec"));
            return Ok(());
        }
        let resolved = resolve(&review.door.snapshot(), &mut review.object);
        resolved.map_err(|why| forbid(review, &why))
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !writes(review, PRIORITY_CLASSES)
            || review.object["globalDefault"].as_bool() != Some(true)
        {
            return Ok(());
        }
        let state = review.door.snapshot();
        let mut defaults = state
            .list(PRIORITY_CLASSES, None)
            .filter(|class| class.at("globalDefault").is_true());
        match defaults.find(|class| class.name() != review.object.name()) {
            Some(other) => Err(forbid(
                review,
                &format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    other.name()
                ),
            )),
            None => Ok(()),
        }
    }
}

/// An update that leaves the computed fields out keeps them.
fn keep(pod: &mut Value, old: Ref<'_>) {
    for field in ["priority", "preemptionPolicy"] {
        if pod["spec"][field].is_null() && !old.get(field).is_null() {
            pod.set_at(&["spec", field], old.get(field).to_value());
        }
    }
}

struct Class {
    name: String,
    value: i64,
    preemption: String,
}

fn resolve(state: &Snapshot, pod: &mut Value) -> Result<(), String> {
    let class = class_of(state, pod["spec"]["priorityClassName"].str())?;
    let spec = &pod["spec"];
    if let Some(given) = spec["priority"]
        .as_i64()
        .filter(|given| *given != class.value)
    {
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {} from the given PriorityClass name",
            class.value
        ));
    }
    if let Some(given) = spec["preemptionPolicy"]
        .as_str()
        .filter(|given| *given != class.preemption)
    {
        return Err(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {} from the given PriorityClass name",
            class.preemption
        ));
    }
    let spec = pod.object_at(&["spec"]);
    if !class.name.is_empty() {
        spec.insert("priorityClassName", class.name);
    }
    spec.insert("priority", class.value);
    spec.insert("preemptionPolicy", class.preemption);
    Ok(())
}

fn class_of(state: &Snapshot, name: &str) -> Result<Class, String> {
    let read = |class: &machinery::Object| Class {
        name: class.name().into(),
        value: class.at("value").i64(),
        preemption: class
            .at("preemptionPolicy")
            .as_str()
            .unwrap_or(PREEMPT)
            .into(),
    };
    if name.is_empty() {
        let defaults = state
            .list(PRIORITY_CLASSES, None)
            .filter(|class| class.at("globalDefault").is_true());
        let lowest = defaults.min_by_key(|class| class.at("value").i64());
        let none = Class {
            name: String::new(),
            value: 0,
            preemption: PREEMPT.into(),
        };
        return Ok(lowest.map_or(none, |class| read(class)));
    }
    if let Some(class) = state.get(PRIORITY_CLASSES, &Key::new("", name)) {
        return Ok(read(class));
    }
    let system = SYSTEM.iter().find(|(known, _)| *known == name);
    let made = |(name, value): &(&str, i64)| Class {
        name: (*name).into(),
        value: *value,
        preemption: PREEMPT.into(),
    };
    system
        .map(made)
        .ok_or_else(|| format!("no PriorityClass with name {name} was found"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::state;
    use machinery::json;

    #[test]
    fn classes_become_numbers() {
        let state = state(&[
            (
                PRIORITY_CLASSES,
                json!({"metadata": {"name": "high"}, "value": 1000, "preemptionPolicy": "Never"}),
            ),
            (
                PRIORITY_CLASSES,
                json!({"metadata": {"name": "usual"}, "value": 10, "globalDefault": true}),
            ),
        ]);
        for (given, wanted) in [
            (json!({}), Ok((10, PREEMPT))),
            (json!({"priorityClassName": "high"}), Ok((1000, "Never"))),
            (json!({"priorityClassName": "high", "priority": 1000}), Ok((1000, "Never"))),
            (json!({"priorityClassName": "system-node-critical"}), Ok((2_000_001_000, PREEMPT))),
            (json!({"priorityClassName": "x"}), Err("no PriorityClass with name x was found".to_owned())),
            (
                json!({"priorityClassName": "high", "priority": 5}),
                Err("the integer value of priority (5) must not be provided in pod spec; priority admission controller computed 1000 from the given PriorityClass name".to_owned()),
            ),
        ] {
            let mut pod = json!({"spec": given});
            let found = resolve(&state, &mut pod);
            let spec = &pod["spec"];
            let found = found.map(|()| (spec["priority"].as_i64().unwrap(), spec["preemptionPolicy"].str()));
            assert_eq!(found, wanted);
        }
    }
}
