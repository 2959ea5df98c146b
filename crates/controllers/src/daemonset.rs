//! Keeps one pod on every node that qualifies.
//!
//! Pods are pinned by node affinity and bound by the scheduler. Upstream counterpart:
//! `pkg/controller/daemon`.

use crate::{
    common::{
        ACTIONS_PER_PLAN, create, delete, event, int_or_percent, set_count, warning, write_status,
    },
    history::{HASH_LABEL, history, trim},
    names::{DAEMON_SETS, NAMESPACES, NODES, PODS},
    ownership::{Claimed, claim, claim_indexes, push, selector, wake_controller, wake_selecting},
    pods,
    taint_eviction::tolerates,
};
use env::Time;
use machinery::{Object, Ref, Value, json};
use reconcile::{Change, Controller, Index, Plan, Target, View, Watch, itself};
use std::{collections::BTreeMap, sync::Arc};

/// Taints every daemon pod tolerates: key and effect.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
const NETWORK_UNAVAILABLE: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// The controller of DaemonSets.
pub struct DaemonSet;

impl Controller for DaemonSet {
    fn name(&self) -> &'static str {
        "daemon-set-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch {
                resource: DAEMON_SETS,
                wakes: itself,
            },
            Watch {
                resource: PODS,
                wakes: wake_sets,
            },
            Watch {
                resource: NODES,
                wakes: wake_all,
            },
        ]
    }

    fn indexes(&self) -> Vec<Index> {
        claim_indexes()
    }

    fn reconcile(&self, view: &View, key: &Target, now: Time) -> Plan {
        let mut plan = Plan::nothing();
        let Some(set) = view.get(DAEMON_SETS, &key.namespace, &key.name) else {
            return plan;
        };
        let selector = selector(set);
        if selector.is_everything() {
            let text = "This daemon set is selecting all pods. A non-empty selector is required.";
            plan.push(warning(set, "SelectingAll", text));
            return plan;
        }
        let mine = claim(view, Claimed(PODS, "Pod"), set, &selector, &mut plan);
        let history = history(view, set, &mut plan);
        let work = Work::new(view, set, mine, &history.hash, now);
        let status = work.status(&mut plan);
        plan.actions.extend(write_status(DAEMON_SETS, set, status));
        let namespace = view.get(NAMESPACES, "", set.namespace());
        if set.is_deleting() || namespace.is_some_and(|namespace| namespace.is_deleting()) {
            return plan;
        }
        let live: Vec<&str> = work
            .by_node
            .values()
            .flatten()
            .filter_map(|pod| pod.label(HASH_LABEL))
            .collect();
        trim(set, &history, &live, &mut plan);
        let before = plan.actions.len();
        work.manage(&mut plan);
        if plan.actions.len() == before && set.at("spec.updateStrategy.type").str() != "OnDelete" {
            work.roll(&mut plan);
        }
        plan
    }
}

fn wake_sets(view: &View, change: &Change, wake: &mut Vec<Target>) {
    wake_controller(change, "DaemonSet", DAEMON_SETS, wake);
    wake_selecting(view, change, DAEMON_SETS, wake);
}

/// A node matters when it comes, goes, or changes what pods choose it by.
fn wake_all(view: &View, change: &Change, wake: &mut Vec<Target>) {
    if let (Some(old), Some(new)) = (&change.old, &change.new) {
        let labels = |node: &Object| node.metadata().get("labels").to_value();
        let spec = |node: &Object| node.at("spec").to_value();
        if labels(old) == labels(new) && spec(old) == spec(new) {
            return;
        }
    }
    for set in view.list(DAEMON_SETS, None) {
        push(wake, crate::common::target(DAEMON_SETS, set));
    }
}

