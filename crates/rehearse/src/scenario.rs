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
    /// Its nodes.
    pub nodes: Vec<NodeGroup>,
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
    pub name: String,
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

/// A node, by name or by a pod it runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NodeChoice {
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// The node of the first pod, by name, of these.
    #[serde(default)]
    pub of: Option<Pods>,
}

/// Pods by label.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Pods {
    /// Namespace.
    pub namespace: String,
    /// Label selector, as kubectl's `-l`.
    #[serde(default)]
    pub selector: String,
}

/// Something done at a time. Exactly one deed is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Step {
    /// When, from the beginning.
    pub at: Offset,
    /// Cuts a node's power.
    #[serde(default)]
    pub kill_node: Option<NodeChoice>,
    /// Powers a dead node on.
    #[serde(default)]
    pub start_node: Option<String>,
    /// Stops a node's agent: no heartbeat, no deeds; its containers go on.
    #[serde(default)]
    pub freeze_agent: Option<NodeChoice>,
    /// Lets a frozen agent go on.
    #[serde(default)]
    pub thaw_agent: Option<String>,
    /// Deletes an object.
    #[serde(default)]
    pub delete: Option<Named>,
    /// Deletes the first pod, by name, of these.
    #[serde(default)]
    pub delete_pod: Option<Pods>,
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

/// Something that must be true: by a time (`by`), at one (`at`), or all through a span
/// (`from` and `until`).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Expectation {
    /// For the report.
    pub name: String,
    /// It comes true at this time at the latest...
    #[serde(default)]
    pub by: Option<Offset>,
    /// ... and is not looked at before this one.
    #[serde(default)]
    pub after: Option<Offset>,
    /// It is true at this time.
    #[serde(default)]
    pub at: Option<Offset>,
    /// It is true from this time ...
    #[serde(default)]
    pub from: Option<Offset>,
    /// ... to this one.
    #[serde(default)]
    pub until: Option<Offset>,
    /// Pods are so many and so ready.
    #[serde(default)]
    pub pods: Option<PodsState>,
    /// A node is in some state.
    #[serde(default)]
    pub node: Option<NodeState>,
    /// A field of an object has a value.
    #[serde(default)]
    pub object: Option<FieldState>,
}

/// What pods should be like.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PodsState {
    /// Namespace.
    pub namespace: String,
    /// Label selector.
    #[serde(default)]
    pub selector: String,
    /// Exactly so many are Ready and not being deleted.
    #[serde(default)]
    pub ready: Option<usize>,
    /// At least so many are.
    #[serde(default)]
    pub ready_at_least: Option<usize>,
    /// Exactly so many exist.
    #[serde(default)]
    pub exist: Option<usize>,
    /// None of them is on this node.
    #[serde(default)]
    pub not_on: Option<String>,
}

/// What a node should be like.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// Status of its Ready condition: `True`, `False`, `Unknown`.
    #[serde(default)]
    pub ready: Option<SmolStr>,
    /// It has a taint of this key.
    #[serde(default)]
    pub taint: Option<String>,
}

/// What a field should hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FieldState {
    /// Storage resource.
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
            name: self.name.clone(),
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
        if spec.nodes.is_empty() {
            return Err("spec.nodes: at least one node is needed".into());
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

fn selector(text: &str) -> Result<machinery::LabelSelector, String> {
    machinery::LabelSelector::parse(text)
        .map_err(|why| format!("selector {text:?}: {}", why.message()))
}

impl NodeChoice {
    fn check(&self) -> Result<(), String> {
        match (&self.name, &self.of) {
            (Some(_), None) => Ok(()),
            (None, Some(pods)) => selector(&pods.selector).map(drop),
            _ => Err("exactly one of name and of is needed".into()),
        }
    }
}

impl Step {
    fn check(&self, duration: Offset) -> Result<(), String> {
        let deeds = [
            self.kill_node.is_some(),
            self.start_node.is_some(),
            self.freeze_agent.is_some(),
            self.thaw_agent.is_some(),
            self.delete.is_some(),
            self.delete_pod.is_some(),
            self.scale.is_some(),
            self.set_image.is_some(),
            self.apply.is_some(),
        ];
        if deeds.iter().filter(|given| **given).count() != 1 {
            return Err("exactly one deed is needed (killNode, startNode, freezeAgent, thawAgent, delete, deletePod, scale, setImage, apply)".into());
        }
        if self.at > duration {
            return Err("at lies after the end (spec.duration)".into());
        }
        for choice in [&self.kill_node, &self.freeze_agent].into_iter().flatten() {
            choice.check()?;
        }
        self.delete_pod
            .as_ref()
            .map_or(Ok(()), |pods| selector(&pods.selector).map(drop))
    }
}

impl Expectation {
    fn check(&self, duration: Offset) -> Result<(), String> {
        match (self.by, self.at, self.from.zip(self.until)) {
            (Some(_), None, None) if self.from.is_none() && self.until.is_none() => {}
            (None, Some(_), None) if self.from.is_none() && self.until.is_none() => {}
            (None, None, Some((from, until))) if from <= until => {}
            _ => return Err("exactly one of by, at, and from with until is needed".into()),
        }
        if self.after.is_some() && self.by.is_none() {
            return Err("after goes with by only".into());
        }
        let end = self.by.or(self.at).or(self.until).unwrap_or_default();
        if end > duration {
            return Err("its time lies after the end (spec.duration)".into());
        }
        let subjects = [
            self.pods.is_some(),
            self.node.is_some(),
            self.object.is_some(),
        ];
        if subjects.iter().filter(|given| **given).count() != 1 {
            return Err("exactly one of pods, node and object is needed".into());
        }
        self.pods
            .as_ref()
            .map_or(Ok(()), |pods| selector(&pods.selector).map(drop))
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
