//! `LimitRanger`: a namespace's default requests and limits, and its bounds on them.
//!
//! Upstream counterpart: `plugin/pkg/admission/limitranger`.

use crate::{
    common::{forbid_all, is},
    pod_resize::is_resize,
    pod_resources::{Amounts, amounts, of_pod},
};
use kinds::{LIMIT_RANGES, PERSISTENT_VOLUME_CLAIMS, PODS};
use machinery::{Quantity, Status, Value};
use registry::{Admission, Handles, Operation, Review};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// The plug-in.
pub struct LimitRanger;

impl Admission for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn handles(&self) -> Handles {
        Handles::NOTHING
            .admits(&[Operation::Create, Operation::Update])
            .validates(&[Operation::Create, Operation::Update])
            .of(&[PODS, PERSISTENT_VOLUME_CLAIMS])
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if is(review, PODS, Operation::Create) {
            let ranges = ranges(review);
            ranges
                .iter()
                .for_each(|range| set_defaults(&mut review.object, range));
        }
        Ok(())
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let pods = is(review, PODS, Operation::Create) || is_resize(review);
        let claims = crate::common::writes(review, PERSISTENT_VOLUME_CLAIMS);
        if !pods && !claims
            || !review
                .object
                .at(&["metadata", "deletionTimestamp"])
                .is_null()
        {
            return Ok(());
        }
        for range in ranges(review) {
            let check = if pods {
                pod_violations
            } else {
                claim_violations
            };
            forbid_all(review, &check(&review.object, &range))?;
        }
        Ok(())
    }
}

fn ranges(review: &Review<'_>) -> Vec<Value> {
    let state = review.door.snapshot();
    state
        .list(LIMIT_RANGES, Some(review.namespace))
        .map(|range| range.root().to_value())
        .collect()
}

fn items<'a>(range: &'a Value, kind: &str) -> impl Iterator<Item = &'a Value> {
    range["spec"]["limits"]
        .items()
        .iter()
        .filter(move |item| item["type"].str() == kind)
}

/// Default limits and requests of containers: what is not said follows from the bounds.
fn container_defaults(range: &Value) -> (Amounts, Amounts) {
    let (mut limits, mut requests) = (Amounts::new(), Amounts::new());
    for item in items(range, "Container") {
        let mut own = amounts(&item["max"]);
        own.extend(amounts(&item["default"]));
        let mut asked = amounts(&item["min"]);
        asked.extend(own.clone());
        asked.extend(amounts(&item["defaultRequest"]));
        limits.extend(own);
        requests.extend(asked);
    }
    (limits, requests)
}