/// Whether a pod should be started on a node, and whether one there may stay.
fn fits(set: &Object, node: &Object) -> (bool, bool) {
    let spec = set.at("spec.template.spec");
    let named = spec.get("nodeName").str();
    let selected = spec
        .get("nodeSelector")
        .entries()
        .all(|(key, value)| node.label(key) == Some(value.str()));
    let affinity = spec.at("affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");
    let chosen = affinity.is_null()
        || affinity
            .get("nodeSelectorTerms")
            .items()
            .any(|term| term_holds(term, node));
    if (!named.is_empty() && named != node.name()) || !selected || !chosen {
        return (false, false);
    }
    let tolerations = Value::Array(tolerations(set));
    let object = Object::new(&tolerations, 0);
    let bears = |taint: Ref<'_>| object.root().items().any(|one| tolerates(one, taint));
    let refused = |effect: &str| {
        node.at("spec.taints")
            .items()
            .any(|taint| taint.get("effect").str() == effect && !bears(taint))
    };
    let expelled = refused("NoExecute");
    (!expelled && !refused("NoSchedule"), !expelled)
}

fn term_holds(term: Ref<'_>, node: &Object) -> bool {
    let holds = |one: Ref<'_>, value: Option<&str>| {
        let listed = one.get("values").items().any(|v| value == Some(v.str()));
        let bound = || one.get("values").items().next()?.str().parse::<i64>().ok();
        let number = || value?.parse::<i64>().ok();
        match one.get("operator").str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => number().zip(bound()).is_some_and(|(n, b)| n > b),
            "Lt" => number().zip(bound()).is_some_and(|(n, b)| n < b),
            _ => false,
        }
    };
    term.get("matchExpressions")
        .items()
        .all(|one| holds(one, node.label(one.get("key").str())))
        && term
            .get("matchFields")
            .items()
            .all(|one| holds(one, Some(node.name())))
}

fn tolerations(set: &Object) -> Vec<Value> {
    let spec = set.at("spec.template.spec");
    let mut all: Vec<Value> = spec.get("tolerations").items().map(Ref::to_value).collect();
    let network = spec
        .get("hostNetwork")
        .is_true()
        .then_some(NETWORK_UNAVAILABLE);
    for (key, effect) in TOLERATED.into_iter().chain(network) {
        let one = json!({"key": key, "operator": "Exists", "effect": effect});
        if !all.contains(&one) {
            all.push(one);
        }
    }
    all
}

/// One look at a set.
struct Work<'a> {
    view: &'a View,
    set: &'a Arc<Object>,
    by_node: BTreeMap<String, Vec<&'a Arc<Object>>>,
    /// Nodes with: may start, may stay.
    nodes: Vec<(&'a Arc<Object>, bool, bool)>,
    hash: &'a str,
    now: Time,
}

impl<'a> Work<'a> {
    fn new(
        view: &'a View,
        set: &'a Arc<Object>,
        pods: Vec<&'a Arc<Object>>,
        hash: &'a str,
        now: Time,
    ) -> Self {
        let mut by_node: BTreeMap<String, Vec<&Arc<Object>>> = BTreeMap::new();
        for pod in pods {
            by_node.entry(node_of(pod)).or_default().push(pod);
        }
        for pods in by_node.values_mut() {
            pods.sort_by_key(|pod| (crate::common::created(pod), pod.name().to_owned()));
        }
        let nodes = view
            .list(NODES, None)
            .map(|node| {
                let (start, stay) = fits(set, node);
                (node, start, stay)
            })
            .collect();
        Self {
            view,
            set,
            by_node,
            nodes,
            hash,
            now,
        }
    }

    fn on(&self, node: &Object) -> &[&'a Arc<Object>] {
        self.by_node.get(node.name()).map_or(&[], Vec::as_slice)
    }

    fn min_ready(&self) -> i64 {
        self.set.at("spec.minReadySeconds").i64()
    }

    fn is_available(&self, pod: &Object) -> bool {
        pods::available_from(pod, self.min_ready()).is_some_and(|from| from <= self.now)
    }

