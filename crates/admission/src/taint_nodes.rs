//! `TaintNodesByCondition`: a new node takes no pods until it has been found ready.
//!
//! Upstream counterpart: `plugin/pkg/admission/nodetaint`.

use crate::common::{is, list_at};
use kinds::NODES;
use machinery::{Status, Value, json};
use registry::{Admission, Handles, Operation, Review};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// The plug-in.
pub struct TaintNodesByCondition;

impl Admission for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self) -> Handles {
        Handles::NOTHING.admits(&[Operation::Create]).of(&[NODES])
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if is(review, NODES, Operation::Create) {
            taint(&mut review.object);
        }
        Ok(())
    }
}

fn taint(node: &mut Value) {
    let taints = list_at(node, &["spec", "taints"]);
    let same =
        |taint: &Value| taint["key"].str() == NOT_READY && taint["effect"].str() == "NoSchedule";
    if !taints.iter().any(same) {
        taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_once() {
        let mut node = json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}});
        taint(&mut node);
        taint(&mut node);
        let wanted = json!([{"key": "a", "effect": "NoSchedule"}, {"key": NOT_READY, "effect": "NoSchedule"}]);
        assert_eq!(node["spec"]["taints"], wanted);
    }
}
