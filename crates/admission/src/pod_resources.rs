//! What a pod asks for in all, containers, sidecars, init phases and overhead together.
//!
//! Upstream counterpart: `k8s.io/component-helpers/resource`.

use crate::common::quantity;
use machinery::{Quantity, Value};
use std::collections::BTreeMap;

/// Amounts by resource name.
pub(crate) type Amounts = BTreeMap<String, Quantity>;

/// The amounts of a map of quantities.
pub(crate) fn amounts(map: &Value) -> Amounts {
    map.entries()
        .filter_map(|(name, value)| Some((name.to_string(), quantity(value)?)))
        .collect()
}

/// Adds `other` to `sum`.
pub(crate) fn add(sum: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        *sum.entry(name.clone()).or_default() += *amount;
    }
}

fn raise(sum: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let current = sum.entry(name.clone()).or_insert(*amount);
        *current = (*current).max(*amount);
    }
}

/// Sum over a pod of `field` (`requests` or `limits`): the most it takes at one time.
pub(crate) fn of_pod(pod: &Value, field: &str) -> Amounts {
    let spec = &pod["spec"];
    let (mut total, mut sidecars, mut starting) = (Amounts::new(), Amounts::new(), Amounts::new());
    for container in spec["containers"].items() {
        add(&mut total, &amounts(&container["resources"][field]));
    }
    for container in spec["initContainers"].items() {
        let mut own = amounts(&container["resources"][field]);
        if container["restartPolicy"].str() == "Always" {
            add(&mut sidecars, &own);
            own = sidecars.clone();
        } else {
            add(&mut own, &sidecars);
        }
        raise(&mut starting, &own);
    }
    add(&mut total, &sidecars);
    raise(&mut total, &starting);
    total.extend(amounts(&spec["resources"][field]));
    let overhead = amounts(&spec["overhead"]);
    let applies = |name: &String| {
        field == "requests" || total.get(name).is_some_and(|amount| !amount.is_zero())
    };
    let overhead: Amounts = overhead
        .into_iter()
        .filter(|(name, _)| applies(name))
        .collect();
    add(&mut total, &overhead);
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn the_most_at_one_time() {
        let with = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let sidecar =
            |cpu: &str| json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}});
        for (spec, cpu) in [
            (json!({"containers": [with("1"), with("500m")]}), "1500m"),
            (
                json!({"containers": [with("1")], "initContainers": [with("3")]}),
                "3",
            ),
            (
                json!({"containers": [with("1")], "initContainers": [sidecar("1"), with("3")]}),
                "4",
            ),
            (
                json!({"containers": [with("1")], "initContainers": [with("3"), sidecar("1")]}),
                "3",
            ),
            (
                json!({"containers": [with("1")], "overhead": {"cpu": "250m"}}),
                "1250m",
            ),
            (
                json!({"containers": [with("1")], "resources": {"requests": {"cpu": "5"}}}),
                "5",
            ),
        ] {
            let pod = json!({"spec": spec});
            assert_eq!(of_pod(&pod, "requests")["cpu"].to_string(), cpu);
        }
    }
}