fn set_defaults(pod: &mut Value, range: &Value) {
    let (limits, requests) = container_defaults(range);
    let mut notes = Vec::new();
    for (list, word) in [
        ("containers", "container"),
        ("initContainers", "init container"),
    ] {
        let containers = pod.at_mut(&["spec", list]).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = container["name"].str().to_owned();
            for (field, defaults, noun) in [
                ("requests", &requests, "request"),
                ("limits", &limits, "limit"),
            ] {
                let set = fill(container, field, defaults);
                if !set.is_empty() {
                    notes.push(format!("{} {noun} for {word} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        pod.set_at(&["metadata", "annotations", ANNOTATION], note);
    }
}

/// Sets what is missing and returns its names.
fn fill(container: &mut Value, field: &str, defaults: &Amounts) -> Vec<String> {
    if defaults.is_empty() {
        return Vec::new();
    }
    let own = container.object_at(&["resources", field]);
    let missing: Vec<_> = defaults
        .iter()
        .filter(|(name, _)| !own.contains_key(name))
        .collect();
    for (name, amount) in &missing {
        own.insert(name.as_str(), amount.to_string());
    }
    missing.into_iter().map(|(name, _)| name.clone()).collect()
}

/// What is held against a bound.
struct Measured<'a> {
    kind: &'a str,
    requests: Amounts,
    limits: Amounts,
}

impl Measured<'_> {
    fn violations(&self, item: &Value) -> Vec<String> {
        let bound = |field: &str| amounts(&item[field]).into_iter();
        let mut all = Vec::new();
        all.extend(bound("min").filter_map(|(name, least)| self.below(&name, least)));
        all.extend(bound("max").filter_map(|(name, most)| self.above(&name, most)));
        all.extend(
            bound("maxLimitRequestRatio").filter_map(|(name, ratio)| self.ratio(&name, ratio)),
        );
        all
    }

    fn below(&self, name: &str, least: Quantity) -> Option<String> {
        let head = format!("minimum {name} usage per {} is {least}", self.kind);
        match (self.requests.get(name), self.limits.get(name)) {
            (None, _) => Some(format!("{head}.  No request is specified")),
            (Some(request), _) if *request < least => {
                Some(format!("{head}, but request is {request}"))
            }
            (_, Some(limit)) if *limit < least => Some(format!("{head}, but limit is {limit}")),
            _ => None,
        }
    }

    fn above(&self, name: &str, most: Quantity) -> Option<String> {
        let head = format!("maximum {name} usage per {} is {most}", self.kind);
        if self.kind == "PersistentVolumeClaim" {
            return match self.requests.get(name) {
                None => Some(format!("{head}.  No request is specified")),
                Some(request) if *request > most => {
                    Some(format!("{head}, but request is {request}"))
                }
                Some(_) => None,
            };
        }
        match (self.limits.get(name), self.requests.get(name)) {
            (None, _) => Some(format!("{head}.  No limit is specified")),
            (Some(limit), _) if *limit > most => Some(format!("{head}, but limit is {limit}")),
            (_, Some(request)) if *request > most => {
                Some(format!("{head}, but request is {request}"))
            }
            _ => None,
        }
    }

    fn ratio(&self, name: &str, most: Quantity) -> Option<String> {
        let head = format!(
            "{name} max limit to request ratio per {} is {most}",
            self.kind
        );
        let zero = |amount: &&Quantity| !amount.is_zero();
        let Some(request) = self.requests.get(name).filter(zero) else {
            return Some(format!(
                "{head}, but no request is specified or request is 0"
            ));
        };
        let Some(limit) = self.limits.get(name).filter(zero) else {
            return Some(format!("{head}, but no limit is specified or limit is 0"));
        };
        let ratio = limit.as_f64() / request.as_f64();
        (ratio > most.as_f64()).then(|| format!("{head}, but provided ratio is {ratio:.6}"))
    }
}

fn pod_violations(pod: &Value, range: &Value) -> Vec<String> {
    let mut all = Vec::new();
    let containers = ["containers", "initContainers"].map(|list| pod["spec"][list].items());
    for item in items(range, "Container") {
        for container in containers.iter().copied().flatten() {
            let resources = &container["resources"];
            let measured = Measured {
                kind: "Container",
                requests: amounts(&resources["requests"]),
                limits: amounts(&resources["limits"]),
            };
            all.extend(measured.violations(item));
        }
    }
    for item in items(range, "Pod") {
        let measured = Measured {
            kind: "Pod",
            requests: of_pod(pod, "requests"),
            limits: of_pod(pod, "limits"),
        };
        all.extend(measured.violations(item));
    }
    all
}

fn claim_violations(claim: &Value, range: &Value) -> Vec<String> {
    let requests = amounts(&claim["spec"]["resources"]["requests"]);
    let measured = Measured {
        kind: "PersistentVolumeClaim",
        requests,
        limits: Amounts::new(),
    };
    items(range, "PersistentVolumeClaim")
        .flat_map(|item| measured.violations(item))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    fn range(kind: &str, fields: Value) -> Value {
        let mut item = fields;
        item["type"] = kind.into();
        json!({"spec": {"limits": [item]}})
    }

    #[test]
    fn defaults_are_filled_in_and_noted() {
        let range = range(
            "Container",
            json!({"default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m", "memory": "64Mi"}}),
        );
        let mut pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "resources": {"requests": {"cpu": "200m"}, "limits": {"cpu": "1"}}}]}});
        set_defaults(&mut pod, &range);
        let containers = &pod["spec"]["containers"];
        assert_eq!(
            containers[0]["resources"],
            json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "500m"}})
        );
        assert_eq!(
            containers[1]["resources"]["requests"],
            json!({"cpu": "200m", "memory": "64Mi"})
        );
        assert_eq!(
            crate::common::annotation(&pod, ANNOTATION),
            "LimitRanger plugin set: cpu, memory request for container a; cpu limit for container a; memory request for container b"
        );
    }

    #[test]
    fn bounds_of_containers_and_pods() {
        let resources = |requests: Value, limits: Value| json!({"name": "c", "resources": {"requests": requests, "limits": limits}});
        for (kind, item, container, wanted) in [
            (
                "Container",
                json!({"min": {"cpu": "100m"}}),
                resources(json!({"cpu": "50m"}), json!({})),
                "minimum cpu usage per Container is 100m, but request is 50m",
            ),
            (
                "Container",
                json!({"min": {"cpu": "100m"}}),
                resources(json!({}), json!({})),
                "minimum cpu usage per Container is 100m.  No request is specified",
            ),
            (
                "Container",
                json!({"max": {"cpu": "1"}}),
                resources(json!({}), json!({"cpu": "2"})),
                "maximum cpu usage per Container is 1, but limit is 2",
            ),
            (
                "Container",
                json!({"max": {"cpu": "1"}}),
                resources(json!({}), json!({})),
                "maximum cpu usage per Container is 1.  No limit is specified",
            ),
            (
                "Container",
                json!({"maxLimitRequestRatio": {"cpu": "2"}}),
                resources(json!({"cpu": "100m"}), json!({"cpu": "400m"})),
                "cpu max limit to request ratio per Container is 2, but provided ratio is 4.000000",
            ),
            (
                "Pod",
                json!({"max": {"memory": "1Gi"}}),
                resources(json!({}), json!({"memory": "2Gi"})),
                "maximum memory usage per Pod is 1Gi, but limit is 2Gi",
            ),
            (
                "Container",
                json!({"max": {"cpu": "1"}, "min": {"cpu": "1"}}),
                resources(json!({"cpu": "1"}), json!({"cpu": "1"})),
                "",
            ),
        ] {
            let pod = json!({"spec": {"containers": [container]}});
            assert_eq!(pod_violations(&pod, &range(kind, item)).join(", "), wanted);
        }
        let claim = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
        let range = range("PersistentVolumeClaim", json!({"max": {"storage": "1Gi"}}));
        assert_eq!(
            claim_violations(&claim, &range),
            ["maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi"]
        );
    }
}
