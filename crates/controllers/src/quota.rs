//! Recounts what a namespace uses of its quotas.
//!
//! Admission charges writes as they come; this corrects the sum by what there is.
//! Upstream counterpart: `pkg/controller/resourcequota` and `pkg/quota/v1/evaluator/core`.

use crate::{
    common::{target, write_status},
    names::{PODS, PVCS, RESOURCE_QUOTAS, SERVICES},
    pods,
};
use env::Time;
use machinery::{Format, Object, Quantity, Ref, Value};
use reconcile::{Change, Controller, Plan, Target, View, Watch, itself};

/// Core resources counted by their bare name.
const COUNTED: [&str; 6] = [
    "configmaps",
    "persistentvolumeclaims",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
];

/// The controller of ResourceQuotas.
pub struct ResourceQuota;

impl Controller for ResourceQuota {
    fn name(&self) -> &'static str {
        "resourcequota-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch {
                resource: RESOURCE_QUOTAS,
                wakes: itself,
            },
            Watch {
                resource: "*",
                wakes: wake_namespace,
            },
        ]
    }

    fn reconcile(&self, view: &View, key: &Target, _: Time) -> Plan {
        let mut plan = Plan::nothing();
        let Some(quota) = view.get(RESOURCE_QUOTAS, &key.namespace, &key.name) else {
            return plan;
        };
        let mut status = quota.at("status").to_value();
        status["hard"] = quota.at("spec.hard").to_value();
        let mut used = Value::object();
        for (name, _) in quota.at("spec.hard").entries() {
            match usage(view, quota, name) {
                Some(amount) => used[name] = same_or(quota, name, amount),
                None => {
                    plan.failed = Some(format!("usage of {name:?} cannot be counted"));
                }
            }
        }
        status["used"] = used;
        plan.actions
            .extend(write_status(RESOURCE_QUOTAS, quota, status));
        plan
    }
}

/// Objects count when they come and go; pods, services and claims also by what they are.
fn wake_namespace(view: &View, change: &Change, wake: &mut Vec<Target>) {
    let by_content = [PODS, SERVICES, PVCS].contains(&change.resource.as_str());
    let exists = change.old.is_some() && change.new.is_some();
    if change.key.namespace.is_empty() || (exists && !by_content) {
        return;
    }
    let quotas = view.list(RESOURCE_QUOTAS, Some(&change.key.namespace));
    wake.extend(quotas.map(|quota| target(RESOURCE_QUOTAS, quota)));
}

/// The amount in the spelling it has already, if that means the same.
fn same_or(quota: &Object, name: &str, amount: Quantity) -> Value {
    let known = quota.at("status.used").get(name);
    match known.as_str().map(str::parse::<Quantity>) {
        Some(Ok(old)) if old == amount => known.to_value(),
        _ => amount.to_string().into(),
    }
}

fn usage(view: &View, quota: &Object, name: &str) -> Option<Quantity> {
    let count = |number: usize| Some(Quantity::from_units(number as i64, Format::DecimalSi));
    let namespace = Some(quota.namespace());
    if name == PODS || is_compute(name) {
        return Some(
            view.list(PODS, namespace)
                .filter(|pod| !pods::is_finished(pod) && in_scope(quota, pod))
                .map(|pod| pod_usage(pod, name))
                .sum(),
        );
    }
    if let Some(resource) = name.strip_prefix("count/") {
        return count(view.list(resource, namespace).count());
    }
    if COUNTED.contains(&name) {
        return count(view.list(name, namespace).count());
    }
    let services = || view.list(SERVICES, namespace);
    match name {
        "services.loadbalancers" => {
            count(services().filter(|one| kind(one) == "LoadBalancer").count())
        }
        "services.nodeports" => count(services().map(|one| node_ports(one)).sum()),
        "requests.storage" => Some(claimed(view, quota, None)),
        _ => {
            let (class, what) = name.split_once(".storageclass.storage.k8s.io/")?;
            match what {
                "requests.storage" => Some(claimed(view, quota, Some(class))),
                "persistentvolumeclaims" => {
                    let of_class = |one: &&std::sync::Arc<Object>| {
                        one.at("spec.storageClassName").str() == class
                    };
                    count(view.list(PVCS, namespace).filter(of_class).count())
                }
                _ => None,
            }
        }
    }
}

/// Whether a name is an amount of what containers ask for.
fn is_compute(name: &str) -> bool {
    let bare = name
        .strip_prefix("requests.")
        .or_else(|| name.strip_prefix("limits."));
    match bare {
        Some("storage") => false,
        Some(_) => true,
        None => ["cpu", "memory", "ephemeral-storage"].contains(&name),
    }
}

fn kind(service: &Object) -> &str {
    service.at("spec.type").str()
}

fn node_ports(service: &Object) -> usize {
    if !["NodePort", "LoadBalancer"].contains(&kind(service)) {
        return 0;
    }
    let ports = service.at("spec.ports").items();
    ports.filter(|port| port.get("nodePort").i64() != 0).count()
}

fn claimed(view: &View, quota: &Object, class: Option<&str>) -> Quantity {
    view.list(PVCS, Some(quota.namespace()))
        .filter(|claim| class.is_none_or(|class| claim.at("spec.storageClassName").str() == class))
        .map(|claim| amount(claim.at("spec.resources.requests.storage")))
        .sum()
}

fn amount(field: Ref<'_>) -> Quantity {
    if let Some(number) = field.as_i64() {
        return Quantity::from_units(number, Format::DecimalSi);
    }
    field.str().parse().unwrap_or(Quantity::ZERO)
}

