//! The scenario file: `apiVersion: rehearse.xebec.io/v1alpha1`, `kind: Rehearsal`.
//!
//! Read strictly: an unknown field is an error that names it. Plain values; what they mean
//! is in `steps.rs` and `expect.rs`. Upstream counterpart: chaos-mesh workflows, KUTTL.

use crate::{Error, manifests};
use machinery::{SmolStr, Value, parse_time};
use serde::{Deserialize, Deserializer, de::Error as _};
use sim_env::{ExecAnswer, Exit, Profile, Rule, Span};
use std::{collections::BTreeMap, path::Path, time::Duration};

/// The format this reads.
pub const API_VERSION: &str = "rehearse.xebec.io/v1alpha1";
/// Its kind.
pub const KIND: &str = "Rehearsal";

/// A scenario file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Scenario {
    /// The format.
    pub api_version: String,
    /// `Rehearsal`.
    pub kind: String,
    /// Its name.
    pub metadata: Metadata,
    /// Its content.
    pub spec: Spec,
}

/// What a scenario is called.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Metadata {
    /// Name.
    pub name: String,
}

/// What a scenario consists of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Spec {
    /// A sentence for the report.
    #[serde(default)]
    pub description: String,
    /// Seed of all chance unless the caller gives one.
    #[serde(default)]
    pub seed: u64,
    /// Virtual time at the beginning, RFC 3339.
    #[serde(default)]
    pub start: Option<String>,
    /// How long it takes in virtual time.
    pub duration: Offset,
    /// What it takes place on.
    pub cluster: ClusterSpec,
    /// How containers behave.
    #[serde(default)]
    pub containers: Vec<ContainerRule>,
    /// Files and folders to apply at the beginning, relative to the scenario.
    #[serde(default)]
    pub manifests: Vec<String>,
    /// What is done when.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// What must come true.
    #[serde(default)]
    pub expect: Vec<Expectation>,
}

/// One duration: `90s`, `1h30m`, `250ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offset(pub Duration);

impl<'de> Deserialize<'de> for Offset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = SmolStr::deserialize(deserializer)?;
        let read = parse_duration(&text);
        let wrong = || D::Error::custom(format!("{text:?} is not a duration such as 90s or 1h30m"));
        read.map(Offset).ok_or_else(wrong)
    }
}

/// One duration, or two with `..` between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range(pub Span);

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = SmolStr::deserialize(deserializer)?;
        let (from, to) = text.split_once("..").unwrap_or((&text, &text));
        let wrong = || {
            D::Error::custom(format!(
                "{text:?} is not a duration such as 2s or a range 1s..3s"
            ))
        };
        let both = parse_duration(from).zip(parse_duration(to));
        let (from, to) = both.filter(|(from, to)| from <= to).ok_or_else(wrong)?;
        Ok(Self(Span { from, to }))
    }
}

/// Reads Go's duration notation.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut micros = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let amount: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest
            .find(|letter: char| letter.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit: u64 = match &rest[..letters] {
            "ms" => 1_000,
            "s" => 1_000_000,
            "m" => 60_000_000,
            "h" => 3_600_000_000,
            "d" => 86_400_000_000,
            _ => return None,
        };
        micros = micros.checked_add(amount.checked_mul(unit)?)?;
        rest = &rest[letters..];
    }
    (!text.is_empty()).then(|| Duration::from_micros(micros))
}

/// What a scenario takes place on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ClusterSpec {
    /// Its nodes.
    pub nodes: Vec<NodeGroup>,
}

/// Nodes that are alike.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NodeGroup {
    /// Name, followed by `-1`, `-2`, ... when `count` is given.
    pub name: String,
    /// How many.
    #[serde(default)]
    pub count: Option<u32>,
    /// `topology.kubernetes.io/region`.
    #[serde(default)]
    pub region: String,
    /// `topology.kubernetes.io/zone`.
    #[serde(default)]
    pub zone: String,
    /// Zones, dealt out in turn.
    #[serde(default)]
    pub zones: Vec<String>,
    /// `node.kubernetes.io/instance-type`.
    #[serde(default)]
    pub instance_type: String,
    /// Capacity by resource name; what is absent is that of a node with 4 CPUs and 16 GiB.
    #[serde(default)]
    pub capacity: BTreeMap<String, Value>,
    /// Further labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Taints.
    #[serde(default)]
    pub taints: Vec<Value>,
}

