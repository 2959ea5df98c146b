//! All controllers together over a small door: a world comes to rest, and empties when told to.

use controllers::{ControllersConfig, all};
use env::Time;
use machinery::{Object, SmolStr, Value, json};
use reconcile::{Action, Change, Controller, Key, Target, View};
use std::{collections::BTreeSet, sync::Arc};

/// More steps than any of these worlds needs to come to rest.
const STEPS: usize = 2_000;

struct World {
    view: View,
    controllers: Vec<Box<dyn Controller>>,
    queue: BTreeSet<(usize, Target)>,
    uids: usize,
}

fn merge(into: &mut Value, patch: &Value) {
    for (key, value) in patch.entries() {
        if value.is_null() {
            into.make_object().remove(key);
        } else if value.as_object().is_some() {
            merge(&mut into[key.as_str()], value);
        } else {
            into[key.as_str()] = value.clone();
        }
    }
}

impl World {
    fn new() -> Self {
        let controllers = all(ControllersConfig {
            root_ca: controllers::RootBundle::new("PEM"),
            volume_directory: "/v".into(),
            ..ControllersConfig::default()
        });
        let indexes: Vec<_> = controllers.iter().flat_map(|one| one.indexes()).collect();
        Self {
            view: View::of([], &indexes),
            controllers,
            queue: BTreeSet::new(),
            uids: 0,
        }
    }

    fn write(&mut self, resource: &str, key: Key, mut new: Option<Value>) {
        let old = self.view.get(resource, &key.namespace, &key.name).cloned();
        if let Some(value) = &mut new {
            value.metadata_mut().remove("resourceVersion");
            let going = !value.at(&["metadata", "deletionTimestamp"]).is_null();
            let held = !value.at(&["metadata", "finalizers"]).items().is_empty()
                || !value.at(&["spec", "finalizers"]).items().is_empty();
            if going && !held {
                new = None;
            }
        }
        let revision = self.view.revision() + 1;
        let new = new.map(|value| Arc::new(Object::new(&value, revision)));
        let change = Change {
            revision,
            resource: resource.into(),
            key,
            old,
            new,
        };
        self.view.advance(&change);
        for (at, controller) in self.controllers.iter().enumerate() {
            for watch in controller.watches() {
                if watch.resource == "*" || watch.resource == resource {
                    let mut wake = Vec::new();
                    (watch.wakes)(&self.view, &change, &mut wake);
                    self.queue.extend(wake.into_iter().map(|key| (at, key)));
                }
            }
        }
    }

