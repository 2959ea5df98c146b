//! Expectations: statements about the state of the cluster, and when they must hold.
//!
//! Pure over snapshots and times. Upstream counterpart: KUTTL's assertions, `kubectl wait`.

use crate::{
    scenario::{Expectation, FieldState, NodeState, PodsState},
    timeline::status_of,
};
use machinery::{LabelSelector, Object, Ref, Value};
use registry::{Key, Snapshot};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

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
    pub fn new(what: Expectation) -> Self {
        let zero = Duration::ZERO;
        let of = |offset: Option<crate::scenario::Offset>| offset.map_or(zero, |one| one.0);
        let when = match (what.by, what.at) {
            (Some(by), _) => When::Once(of(what.after), by.0),
            (_, Some(at)) => When::Always(at.0, at.0),
            _ => When::Always(of(what.from), of(what.until)),
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
        if self.what.pods.is_some() {
            touched.contains("pods")
        } else if self.what.node.is_some() {
            touched.contains("nodes")
        } else {
            self.what
                .object
                .as_ref()
                .is_some_and(|one| touched.contains(one.resource.as_str()))
        }
    }

    /// Looks at the state as of `now`; `touched` are the resources that changed, `None` at a
    /// boundary.
    pub fn look(&mut self, now: Duration, snapshot: &Snapshot, touched: Option<&BTreeSet<&str>>) {
        let [from, to] = self.boundaries();
        let idle = touched.is_some_and(|touched| !self.concerns(touched));
        if self.outcome.is_some() || idle || now < from || now > to {
            return;
        }
        let wrong = self.wrong(snapshot);
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

    /// What is not as expected; `None` if all is.
    fn wrong(&self, snapshot: &Snapshot) -> Option<String> {
        let what = &self.what;
        let pods = what.pods.as_ref().map(|pods| wrong_pods(pods, snapshot));
        let node = what.node.as_ref().map(|node| wrong_node(node, snapshot));
        let object = what
            .object
            .as_ref()
            .map(|object| wrong_field(object, snapshot));
        pods.or(node).or(object).flatten()
    }
}

/// Pods of a namespace that a selector matches, by name.
pub(crate) fn pods_of(snapshot: &Snapshot, namespace: &str, selector: &str) -> Vec<Arc<Object>> {
    let selector = LabelSelector::parse(selector).expect("selectors were checked on loading");
    let pods = snapshot.list("pods", Some(namespace));
    pods.filter(|pod| selector.matches_object(pod))
        .cloned()
        .collect()
}

fn wrong_pods(wanted: &PodsState, snapshot: &Snapshot) -> Option<String> {
    let pods = pods_of(snapshot, &wanted.namespace, &wanted.selector);
    let is_ready = |pod: &&Arc<Object>| !pod.is_deleting() && status_of(pod, "Ready") == "True";
    let ready = pods.iter().filter(is_ready).count();
    if wanted.ready.is_some_and(|count| count != ready)
        || wanted.ready_at_least.is_some_and(|count| ready < count)
    {
        return Some(format!("{ready} of {} pods Ready", pods.len()));
    }
    if wanted.exist.is_some_and(|count| count != pods.len()) {
        return Some(format!("{} pods exist", pods.len()));
    }
    let node = wanted.not_on.as_ref()?;
    let there = pods
        .iter()
        .find(|pod| pod.at("spec.nodeName").str() == node)?;
    Some(format!("{} is on {node}", there.name()))
}

fn wrong_node(wanted: &NodeState, snapshot: &Snapshot) -> Option<String> {
    let Some(node) = snapshot.get("nodes", &Key::new("", &wanted.name)) else {
        return Some(format!("there is no node {:?}", wanted.name));
    };
    let ready = status_of(node, "Ready");
    if wanted.ready.as_ref().is_some_and(|status| status != ready) {
        return Some(format!("its condition Ready is {ready:?}"));
    }
    let key = wanted.taint.as_ref()?;
    let tainted = node
        .at("spec.taints")
        .items()
        .any(|taint| taint.get("key").str() == key);
    (!tainted).then(|| format!("it has no taint {key}"))
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
