//! The scheduler in a small world: objects in, bindings and reasons out.

use env::Time;
use machinery::{Object, Value, json};
use reconcile::{Action, Brain, Change, Key, View};
use scheduler::Scheduler;
use std::{collections::BTreeMap, sync::Arc};

/// A view, a scheduler, and a door that binds.
struct World {
    view: View,
    scheduler: Scheduler,
    revision: u64,
    now: u64,
    bound: BTreeMap<String, String>,
    deleted: Vec<String>,
    messages: BTreeMap<String, String>,
}

impl World {
    fn new() -> Self {
        Self {
            view: View::new(reconcile::Snapshot::default(), &[]),
            scheduler: Scheduler::default(),
            revision: 0,
            now: 1_700_000_000,
            bound: BTreeMap::new(),
            deleted: Vec::new(),
            messages: BTreeMap::new(),
        }
    }

    fn put(&mut self, resource: &'static str, value: Option<Value>, key: Key) {
        self.revision += 1;
        let new = value.map(|mut value| {
            value.remove_at(&["metadata", "resourceVersion"]);
            Arc::new(Object::new(&value, self.revision))
        });
        let old = self.view.snapshot().get(resource, &key).cloned();
        let change = Change {
            revision: self.revision,
            resource: resource.into(),
            key,
            old,
            new,
        };
        self.view.advance(&change);
        self.scheduler.observe(&self.view, &change);
    }

    fn set(&mut self, resource: &'static str, value: Value) {
        let key = Key::new(value.namespace(), value.name());
        self.put(resource, Some(value), key);
    }

    fn node(&mut self, name: &str, zone: &str, extra: Value) {
        let mut node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "uid": name, "labels": {
                "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone}},
            "spec": {},
            "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}},
        });
        node["spec"] = extra;
        self.set("nodes", node);
    }

    fn pod(&mut self, name: &str, labels: Value, spec: Value) {
        let mut spec = spec;
        if spec["containers"].is_null() {
            spec["containers"] = json!([{"name": "c", "resources": {"requests": {"cpu": "1"}}}]);
        }
        self.set(
            "pods",
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": "d", "uid": name, "labels": labels},
                "spec": spec,
            }),
        );
    }

    /// Decides and carries out until nothing is left to do now.
    fn settle(&mut self) {
        loop {
            self.now += 1;
            let now = Time::from_unix_seconds(self.now);
            let decision = self.scheduler.decide(&self.view, now);
            if decision.work.is_empty() {
                return;
            }
            for work in decision.work {
                let (id, actions) = (work.id, work.actions);
                actions.into_iter().for_each(|action| self.act(action));
                self.scheduler.finished(id, Ok(self.revision), now);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Create {
                target,
                subresource: "binding",
                object,
                ..
            } => {
                let node = object["target"]["name"].str().to_owned();
                let mut pod = self.view.get("pods", "d", &target.name).unwrap().to_value();
                pod.set_at(&["spec", "nodeName"], node.as_str());
                self.set("pods", pod);
                self.bound.insert(target.name.to_string(), node);
            }
            Action::Patch { target, patch, .. } if target.resource == "pods" => {
                for condition in patch["status"]["conditions"].items() {
                    let message = condition["message"].str().to_owned();
                    self.messages.insert(target.name.to_string(), message);
                }
                let mut pod = self.view.get("pods", "d", &target.name).unwrap().to_value();
                for (field, value) in patch["status"].entries() {
                    pod.set_at(&["status", field], value);
                }
                self.set("pods", pod);
            }
            Action::Patch { target, patch, .. } => {
                let resource = "persistentvolumeclaims";
                let mut claim = self
                    .view
                    .get(resource, "d", &target.name)
                    .unwrap()
                    .to_value();
                claim.set_at(
                    &["metadata", "annotations"],
                    &patch["metadata"]["annotations"],
                );
                self.set(resource, claim);
            }
            Action::Delete { target, .. } => {
                self.deleted.push(target.name.to_string());
                self.put("pods", None, Key::new("d", &target.name));
            }
            _ => {}
        }
    }

    fn delete_pod(&mut self, name: &str) {
        self.put("pods", None, Key::new("d", name));
    }

    fn count(&self, node: &str) -> usize {
        self.bound.values().filter(|bound| *bound == node).count()
    }
}