    fn manage(&self, plan: &mut Plan) {
        let mut turn = 0;
        for (node, start, stay) in &self.nodes {
            if plan.actions.len() > ACTIONS_PER_PLAN {
                return plan.look_again(self.now);
            }
            let (ended, running): (Vec<&Arc<Object>>, Vec<&Arc<Object>>) = self
                .on(node)
                .iter()
                .copied()
                .partition(|pod| pods::is_finished(pod));
            for pod in ended.iter().filter(|pod| !pod.is_deleting()) {
                let text = format!(
                    "Found failed daemon pod {}/{} on node {}, will try to kill it",
                    pod.namespace(),
                    pod.name(),
                    node.name()
                );
                plan.push(warning(self.set, "FailedDaemonPod", text));
                self.remove(pod, plan);
            }
            if *start && running.is_empty() && ended.is_empty() {
                self.make(node, turn, plan);
                turn += 1;
            }
            let standing: Vec<&Arc<Object>> = running
                .into_iter()
                .filter(|pod| !pod.is_deleting())
                .collect();
            for pod in self.excess(&standing, *stay) {
                self.remove(pod, plan);
            }
        }
    }

    /// Pods of one node that have to go, given all that stand there, oldest first. While
    /// surging, a pod of the old revision stays beside its successor until that is available.
    fn excess<'p>(&self, standing: &[&'p Arc<Object>], stay: bool) -> Vec<&'p Arc<Object>> {
        if !stay || self.surge() == 0 {
            return standing.iter().skip(usize::from(stay)).copied().collect();
        }
        let (new, old): (Vec<&'p Arc<Object>>, Vec<&'p Arc<Object>>) =
            standing.iter().copied().partition(|pod| self.is_new(pod));
        let surplus = new.iter().skip(1).chain(old.iter().skip(1));
        let mut excess: Vec<&'p Arc<Object>> = surplus.copied().collect();
        if let (Some(new), Some(old)) = (new.first(), old.first())
            && (!pods::is_ready(old) || self.is_available(new))
        {
            excess.push(old);
        }
        excess
    }

    fn is_new(&self, pod: &Object) -> bool {
        pod.label(HASH_LABEL) == Some(self.hash)
    }

    /// Nodes that may have a pod of the new revision beside one of the old.
    fn surge(&self) -> i64 {
        if self.set.at("spec.updateStrategy.type").str() == "OnDelete" {
            return 0;
        }
        let wanted = self.nodes.iter().filter(|(_, start, _)| *start).count() as i64;
        let field = self.set.at("spec.updateStrategy.rollingUpdate.maxSurge");
        int_or_percent(field, wanted, true).unwrap_or(0)
    }

    /// Starts pods of the new revision beside old ones: where the old one does not serve, and
    /// on as many other nodes as may surge at once.
    fn surge_on(&self, surge: i64, plan: &mut Plan) {
        let (mut replaced, mut candidates, mut surging) = (Vec::new(), Vec::new(), 0);
        for (node, start, _) in &self.nodes {
            let standing = self.on(node).iter().filter(|pod| !pod.is_deleting());
            let (new, old): (Vec<&Arc<Object>>, Vec<&Arc<Object>>) =
                standing.partition(|pod| self.is_new(pod));
            match (new.first(), old.first()) {
                (None, Some(old)) if *start => match self.is_available(old) {
                    true => candidates.push(node),
                    false => replaced.push(node),
                },
                (Some(new), Some(_)) if !self.is_available(new) => surging += 1,
                _ => {}
            }
        }
        let spare = (surge - surging).max(0) as usize;
        let chosen = replaced
            .into_iter()
            .chain(candidates.into_iter().take(spare));
        for (turn, node) in chosen.take(ACTIONS_PER_PLAN).enumerate() {
            self.make(node, turn, plan);
        }
    }

    fn make(&self, node: &Object, turn: usize, plan: &mut Plan) {
        let prefix = format!("{}-", self.set.name());
        let name = pods::generated_name(self.view, self.set, &prefix, turn);
        let mut pod = pods::from_template(self.set, self.set.at("spec.template"));
        pod.metadata_mut().insert("name", name.as_str());
        pod.metadata_mut().insert("generateName", prefix);
        pod.set_at(&["metadata", "labels", HASH_LABEL], self.hash);
        pod.set_at(&["spec", "tolerations"], tolerations(self.set));
        let only = json!([{"key": "metadata.name", "operator": "In", "values": [node.name()]}]);
        let path = ["spec", "affinity", "nodeAffinity"];
        let affinity = pod.object_at(&path);
        let required = affinity.entry_or(
            "requiredDuringSchedulingIgnoredDuringExecution",
            Value::object,
        );
        // The template's own terms have chosen this node already.
        required["nodeSelectorTerms"] = json!([{"matchFields": only}]);
        plan.push(create(PODS, pod, false));
        plan.push(event(
            self.set,
            "SuccessfulCreate",
            format!("Created pod: {name}"),
        ));
    }

    fn remove(&self, pod: &Object, plan: &mut Plan) {
        plan.push(delete(PODS, pod));
        let text = format!("Deleted pod: {}", pod.name());
        plan.push(event(self.set, "SuccessfulDelete", text));
    }

    fn roll(&self, plan: &mut Plan) {
        let surge = self.surge();
        if surge > 0 {
            return self.surge_on(surge, plan);
        }
        let wanted = self.nodes.iter().filter(|(_, start, _)| *start).count() as i64;
        let field = self
            .set
            .at("spec.updateStrategy.rollingUpdate.maxUnavailable");
        let mut allowed = int_or_percent(field, wanted, true).unwrap_or(1);
        let mut old: Vec<&Arc<Object>> = Vec::new();
        for (node, start, _) in &self.nodes {
            let pods = self.on(node);
            if *start
                && !pods
                    .iter()
                    .any(|pod| self.is_available(pod) && !pod.is_deleting())
            {
                allowed -= 1;
            }
            old.extend(pods.iter().copied().filter(|pod: &&Arc<Object>| {
                !pod.is_deleting() && pod.label(HASH_LABEL) != Some(self.hash)
            }));
        }
        // Replacing what does not serve anyway costs nothing.
        let (serving, broken): (Vec<&Arc<Object>>, Vec<&Arc<Object>>) =
            old.into_iter().partition(|pod| self.is_available(pod));
        let spare = allowed.max(0) as usize;
        for pod in broken.into_iter().chain(serving.into_iter().take(spare)) {
            self.remove(pod, plan);
        }
    }

    fn status(&self, plan: &mut Plan) -> Value {
        let (mut desired, mut current, mut misplaced) = (0, 0, 0);
        let (mut ready, mut available, mut updated) = (0, 0, 0);
        for (node, start, _) in &self.nodes {
            let oldest = self.on(node).first();
            match (start, oldest) {
                (true, _) => desired += 1,
                (false, Some(_)) => misplaced += 1,
                (false, None) => {}
            }
            let Some(pod) = oldest.filter(|_| *start) else {
                continue;
            };
            current += 1;
            let newest = self.on(node).last().unwrap_or(pod);
            updated += i64::from(newest.label(HASH_LABEL) == Some(self.hash));
            ready += i64::from(pods::is_ready(pod));
            match pods::available_from(pod, self.min_ready()) {
                Some(from) if from <= self.now => available += 1,
                Some(from) => plan.look_again(from),
                None => {}
            }
        }
        let mut status = self.set.at("status").to_value();
        for (key, count) in [
            ("desiredNumberScheduled", desired),
            ("currentNumberScheduled", current),
            ("numberMisscheduled", misplaced),
            ("numberReady", ready),
        ] {
            status[key] = count.into();
        }
        for (key, count) in [
            ("numberAvailable", available),
            ("numberUnavailable", desired - available),
            ("updatedNumberScheduled", updated),
            ("observedGeneration", self.set.generation()),
        ] {
            set_count(&mut status, key, count);
        }
        status
    }
}

