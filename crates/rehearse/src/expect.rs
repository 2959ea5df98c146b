//! Expectations: statements about the state of the cluster, and when they must hold.
//!
//! Pure over snapshots and times. Upstream counterpart: KUTTL's assertions, `kubectl wait`.

use crate::{
    scenario::{Expectation, FieldState, State, Window},
    timeline::{condition, status_of},
};
use machinery::{Object, Ref, Value};
use registry::{Key, Snapshot};
use sim_env::glob;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Nodes that steps chose, by the name of the step.
pub(crate) type Chosen = BTreeMap<String, String>;

/// How an expectation turned out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// Whether it held.
    pub held: bool,
    /// When it came true, or when and why it did not hold.
    pub text: String,
}

/// When an expectation must hold.
#[derive(Clone, Copy, Debug)]
enum When {
    /// Once in the span.
    Once(Duration, Duration),
    /// All through the span.
    Always(Duration, Duration),
}

/// An expectation on its way to its outcome.
pub(crate) struct Watch {
    what: Expectation,
    when: When,
    outcome: Option<Outcome>,
    /// What was wrong when last looked at.
    last: String,
}

/// Offsets as people read them: `1m30.5s`.
pub(crate) fn show(offset: Duration) -> String {
    let (seconds, millis) = (offset.as_secs(), offset.subsec_millis());
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    let rest = format!("{:02}.{millis:03}", seconds % 60);
    match hours {
        0 => format!("{minutes:02}:{rest}"),
        _ => format!("{hours}:{minutes:02}:{rest}"),
    }
}

impl Watch {
    pub fn new(what: Expectation, duration: Duration) -> Self {
        let when = match (what.within, what.always) {
            (Some(Window(from, to)), _) => When::Once(from, to),
            (_, Some(Window(from, to))) => When::Always(from, to),
            _ => When::Always(duration, duration),
        };
        Self {
            what,
            when,
            outcome: None,
            last: "it was never looked at".into(),
        }
    }

    /// Times at which it must be looked at even if nothing changes.
    pub fn boundaries(&self) -> [Duration; 2] {
        match self.when {
            When::Once(from, to) | When::Always(from, to) => [from, to],
        }
    }

    fn concerns(&self, touched: &BTreeSet<&str>) -> bool {
        self.what
            .all
            .iter()
            .any(|state| touched.contains(resource_of(state)))
    }

    /// Looks at the state as of `now`; `touched` are the resources that changed, `None` at a
    /// boundary.
    pub fn look(
        &mut self,
        now: Duration,
        (snapshot, chosen): (&Snapshot, &Chosen),
        touched: Option<&BTreeSet<&str>>,
    ) {
        let [from, to] = self.boundaries();
        let idle = touched.is_some_and(|touched| !self.concerns(touched));
        if self.outcome.is_some() || idle || now < from || now > to {
            return;
        }
        let wrong = self
            .what
            .all
            .iter()
            .find_map(|state| wrong(state, snapshot, chosen));
        match (self.when, wrong) {
            (When::Once(..), None) => self.settle(true, format!("at {}", show(now))),
            (When::Once(..), Some(why)) => self.last = why,
            (When::Always(..), Some(why)) => self.settle(false, format!("at {}: {why}", show(now))),
            (When::Always(..), None) => self.last.clear(),
        }
    }

    fn settle(&mut self, held: bool, text: String) {
        let name = self.what.name.clone();
        self.outcome = Some(Outcome { name, held, text });
    }

    /// The outcome when everything is over.
    pub fn finish(mut self) -> Outcome {
        if self.outcome.is_none() {
            match self.when {
                When::Once(_, by) => {
                    let text = format!("not by {}: {}", show(by), self.last);
                    self.settle(false, text);
                }
                When::Always(from, to) if self.last.is_empty() => {
                    let text = match from == to {
                        true => format!("at {}", show(to)),
                        false => format!("from {} to {}", show(from), show(to)),
                    };
                    self.settle(true, text);
                }
                When::Always(..) => self.settle(false, self.last.clone()),
            }
        }
        self.outcome.expect("was just settled")
    }
}

/// The resource whose changes can make a statement true or false.
fn resource_of(state: &State) -> &str {
    match state {
        State {
            deployment: Some(_),
            ..
        } => "deployments.apps",
        State {
            stateful_set: Some(_),
            ..
        } => "statefulsets.apps",
        State { claim: Some(_), .. } => "persistentvolumeclaims",
        State {
            service: Some(_), ..
        } => kinds::ENDPOINT_SLICES,
        State { pods: Some(_), .. } => "pods",
        State {
            object: Some(object),
            ..
        } => &object.resource,
        _ => "nodes",
    }
}

/// What is not as stated; `None` if all is.
fn wrong(state: &State, snapshot: &Snapshot, chosen: &Chosen) -> Option<String> {
    let node = match state.node.as_ref().map(|name| resolve(name, chosen)) {
        Some(Err(why)) => return Some(why),
        Some(Ok(node)) => Some(node),
        None => None,
    };
    if let Some(pattern) = &state.pods {
        return wrong_pods(state, &pods_of(snapshot, pattern), node);
    }
    if let Some(service) = &state.service {
        return wrong_service(state, service, snapshot);
    }
    if let Some(field) = &state.object {
        return wrong_field(field, snapshot);
    }
    let subject = state.deployment.as_ref().or(state.stateful_set.as_ref());
    let (namespace, name) = match (subject.or(state.claim.as_ref()), node) {
        (Some(place), _) => place.split_once('/')?,
        (None, node) => ("", node?),
    };
    match snapshot.get(resource_of(state), &Key::new(namespace, name)) {
        None => Some(format!("{name} does not exist")),
        Some(object) if subject.is_some() => wrong_replicas(state, object),
        Some(object) if state.claim.is_some() => {
            let phase = object.at("status.phase").str();
            let other = state.phase.as_ref().is_some_and(|wanted| wanted != phase);
            other.then(|| format!("its phase is {phase:?}"))
        }
        Some(object) => wrong_node(state, object),
    }
}