fn labels(app: &str) -> Value {
    json!({"app": app})
}

#[test]
fn fills_nodes_and_tells_why_not() {
    let mut world = World::new();
    world.node("a", "x", json!({}));
    world.node(
        "b",
        "x",
        json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}),
    );
    world.node("c", "x", json!({"unschedulable": true}));
    for number in 0..6 {
        world.pod(&format!("p{number}"), labels("p"), json!({}));
    }
    world.settle();
    assert_eq!((world.count("a"), world.bound.len()), (4, 4));
    assert_eq!(
        world.messages["p5"],
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable. preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
    );
    // Room appears: the oldest waiting pod gets it once its back-off is over.
    world.delete_pod("p0");
    world.now += 20;
    world.settle();
    assert_eq!(world.bound.len(), 5);
    let unbound = if world.bound.contains_key("p4") {
        "p5"
    } else {
        "p4"
    };
    let explanation = world
        .scheduler
        .explain(&world.view, world.view.get("pods", "d", unbound).unwrap());
    let plugins: Vec<_> = explanation
        .nodes
        .iter()
        .map(|node| node.rejections[0].plugin)
        .collect();
    assert_eq!(
        plugins,
        ["NodeResourcesFit", "TaintToleration", "NodeUnschedulable"]
    );
}

#[test]
fn gates_hold_until_lifted() {
    let mut world = World::new();
    world.node("a", "x", json!({}));
    world.pod(
        "p",
        labels("p"),
        json!({"schedulingGates": [{"name": "wait"}]}),
    );
    world.settle();
    assert!(world.bound.is_empty());
    world.pod("p", labels("p"), json!({}));
    world.settle();
    assert_eq!(world.bound["p"], "a");
}