/// How the containers that match behave.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ContainerRule {
    /// Image reference, `*` for any text.
    #[serde(default)]
    pub image: String,
    /// Container name, `*` for any text.
    #[serde(default)]
    pub container: String,
    /// `namespace/name` of pods, `*` for any text.
    #[serde(default)]
    pub pods: String,
    /// Time a pull takes; without it the image is on every node.
    #[serde(default)]
    pub pull: Option<Range>,
    /// No registry has the image.
    #[serde(default)]
    pub missing: bool,
    /// Time until the process runs.
    #[serde(default)]
    pub start: Option<Range>,
    /// Probes succeed this long after the start.
    #[serde(default)]
    pub ready_after: Option<Range>,
    /// Probes fail again this long after the start.
    #[serde(default)]
    pub fails_after: Option<Range>,
    /// It ends by itself.
    #[serde(default)]
    pub exit: Option<ExitRule>,
    /// Time from the stop signal to the end.
    #[serde(default)]
    pub stop: Option<Range>,
    /// It does not heed the stop signal.
    #[serde(default)]
    pub ignores_stop: bool,
    /// CPU use, as a quantity.
    #[serde(default)]
    pub cpu: Option<Value>,
    /// Memory use, as a quantity.
    #[serde(default)]
    pub memory: Option<Value>,
    /// Ports it listens on; without any it listens on all.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// Lines it logs.
    #[serde(default)]
    pub log: Vec<String>,
    /// Answers to commands.
    #[serde(default)]
    pub exec: Vec<ExecRule>,
}

/// An end that comes by itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExitRule {
    /// Time after the start.
    pub after: Range,
    /// Exit code.
    #[serde(default)]
    pub code: i32,
    /// Killed for its memory.
    #[serde(default)]
    pub oom: bool,
}

/// The answer to a command.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExecRule {
    /// Beginning of the command line.
    pub command: String,
    /// Standard output.
    #[serde(default)]
    pub stdout: String,
    /// Exit code.
    #[serde(default)]
    pub code: i32,
}

/// An object by name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Named {
    /// Storage resource: plural name, with `.group` unless core.
    pub resource: String,
    /// Namespace.
    #[serde(default)]
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A node, by name or by the pods it runs; pods are `namespace/name`, `*` for any text.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NodeChoice {
    /// Its name, or `{step}` for the node an earlier step chose.
    #[serde(default)]
    pub name: Option<String>,
    /// The first node by name that runs such a pod ...
    #[serde(default)]
    pub runs: Option<String>,
    /// ... and none like this.
    #[serde(default)]
    pub runs_not: Option<String>,
}

/// Something done at a time. Exactly one deed is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Step {
    /// Its name: the node it chooses is `{name}` from then on.
    #[serde(default)]
    pub name: String,
    /// When, from the beginning.
    pub at: Offset,
    /// Cuts a node's power.
    #[serde(default)]
    pub kill_node: Option<NodeChoice>,
    /// Powers a dead node on.
    #[serde(default)]
    pub start_node: Option<NodeChoice>,
    /// Stops a node's agent: no heartbeat, no deeds; its containers go on.
    #[serde(default)]
    pub freeze_agent: Option<NodeChoice>,
    /// Lets a frozen agent go on.
    #[serde(default)]
    pub thaw_agent: Option<NodeChoice>,
    /// Deletes an object.
    #[serde(default)]
    pub delete: Option<Named>,
    /// Deletes the first pod by name of these: `namespace/name`, `*` for any text.
    #[serde(default)]
    pub delete_pod: Option<String>,
    /// Changes a number of replicas.
    #[serde(default)]
    pub scale: Option<Scale>,
    /// Changes an image.
    #[serde(default)]
    pub set_image: Option<SetImage>,
    /// Applies a file or folder, relative to the scenario.
    #[serde(default)]
    pub apply: Option<String>,
}

/// A number of replicas.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Scale {
    /// Storage resource.
    pub resource: String,
    /// Namespace.
    #[serde(default)]
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The number.
    pub replicas: i64,
}