/// The node behind a name or `{step}`.
pub(crate) fn resolve<'a>(name: &'a str, chosen: &'a Chosen) -> Result<&'a str, String> {
    match name
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
    {
        None => Ok(name),
        Some(step) => {
            let node = chosen.get(step).map(String::as_str);
            node.ok_or_else(|| format!("no step {step:?} has chosen a node yet"))
        }
    }
}

/// Pods that match a pattern `namespace/name`, by name.
pub(crate) fn pods_of(snapshot: &Snapshot, pattern: &str) -> Vec<Arc<Object>> {
    let fits = |pod: &&Arc<Object>| glob(pattern, &format!("{}/{}", pod.namespace(), pod.name()));
    snapshot.list("pods", None).filter(fits).cloned().collect()
}

fn wrong_pods(state: &State, pods: &[Arc<Object>], node: Option<&str>) -> Option<String> {
    let there = |pod: &&Arc<Object>| node.is_none_or(|node| pod.at("spec.nodeName").str() == node);
    let pods: Vec<&Arc<Object>> = pods.iter().filter(there).collect();
    let terminating = pods.iter().filter(|pod| pod.is_deleting()).count();
    let is_ready = |pod: &&&Arc<Object>| !pod.is_deleting() && status_of(pod, "Ready") == "True";
    let ready = pods.iter().filter(is_ready).count();
    let nodes: BTreeSet<&str> = pods
        .iter()
        .map(|pod| pod.at("spec.nodeName").str())
        .collect();
    let is = |wanted: Option<usize>, found: usize| wanted.is_none_or(|wanted| wanted == found);
    let right = is(state.ready, ready)
        && state.ready_at_least.is_none_or(|least| ready >= least)
        && is(state.count, pods.len())
        && is(state.terminating, terminating)
        && is(state.distinct_nodes, nodes.len());
    let shown = || {
        let count = pods.len();
        format!(
            "{count} pods on {} nodes, {ready} Ready, {terminating} terminating",
            nodes.len()
        )
    };
    (!right).then(shown)
}

fn wrong_replicas(state: &State, object: &Object) -> Option<String> {
    let ready = object.at("status.readyReplicas").i64() as usize;
    let right = state.ready.is_none_or(|wanted| wanted == ready)
        && state.ready_at_least.is_none_or(|least| ready >= least);
    (!right).then(|| {
        format!(
            "{ready} of {} replicas Ready",
            object.at("spec.replicas").i64()
        )
    })
}

fn wrong_service(state: &State, service: &str, snapshot: &Snapshot) -> Option<String> {
    let (namespace, name) = service.split_once('/')?;
    let slices = snapshot.list(kinds::ENDPOINT_SLICES, Some(namespace));
    let own = slices.filter(|slice| slice.label("kubernetes.io/service-name") == Some(name));
    let endpoints = own.flat_map(|slice| slice.at("endpoints").items());
    let ready = endpoints
        .filter(|one| one.at("conditions.ready").is_true())
        .count();
    let right = state.ready_endpoints.is_none_or(|wanted| wanted == ready)
        && state
            .ready_endpoints_at_least
            .is_none_or(|least| ready >= least);
    (!right).then(|| format!("{ready} endpoints ready"))
}

fn wrong_node(state: &State, node: &Object) -> Option<String> {
    if let Some(wanted) = &state.condition {
        let found = condition(node, &wanted.r#type);
        let text = |field| found.map_or("", |one| one.get(field).str());
        let (status, reason) = (text("status"), text("reason"));
        if status != wanted.status || wanted.reason.as_ref().is_some_and(|own| own != reason) {
            return Some(format!(
                "its condition {} is {status:?} ({reason})",
                wanted.r#type
            ));
        }
    }
    let wanted = state.taint.as_ref()?;
    let fits = |taint: Ref<'_>| {
        taint.get("key").str() == wanted.key
            && wanted
                .effect
                .as_ref()
                .is_none_or(|effect| taint.get("effect").str() == effect)
    };
    let tainted = node.at("spec.taints").items().any(fits);
    (!tainted).then(|| format!("it has no taint {}", wanted.key))
}

fn wrong_field(wanted: &FieldState, snapshot: &Snapshot) -> Option<String> {
    let key = Key::new(&wanted.namespace, &wanted.name);
    match (snapshot.get(&wanted.resource, &key), wanted.absent) {
        (None, true) => None,
        (None, false) => Some("the object does not exist".into()),
        (Some(_), true) => Some("the object exists".into()),
        (Some(_), false) if wanted.field.is_empty() => None,
        (Some(object), false) => {
            let found = follow(object.root(), &wanted.field).to_value();
            let equals = wanted.equals.as_ref().is_none_or(|value| *value == found);
            let absent = wanted.equals.is_none() && found == Value::Null;
            let shown = || codec::encode_yaml(&found).trim_end().to_owned();
            (!equals || absent).then(|| format!("{} is {}", wanted.field, shown()))
        }
    }
}

/// Follows a dotted path whose segments may be indexes.
fn follow<'a>(mut at: Ref<'a>, path: &str) -> Ref<'a> {
    for segment in path.split('.') {
        at = match segment.parse::<usize>() {
            Ok(index) => at.items().nth(index).unwrap_or_else(|| at.get("")),
            Err(_) => at.get(segment),
        };
    }
    at
}