    fn create(&mut self, resource: &str, mut object: Value) {
        self.uids += 1;
        if object.name().is_empty() {
            let name = format!(
                "{}{}",
                object.at(&["metadata", "generateName"]).str(),
                self.uids
            );
            object.metadata_mut().insert("name", name);
        }
        object
            .metadata_mut()
            .insert("uid", format!("uid-{}", self.uids));
        if resource == "pods" {
            object["status"] = json!({"phase": "Running", "podIP": "10.0.0.9", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        }
        let key = Key::new(object.namespace(), object.name());
        if self.view.get(resource, &key.namespace, &key.name).is_none() {
            self.write(resource, key, Some(object));
        }
    }

    /// Carries an action out; false if it does not hold any more.
    fn act(&mut self, action: Action) -> bool {
        let present = |world: &Self, target: &Target| {
            world
                .view
                .get(&target.resource, &target.namespace, &target.name)
                .cloned()
        };
        let key = |target: &Target| Key::new(&target.namespace, &target.name);
        match action {
            Action::Create { target, object, .. } => self.create(&target.resource, object),
            Action::Update { target, object, .. } => {
                let Some(old) = present(self, &target) else {
                    return false;
                };
                if object.at(&["metadata", "resourceVersion"]).str() != old.revision().to_string() {
                    return false;
                }
                self.write(&target.resource, key(&target), Some(object));
            }
            Action::Patch {
                target,
                patch,
                when,
                ..
            } => {
                let Some(old) = present(self, &target) else {
                    return false;
                };
                if when
                    .revision
                    .is_some_and(|revision| revision != old.revision())
                {
                    return false;
                }
                let mut object = old.to_value();
                merge(&mut object, &patch);
                self.write(&target.resource, key(&target), Some(object));
            }
            Action::Delete { target, .. } => {
                let Some(old) = present(self, &target) else {
                    return true;
                };
                let mut object = old.to_value();
                object.set_at(&["metadata", "deletionTimestamp"], "2026-01-02T00:00:00Z");
                self.write(&target.resource, key(&target), Some(object));
            }
            Action::Event(_) => {}
        }
        true
    }

    fn settle(&mut self) {
        for _ in 0..STEPS {
            let Some((at, key)) = self.queue.pop_first() else {
                return;
            };
            let plan = self.controllers[at].reconcile(
                &self.view,
                &key,
                Time::from_unix_seconds(1_780_000_000),
            );
            for action in plan.actions {
                if !self.act(action) {
                    self.queue.insert((at, key.clone()));
                    break;
                }
            }
        }
        panic!(
            "does not come to rest; waiting: {:?}",
            self.queue.iter().take(5).collect::<Vec<_>>()
        );
    }

    fn count(&self, resource: &str) -> usize {
        self.view.list(resource, Some("n")).count()
    }
}

fn workload(kind: &str, spec: Value) -> Value {
    let mut all = json!({"selector": {"matchLabels": {"app": kind}}, "template": {"metadata": {"labels": {"app": kind}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}});
    merge(&mut all, &spec);
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": kind.to_lowercase(), "namespace": "n", "generation": 1}, "spec": all})
}

fn populated() -> World {
    let mut world = World::new();
    world.create("namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]}}));
    world.create("deployments.apps", workload("Deployment", json!({"replicas": 3, "progressDeadlineSeconds": 600, "strategy": {"type": "RollingUpdate"}})));
    world.create("statefulsets.apps", workload("StatefulSet", json!({"replicas": 2, "serviceName": "x", "volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]})));
    world.create("services", json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "n"}, "spec": {"selector": {"app": "Deployment"}, "ports": [{"port": 80}]}}));
    world.settle();
    world
}

#[test]
fn workloads_come_to_rest() {
    let world = populated();
    let expected: [(&str, usize); 6] = [
        ("pods", 5),
        ("replicasets.apps", 1),
        ("persistentvolumeclaims", 2),
        ("endpointslices.discovery.k8s.io", 1),
        ("serviceaccounts", 1),
        ("configmaps", 1),
    ];
    for (resource, count) in expected {
        assert_eq!(world.count(resource), count, "{resource}");
    }
    let slice = world
        .view
        .list("endpointslices.discovery.k8s.io", Some("n"))
        .next()
        .unwrap();
    assert_eq!(slice.at("endpoints").items().count(), 3);
}

#[test]
fn a_deleted_deployment_takes_its_pods_along() {
    let mut world = populated();
    world.act(Action::Delete {
        target: Target::new("deployments.apps", "n", "deployment"),
        when: Default::default(),
        grace_seconds: None,
        propagation: Default::default(),
    });
    world.settle();
    assert_eq!(
        (world.count("replicasets.apps"), world.count("pods")),
        (0, 2)
    );
}

#[test]
fn a_deleted_namespace_empties() {
    let mut world = populated();
    world.act(Action::Delete {
        target: Target::new("namespaces", "", "n"),
        when: Default::default(),
        grace_seconds: None,
        propagation: Default::default(),
    });
    world.settle();
    let left: Vec<SmolStr> = world
        .view
        .snapshot()
        .tables
        .iter()
        .filter(|(_, table)| !table.is_empty())
        .map(|(resource, _)| resource.clone())
        .collect();
    assert_eq!(left, Vec::<SmolStr>::new());
}