#[test]
fn spreads_over_zones_and_respects_skew() {
    let mut world = World::new();
    for (name, zone) in [("a", "x"), ("b", "x"), ("c", "y")] {
        world.node(name, zone, json!({}));
    }
    let constraint = json!({"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "s"}}});
    for number in 0..9 {
        world.pod(
            &format!("s{number}"),
            labels("s"),
            json!({"topologySpreadConstraints": [constraint.clone()]}),
        );
    }
    world.settle();
    // Node c holds four; zone x may be one ahead.
    assert_eq!(
        (world.count("c"), world.count("a") + world.count("b")),
        (4, 5)
    );
}

#[test]
fn min_domains_counts_missing_domains_as_empty() {
    let mut world = World::new();
    world.node("a", "x", json!({}));
    let constraint = json!({"maxSkew": 1, "minDomains": 2, "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "s"}}});
    for number in 0..2 {
        world.pod(
            &format!("s{number}"),
            labels("s"),
            json!({"topologySpreadConstraints": [constraint.clone()]}),
        );
    }
    world.settle();
    assert_eq!(world.bound.len(), 1);
    world.node("b", "y", json!({}));
    world.now += 20;
    world.settle();
    assert_eq!(world.bound.len(), 2);
}

#[test]
fn pods_attract_and_repel_each_other() {
    let mut world = World::new();
    for (name, zone) in [("a", "x"), ("b", "y"), ("c", "y")] {
        world.node(name, zone, json!({}));
    }
    let term = |app: &str, key: &str| {
        json!({"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key}]})
    };
    let alone = json!({"affinity": {"podAntiAffinity": term("db", "kubernetes.io/hostname")}});
    for number in 0..4 {
        world.pod(&format!("db{number}"), labels("db"), alone.clone());
    }
    world.settle();
    assert_eq!(
        [world.count("a"), world.count("b"), world.count("c")],
        [1, 1, 1]
    );
    assert!(world.messages["db3"].contains("3 node(s) didn't match pod anti-affinity rules"));
    let near = json!({"affinity": {"podAffinity": term("cache", "topology.kubernetes.io/zone")}});
    for number in 0..5 {
        world.pod(&format!("cache{number}"), labels("cache"), near.clone());
    }
    world.settle();
    let zone = |name: &str| if world.bound[name] == "a" { "x" } else { "y" };
    let zones: Vec<_> = world
        .bound
        .keys()
        .filter(|name| name.starts_with("cache"))
        .map(|name| zone(name))
        .collect();
    assert!(
        zones.len() >= 3 && zones.iter().all(|one| *one == zones[0]),
        "{zones:?}"
    );
    // A newcomer without rules of its own is still refused by those of others.
    let mut hermit = World::new();
    hermit.node("a", "x", json!({}));
    hermit.pod(
        "h",
        labels("h"),
        json!({"affinity": {"podAntiAffinity": term("guest", "kubernetes.io/hostname")}}),
    );
    hermit.settle();
    hermit.pod("g", labels("guest"), json!({}));
    hermit.settle();
    assert!(
        hermit.messages["g"].contains("1 node(s) didn't satisfy existing pods anti-affinity rules")
    );
}

#[test]
fn preempts_the_least_important_and_waits_for_room() {
    let mut world = World::new();
    world.node("a", "x", json!({}));
    for (name, priority) in [("low", 1), ("mid", 5), ("high", 9), ("top", 10)] {
        world.pod(name, labels(name), json!({"priority": priority}));
    }
    world.settle();
    assert_eq!(world.bound.len(), 4);
    world.pod("vip", labels("vip"), json!({"priority": 100}));
    world.settle();
    assert_eq!(world.deleted, ["low"]);
    assert_eq!(
        world
            .view
            .get("pods", "d", "vip")
            .unwrap()
            .at("status.nominatedNodeName")
            .str(),
        "a"
    );
    world.now += 20;
    world.settle();
    assert_eq!(world.bound["vip"], "a");
    world.pod(
        "never",
        labels("never"),
        json!({"priority": 200, "preemptionPolicy": "Never"}),
    );
    world.settle();
    assert!(
        world.messages["never"]
            .ends_with("preemption: not eligible due to preemptionPolicy=Never.")
    );
}

#[test]
fn waits_for_late_claims() {
    let mut world = World::new();
    world.node("a", "x", json!({}));
    world.set("storageclasses.storage.k8s.io", json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": "late"}, "provisioner": "x.io/y", "volumeBindingMode": "WaitForFirstConsumer"}));
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "d", "uid": "c"}, "spec": {"storageClassName": "late"}});
    let spec = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]});
    world.pod("p", labels("p"), spec);
    world.settle();
    assert!(
        world.messages["p"]
            .starts_with("0/1 nodes are available: persistentvolumeclaim \"data\" not found.")
    );
    world.set("persistentvolumeclaims", claim);
    world.now += 20;
    world.settle();
    assert!(world.bound.is_empty());
    let mut claim = world
        .view
        .get("persistentvolumeclaims", "d", "data")
        .unwrap()
        .to_value();
    assert_eq!(
        claim
            .at(&[
                "metadata",
                "annotations",
                "volume.kubernetes.io/selected-node"
            ])
            .str(),
        "a"
    );
    world.set("persistentvolumes", json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv"}, "spec": {}}));
    claim.set_at(&["spec", "volumeName"], "pv");
    claim.set_at(&["status", "phase"], "Bound");
    world.set("persistentvolumeclaims", claim);
    world.settle();
    assert_eq!(world.bound["p"], "a");
}

#[test]
fn a_failed_binding_gives_the_node_back() {
    let mut world = World::new();
    world.node("a", "x", json!({}));
    world.pod(
        "p",
        labels("p"),
        json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "3"}}}]}),
    );
    world.now += 1;
    let now = Time::from_unix_seconds(world.now);
    let decision = world.scheduler.decide(&world.view, now);
    world.scheduler.finished(
        decision.work[0].id,
        Err(machinery::Status::internal("lost")),
        now,
    );
    world.now += 20;
    world.settle();
    assert_eq!(world.bound["p"], "a");
}