/// What a pod asks for: the sum of its containers and sidecars, or its largest init container.
fn pod_usage(pod: &Object, name: &str) -> Quantity {
    if name == PODS {
        return Quantity::from_units(1, Format::DecimalSi);
    }
    let (list, resource) = match name.strip_prefix("limits.") {
        Some(resource) => ("limits", resource),
        None => ("requests", name.strip_prefix("requests.").unwrap_or(name)),
    };
    let asked = |container: Ref<'_>| amount(container.get("resources").get(list).get(resource));
    let mut running: Quantity = pod.at("spec.containers").items().map(asked).sum();
    let mut starting = Quantity::ZERO;
    let mut sidecars = Quantity::ZERO;
    for container in pod.at("spec.initContainers").items() {
        if container.get("restartPolicy").str() == "Always" {
            sidecars += asked(container);
            running += asked(container);
            starting = starting.max(sidecars);
        } else {
            starting = starting.max(sidecars + asked(container));
        }
    }
    running.max(starting) + amount(pod.at("spec.overhead").get(resource))
}

fn in_scope(quota: &Object, pod: &Object) -> bool {
    let mut named = quota.at("spec.scopes").items();
    let mut selected = quota.at("spec.scopeSelector.matchExpressions").items();
    named.all(|scope| is_of(pod, scope.str(), ("Exists", Ref::MISSING)))
        && selected.all(|one| {
            let term = (one.get("operator").str(), one.get("values"));
            is_of(pod, one.get("scopeName").str(), term)
        })
}

/// Whether a pod is of a scope; only classes are compared with values.
fn is_of(pod: &Object, scope: &str, (operator, values): (&str, Ref<'_>)) -> bool {
    let limited = || pod.at("spec.activeDeadlineSeconds").as_i64().is_some();
    let best_effort = || pod.at("status.qosClass").str() == "BestEffort";
    match scope {
        "Terminating" => limited(),
        "NotTerminating" => !limited(),
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "CrossNamespacePodAffinity" => looks_elsewhere(pod.at("spec.affinity")),
        "PriorityClass" => {
            let class = pod.at("spec.priorityClassName").str();
            let listed = values.items().any(|value| value.str() == class);
            match operator {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => !class.is_empty(),
                "DoesNotExist" => class.is_empty(),
                _ => false,
            }
        }
        _ => false,
    }
}

/// Whether an affinity to pods looks at other namespaces than the pod's own.
fn looks_elsewhere(affinity: Ref<'_>) -> bool {
    let crosses = |term: Ref<'_>| {
        term.get("namespaces").items().next().is_some() || !term.get("namespaceSelector").is_null()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let rules = affinity.get(kind);
        let hard = rules.get("requiredDuringSchedulingIgnoredDuringExecution");
        let soft = rules.get("preferredDuringSchedulingIgnoredDuringExecution");
        let soft = soft.items().map(|term| term.get("podAffinityTerm"));
        hard.items().chain(soft).any(crosses)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;
    use reconcile::Action;

    #[test]
    fn scopes_choose_pods() {
        let quota = |spec: Value| Object::new(&json!({"spec": spec}), 1);
        let selects = |scope: &str, operator: &str, values: Value| {
            quota(
                json!({"scopeSelector": {"matchExpressions": [{"scopeName": scope, "operator": operator, "values": values}]}}),
            )
        };
        let pod = |spec: Value| {
            Object::new(
                &json!({"spec": spec, "status": {"qosClass": "BestEffort"}}),
                1,
            )
        };
        let term = json!({"topologyKey": "z", "namespaces": ["n2"]});
        let near = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "z"}]}});
        let far = json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term}]}});
        for (quota, spec, wanted) in [
            (
                quota(json!({"scopes": ["BestEffort", "Terminating"]})),
                json!({"activeDeadlineSeconds": 1}),
                true,
            ),
            (
                quota(json!({"scopes": ["BestEffort", "Terminating"]})),
                json!({}),
                false,
            ),
            (
                selects("PriorityClass", "In", json!(["high"])),
                json!({"priorityClassName": "high"}),
                true,
            ),
            (
                selects("PriorityClass", "NotIn", json!(["high"])),
                json!({"priorityClassName": "high"}),
                false,
            ),
            (
                selects("CrossNamespacePodAffinity", "Exists", Value::Null),
                json!({"affinity": far}),
                true,
            ),
            (
                selects("CrossNamespacePodAffinity", "Exists", Value::Null),
                json!({"affinity": near}),
                false,
            ),
        ] {
            assert_eq!(in_scope(&quota, &pod(spec.clone())), wanted, "{spec:?}");
        }
    }

    #[test]
    fn sums_what_pods_ask_for() {
        let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": "n", "uid": "q"},
            "spec": {"hard": {"pods": "4", "requests.cpu": "2", "count/deployments.apps": "3"}}});
        let pod = |name: &str, phase: &str| {
            (
                PODS,
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n", "uid": name},
                "spec": {"containers": [{"resources": {"requests": {"cpu": "250m"}}}], "initContainers": [{"resources": {"requests": {"cpu": "300m"}}}]}, "status": {"phase": phase}}),
            )
        };
        let world = [
            (RESOURCE_QUOTAS, quota),
            pod("a", "Running"),
            pod("b", "Pending"),
            pod("c", "Succeeded"),
        ];
        let view = View::of(world, &[]);
        let plan = ResourceQuota.reconcile(&view, &Target::new(RESOURCE_QUOTAS, "n", "q"), Time(0));
        let Action::Update { object, .. } = &plan.actions[0] else {
            panic!()
        };
        assert_eq!(
            object["status"]["used"],
            json!({"pods": "2", "requests.cpu": "600m", "count/deployments.apps": "0"})
        );
    }
}
