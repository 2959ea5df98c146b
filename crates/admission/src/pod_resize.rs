//! `PodResizeValidator`: a running pod does not ask for more than its whole node has.
//!
//! Upstream counterpart: `plugin/pkg/admission/podresize`.

use crate::{
    common::{forbid, quantity},
    pod_resources::{Amounts, of_pod},
};
use kinds::{NODES, PODS};
use machinery::{Quantity, Status, Value};
use registry::{Admission, Handles, Key, Operation, Review};

/// The plug-in.
pub struct PodResizeValidator;

impl Admission for PodResizeValidator {
    fn name(&self) -> &'static str {
        "PodResizeValidator"
    }

    fn handles(&self) -> Handles {
        Handles::NOTHING.validates(&[Operation::Update]).of(&[PODS])
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let pod = &review.object;
        let node = pod.at(&["spec", "nodeName"]).str();
        let generation = pod.at(&["metadata", "generation"]).as_i64();
        let same = review
            .old
            .is_some_and(|old| Some(old.generation()) == generation);
        if !is_resize(review) || node.is_empty() || same {
            return Ok(());
        }
        let state = review.door.snapshot();
        let Some(node) = state.get(NODES, &Key::new("", node)) else {
            return Err(forbid(review, &format!("node {node:?} not found")));
        };
        let os = node.label("kubernetes.io/os").unwrap_or("linux");
        if os != "linux" {
            let name = node.name();
            let why =
                format!("pod resize is only supported on linux nodes, node {name:?} is {os:?}");
            return Err(forbid(review, &why).cause("UnsupportedPlatform", "", ""));
        }
        let allocatable = node.at("status.allocatable").to_value();
        match shortage(&of_pod(pod, "requests"), &allocatable) {
            Some(why) => Err(forbid(review, &why).cause("NodeCapacity", "", "")),
            None => Ok(()),
        }
    }
}

/// Whether the review is of a pod's resize.
pub(crate) fn is_resize(review: &Review<'_>) -> bool {
    review.operation == Operation::Update
        && review.subresource == "resize"
        && review.kind.storage == PODS
}

fn shortage(requests: &Amounts, allocatable: &Value) -> Option<String> {
    let amount = |name: &str| quantity(&allocatable[name]).unwrap_or(Quantity::ZERO);
    let unit = |name: &str, amount: Quantity| match name {
        "cpu" => amount.milli(),
        _ => amount.units(),
    };
    let short = |name: &&str| {
        requests
            .get(*name)
            .is_some_and(|asked| *asked > amount(name))
    };
    let short: Vec<String> = ["cpu", "memory"]
        .iter()
        .filter(|name| short(name))
        .map(|name| {
            let (asked, has) = (unit(name, requests[*name]), unit(name, amount(name)));
            format!("{name}, requested: {asked}, allocatable: {has}")
        })
        .collect();
    let list = short.join("; ");
    (!short.is_empty()).then(|| format!("node didn't have enough allocatable resources: {list}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod_resources::amounts;
    use machinery::json;

    #[test]
    fn what_no_node_has_is_refused() {
        let has = json!({"cpu": "2", "memory": "1Gi"});
        let ask = |list: Value| shortage(&amounts(&list), &has);
        assert_eq!(ask(json!({"cpu": "2000m", "memory": "1Gi"})), None);
        assert_eq!(
            ask(json!({"cpu": "2500m", "memory": "2Gi"})).expect("refused"),
            "node didn't have enough allocatable resources: cpu, requested: 2500, allocatable: \
             2000; memory, requested: 2147483648, allocatable: 1073741824"
        );
    }
}