/// An image.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SetImage {
    /// Storage resource.
    pub resource: String,
    /// Namespace.
    #[serde(default)]
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Container.
    pub container: String,
    /// The image.
    pub image: String,
}

/// Something that must be true: once `within` a span, `always` through one, or at the end.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// For the report.
    pub name: String,
    /// It becomes true within this span.
    pub within: Option<Window>,
    /// It is true all through this span.
    pub always: Option<Window>,
    /// All of this.
    pub all: Vec<State>,
}

/// A span of virtual time, `FROM..TO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(pub Duration, pub Duration);

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Span { from, to } = Range::deserialize(deserializer)?.0;
        Ok(Self(from, to))
    }
}

/// The frame of an expectation; the rest of its fields are a [`State`].
#[derive(Deserialize)]
struct Frame {
    name: String,
    #[serde(default)]
    within: Option<Window>,
    #[serde(default)]
    always: Option<Window>,
    #[serde(default)]
    all: Vec<State>,
}

impl<'de> Deserialize<'de> for Expectation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut rest = Value::deserialize(deserializer)?;
        let frame = Frame::deserialize(&rest).map_err(D::Error::custom)?;
        let fields = rest.make_object();
        for own in ["name", "within", "always", "all"] {
            fields.remove(own);
        }
        let mut all = frame.all;
        if !fields.is_empty() {
            all.push(State::deserialize(&rest).map_err(D::Error::custom)?);
        }
        Ok(Self {
            name: frame.name,
            within: frame.within,
            always: frame.always,
            all,
        })
    }
}

/// A statement about the cluster: one subject and what is said of it. Subjects are
/// `namespace/name`; pods may use `*`, and `{step}` is the node that a step chose.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct State {
    /// A Deployment.
    #[serde(default)]
    pub deployment: Option<String>,
    /// A StatefulSet.
    #[serde(default)]
    pub stateful_set: Option<String>,
    /// A PersistentVolumeClaim.
    #[serde(default)]
    pub claim: Option<String>,
    /// A Service, by its endpoint slices.
    #[serde(default)]
    pub service: Option<String>,
    /// Pods by name.
    #[serde(default)]
    pub pods: Option<String>,
    /// A node; beside `pods`, where they are.
    #[serde(default)]
    pub node: Option<String>,
    /// Any object.
    #[serde(default)]
    pub object: Option<FieldState>,
    /// So many replicas or pods are Ready.
    #[serde(default)]
    pub ready: Option<usize>,
    /// At least so many are.
    #[serde(default)]
    pub ready_at_least: Option<usize>,
    /// So many pods exist.
    #[serde(default)]
    pub count: Option<usize>,
    /// So many pods are being deleted.
    #[serde(default)]
    pub terminating: Option<usize>,
    /// The pods are on so many nodes.
    #[serde(default)]
    pub distinct_nodes: Option<usize>,
    /// `status.phase` of a claim.
    #[serde(default)]
    pub phase: Option<SmolStr>,
    /// So many endpoints are ready.
    #[serde(default)]
    pub ready_endpoints: Option<usize>,
    /// At least so many are.
    #[serde(default)]
    pub ready_endpoints_at_least: Option<usize>,
    /// A condition of the node.
    #[serde(default)]
    pub condition: Option<ConditionState>,
    /// A taint of the node.
    #[serde(default)]
    pub taint: Option<TaintState>,
}

/// What a condition should be like.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ConditionState {
    /// Type.
    pub r#type: SmolStr,
    /// Status.
    pub status: SmolStr,
    /// Reason, if it matters.
    #[serde(default)]
    pub reason: Option<SmolStr>,
}

/// What a taint should be like.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TaintState {
    /// Key.
    pub key: SmolStr,
    /// Effect, if it matters.
    #[serde(default)]
    pub effect: Option<SmolStr>,
}

/// What a field should hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FieldState {
    /// Storage resource: plural name, with `.group` unless core.
    pub resource: String,
    /// Namespace.
    #[serde(default)]
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The object does not exist.
    #[serde(default)]
    pub absent: bool,
    /// Path, `status.readyReplicas`.
    #[serde(default)]
    pub field: String,
    /// Its value.
    #[serde(default)]
    pub equals: Option<Value>,
}