/// The node a daemon pod is on, or is meant for.
fn node_of(pod: &Object) -> String {
    let bound = pod.at("spec.nodeName").str();
    if !bound.is_empty() {
        return bound.to_owned();
    }
    let path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    pod.at(path)
        .items()
        .flat_map(|term| term.get("matchFields").items())
        .filter(|field| field.get("key").str() == "metadata.name")
        .find_map(|field| Some(field.get("values").items().next()?.str().to_owned()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use reconcile::Action;

    fn node(name: &str, taints: Value) -> (&'static str, Value) {
        (
            NODES,
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": name}, "spec": {"taints": taints}}),
        )
    }

    #[test]
    fn new_pods_surge_beside_old_ones_that_serve() {
        let set = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d", "namespace": "n", "uid": "d"},
            "spec": {"selector": {"matchLabels": {"app": "d"}}, "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": []}},
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}});
        let first = View::of(
            [(DAEMON_SETS, set.clone()), node("a", json!([]))],
            &claim_indexes(),
        );
        let key = Target::new(DAEMON_SETS, "n", "d");
        let made = |plan: &Plan| -> Vec<Value> {
            let pods = plan.actions.iter().filter_map(|action| match action {
                Action::Create { target, object, .. } if target.resource == PODS => {
                    Some(object.clone())
                }
                _ => None,
            });
            pods.collect()
        };
        let current = made(&DaemonSet.reconcile(&first, &key, Time(0)))[0].clone();
        let pod = |name: &str, on: &str, hash: &str, ready: &str| {
            let mut pod = current.clone();
            pod.set_at(&["metadata", "name"], name);
            pod.set_at(&["metadata", "namespace"], "n");
            pod.set_at(&["metadata", "uid"], name);
            pod.set_at(&["spec", "nodeName"], on);
            if !hash.is_empty() {
                pod.set_at(&["metadata", "labels", HASH_LABEL], hash);
            }
            pod["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "1970-01-01T00:00:00Z"}]});
            (PODS, pod)
        };
        let run = |pods: Vec<(&'static str, Value)>| {
            let mut world = vec![
                (DAEMON_SETS, set.clone()),
                node("a", json!([])),
                node("b", json!([])),
            ];
            world.extend(pods);
            let plan = DaemonSet.reconcile(&View::of(world, &claim_indexes()), &key, Time(0));
            let gone: Vec<String> = plan
                .actions
                .iter()
                .filter_map(|action| match action {
                    Action::Delete { target, .. } if target.resource == PODS => {
                        Some(target.name.to_string())
                    }
                    _ => None,
                })
                .collect();
            let nodes: Vec<String> = made(&plan)
                .iter()
                .map(|pod| node_of(&Object::new(pod, 1)))
                .collect();
            (nodes, gone)
        };
        let (none, text) = (Vec::<String>::new(), |text: &str| vec![text.to_owned()]);
        let (a, b) = (pod("a", "a", "old", "True"), pod("b", "b", "old", "True"));
        assert_eq!(run(vec![a.clone(), b.clone()]), (text("a"), none.clone()));
        let waiting = pod("x", "a", "", "False");
        assert_eq!(
            run(vec![a.clone(), b.clone(), waiting]),
            (none.clone(), none.clone()),
            "one node surges at a time"
        );
        let serving = pod("x", "a", "", "True");
        assert_eq!(run(vec![a, b.clone(), serving]), (none.clone(), text("a")));
        let broken = pod("a", "a", "old", "False");
        assert_eq!(
            run(vec![broken, b]),
            (vec!["a".to_owned(), "b".to_owned()], none),
            "replacing what does not serve is no surge"
        );
    }

    #[test]
    fn one_pod_on_each_node_that_qualifies() {
        let set = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d", "namespace": "n", "uid": "d"},
            "spec": {"selector": {"matchLabels": {"app": "d"}}, "updateStrategy": {"type": "RollingUpdate"}, "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": []}}}});
        let world = vec![
            (DAEMON_SETS, set),
            node("a", json!([])),
            node(
                "b",
                json!([{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]),
            ),
            node("c", json!([{"key": "mine", "effect": "NoSchedule"}])),
        ];
        let view = View::of(world, &claim_indexes());
        let plan = DaemonSet.reconcile(&view, &Target::new(DAEMON_SETS, "n", "d"), Time(0));
        let nodes: Vec<_> = plan
            .actions
            .iter()
            .filter_map(|action| match action {
                Action::Create { target, object, .. } if target.resource == PODS => {
                    Some(node_of(&Object::new(object, 1)))
                }
                _ => None,
            })
            .collect();
        assert_eq!(nodes, ["a", "b"]);
        let status = plan.actions.iter().find_map(|action| match action {
            Action::Update { object, .. } => Some(object["status"].clone()),
            _ => None,
        });
        assert_eq!(status.unwrap()["desiredNumberScheduled"].as_i64(), Some(2));
    }
}
