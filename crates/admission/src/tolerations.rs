//! `DefaultTolerationSeconds`: pods stay five minutes on a node that stopped answering.
//!
//! Upstream counterpart: `plugin/pkg/admission/defaulttolerationseconds`.

use crate::common::{list_at, writes};
use kinds::PODS;
use machinery::{SmolStr, Status, Value, json};
use registry::{Admission, Handles, Operation, Review};

const TAINTS: [&str; 2] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
];
/// Seconds a pod stays on a node with one of these taints.
const STAY_SECONDS: i64 = 300;

/// The plug-in.
pub struct DefaultTolerationSeconds;

impl Admission for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self) -> Handles {
        Handles::NOTHING
            .admits(&[Operation::Create, Operation::Update])
            .of(&[PODS])
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if writes(review, PODS) {
            tolerate(&mut review.object);
        }
        Ok(())
    }
}

fn tolerate(pod: &mut Value) {
    let tolerations = list_at(pod, &["spec", "tolerations"]);
    for key in TAINTS {
        if !tolerations.iter().any(|one| covers(one, key)) {
            tolerations.push(json!({
                "key": SmolStr::new_static(key), "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": STAY_SECONDS
            }));
        }
    }
}

fn covers(toleration: &Value, key: &str) -> bool {
    ["", key].contains(&toleration["key"].str())
        && ["", "NoExecute"].contains(&toleration["effect"].str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_what_is_not_covered() {
        for (given, added) in [
            (json!([]), 2),
            (json!([{"operator": "Exists"}]), 0),
            (
                json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}]),
                1,
            ),
            (
                json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoSchedule"}]),
                2,
            ),
            (json!([{"key": "other", "operator": "Exists"}]), 2),
        ] {
            let before = given.items().len();
            let mut pod = json!({"spec": {"tolerations": given}});
            tolerate(&mut pod);
            let tolerations = pod["spec"]["tolerations"].items();
            assert_eq!(tolerations.len(), before + added);
            assert!(
                tolerations[before..]
                    .iter()
                    .all(|one| one["tolerationSeconds"].as_i64() == Some(300))
            );
        }
    }
}