impl ContainerRule {
    /// The rule for simulated nodes.
    pub fn rule(&self) -> Result<Rule, String> {
        let usual = Profile::default();
        let span = |own: Option<Range>, usual| own.map_or(usual, |own: Range| own.0);
        let amount = |own: &Option<Value>, usual: u64, milli: bool| match own {
            None => Ok(usual),
            Some(value) => quantity(value, milli),
        };
        let exit = |rule: &ExitRule| Exit {
            after: rule.after.0,
            code: rule.code,
            oom: rule.oom,
        };
        let answer = |rule: &ExecRule| ExecAnswer {
            command: rule.command.clone(),
            stdout: rule.stdout.clone(),
            code: rule.code,
        };
        let stop = self.stop.map(|own| own.0).or(usual.stop);
        Ok(Rule {
            image: self.image.clone(),
            name: self.container.clone(),
            pod: self.pods.clone(),
            profile: Profile {
                pull: self.pull.map(|own| own.0),
                missing: self.missing,
                start: span(self.start, usual.start),
                ready_after: span(self.ready_after, usual.ready_after),
                fails_after: self.fails_after.map(|own| own.0),
                exit: self.exit.as_ref().map(exit),
                stop: stop.filter(|_| !self.ignores_stop),
                stop_code: usual.stop_code,
                cpu_milli: amount(&self.cpu, usual.cpu_milli, true)?,
                memory: amount(&self.memory, usual.memory, false)?,
                ports: self.ports.clone(),
                log: self.log.clone(),
                exec: self.exec.iter().map(answer).collect(),
            },
        })
    }
}

/// A quantity's text, written as text or as a number.
pub(crate) fn quantity_text(value: &Value) -> String {
    match value {
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        other => other.str().to_owned(),
    }
}

fn quantity(value: &Value, milli: bool) -> Result<u64, String> {
    let text = quantity_text(value);
    let parsed: machinery::Quantity = text
        .parse()
        .map_err(|why| format!("{text:?} is not a quantity: {why}"))?;
    let amount = if milli {
        parsed.milli()
    } else {
        parsed.units()
    };
    u64::try_from(amount).map_err(|_| format!("{text:?} is negative"))
}

impl Scenario {
    /// Reads and checks a scenario file.
    pub fn load(file: &Path) -> Result<Self, Error> {
        let mut documents = manifests::documents(file)?;
        let refuse = |why: String| Error::File {
            path: file.to_owned(),
            why,
        };
        if documents.len() != 1 {
            return Err(refuse(format!(
                "expected one document, found {}",
                documents.len()
            )));
        }
        let document = documents.remove(0);
        let said = (document["apiVersion"].str(), document["kind"].str());
        if said != (API_VERSION, KIND) {
            let why = format!(
                "expected apiVersion {API_VERSION} and kind {KIND}, found {:?} and {:?}",
                said.0, said.1
            );
            return Err(refuse(why));
        }
        let scenario: Self = manifests::read(&document, file)?;
        scenario.check().map_err(refuse)?;
        Ok(scenario)
    }

    /// What the types alone cannot say.
    fn check(&self) -> Result<(), String> {
        let spec = &self.spec;
        if let Some(start) = spec
            .start
            .as_ref()
            .filter(|text| parse_time(text).is_none())
        {
            return Err(format!(
                "spec.start: {start:?} is not a time such as 2026-01-01T00:00:00Z"
            ));
        }
        if spec.cluster.nodes.is_empty() {
            return Err("spec.cluster.nodes: at least one node is needed".into());
        }
        for (at, rule) in spec.containers.iter().enumerate() {
            rule.rule()
                .map_err(|why| format!("spec.containers[{at}]: {why}"))?;
        }
        for (at, step) in spec.steps.iter().enumerate() {
            step.check(spec.duration)
                .map_err(|why| format!("spec.steps[{at}]: {why}"))?;
        }
        for (at, expectation) in spec.expect.iter().enumerate() {
            let checked = expectation.check(spec.duration);
            checked.map_err(|why| format!("spec.expect[{at}]: {why}"))?;
        }
        Ok(())
    }
}

fn placed(text: &str) -> Result<(), String> {
    let both = text
        .split_once('/')
        .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
    both.map(drop)
        .ok_or_else(|| format!("{text:?} is not namespace/name"))
}

impl NodeChoice {
    fn check(&self) -> Result<(), String> {
        match (&self.name, &self.runs, &self.runs_not) {
            (Some(_), None, None) => Ok(()),
            (None, runs, not) if runs.is_some() || not.is_some() => runs
                .iter()
                .chain(not)
                .try_for_each(|pattern| placed(pattern)),
            _ => Err("a node is chosen by name, or by runs and runsNot".into()),
        }
    }
}

impl Step {
    fn check(&self, duration: Offset) -> Result<(), String> {
        let choices = [
            &self.kill_node,
            &self.start_node,
            &self.freeze_agent,
            &self.thaw_agent,
        ];
        let deeds = [
            self.delete.is_some(),
            self.delete_pod.is_some(),
            self.scale.is_some(),
            self.set_image.is_some(),
            self.apply.is_some(),
        ];
        let chosen = choices.iter().filter(|choice| choice.is_some()).count();
        if chosen + deeds.iter().filter(|given| **given).count() != 1 {
            return Err("exactly one deed is needed (killNode, startNode, freezeAgent, thawAgent, delete, deletePod, scale, setImage, apply)".into());
        }
        if self.at > duration {
            return Err("at lies after the end (spec.duration)".into());
        }
        choices
            .into_iter()
            .flatten()
            .try_for_each(NodeChoice::check)?;
        self.delete_pod
            .iter()
            .try_for_each(|pattern| placed(pattern))
    }
}

impl Expectation {
    fn check(&self, duration: Offset) -> Result<(), String> {
        if self.within.is_some() && self.always.is_some() {
            return Err("within and always exclude each other".into());
        }
        let ends = self
            .within
            .or(self.always)
            .is_some_and(|window| window.1 > duration.0);
        if ends {
            return Err("its span goes on after the end (spec.duration)".into());
        }
        if self.all.is_empty() {
            return Err("it says nothing".into());
        }
        self.all.iter().try_for_each(State::check)
    }
}

impl State {
    fn check(&self) -> Result<(), String> {
        let named = [
            &self.deployment,
            &self.stateful_set,
            &self.claim,
            &self.service,
            &self.pods,
        ];
        let subjects = named.iter().filter(|subject| subject.is_some()).count()
            + usize::from(self.node.is_some() && self.pods.is_none())
            + usize::from(self.object.is_some());
        if subjects != 1 {
            return Err("exactly one of deployment, statefulSet, claim, service, pods, node and object is needed".into());
        }
        named
            .into_iter()
            .flatten()
            .try_for_each(|text| placed(text))?;
        let replicas = self.deployment.is_some() || self.stateful_set.is_some();
        let pods = self.pods.is_some();
        let node = self.node.is_some() && !pods;
        for (given, fits, name) in [
            (self.ready.is_some(), replicas || pods, "ready"),
            (
                self.ready_at_least.is_some(),
                replicas || pods,
                "readyAtLeast",
            ),
            (self.count.is_some(), pods, "count"),
            (self.terminating.is_some(), pods, "terminating"),
            (self.distinct_nodes.is_some(), pods, "distinctNodes"),
            (self.phase.is_some(), self.claim.is_some(), "phase"),
            (
                self.ready_endpoints.is_some(),
                self.service.is_some(),
                "readyEndpoints",
            ),
            (
                self.ready_endpoints_at_least.is_some(),
                self.service.is_some(),
                "readyEndpointsAtLeast",
            ),
            (self.condition.is_some(), node, "condition"),
            (self.taint.is_some(), node, "taint"),
        ] {
            if given && !fits {
                return Err(format!("{name} cannot be said of this subject"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, wanted) in [
            ("90s", Some(90_000)),
            ("1h30m", Some(5_400_000)),
            ("250ms", Some(250)),
            ("2d", Some(172_800_000)),
            ("", None),
            ("5", None),
            ("s", None),
            ("5x", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(
                parse_duration(text),
                wanted.map(Duration::from_millis),
                "{text:?}"
            );
        }
    }
}
