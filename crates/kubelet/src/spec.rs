//! A pod's containers as its worker needs them: parsed once per change of the spec.
//!
//! Details that only matter when a container is made are read from the object then.

use env::Time;
use machinery::{Object, Ref, SmolStr, parse_time};
use std::time::Duration;

/// Where a container stands in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to completion before the next one.
    Init,
    /// An init container that stays (`restartPolicy: Always`).
    Sidecar,
    /// A main container.
    Main,
    /// Added to a running pod for debugging.
    Ephemeral,
}

/// `restartPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Whatever happened.
    Always,
    /// After a failure.
    OnFailure,
    /// Never.
    Never,
}

impl Restart {
    fn read(text: &str) -> Option<Self> {
        match text {
            "Always" => Some(Self::Always),
            "OnFailure" => Some(Self::OnFailure),
            "Never" => Some(Self::Never),
            _ => None,
        }
    }
}

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    /// Holds the others back until it succeeds.
    Startup,
    /// Failure restarts.
    Liveness,
    /// Failure takes the pod out of its services.
    Readiness,
}

impl ProbeKind {
    /// All kinds with their field names.
    pub const ALL: [(ProbeKind, &'static str); 3] = [
        (ProbeKind::Startup, "startupProbe"),
        (ProbeKind::Liveness, "livenessProbe"),
        (ProbeKind::Readiness, "readinessProbe"),
    ];

    /// As in events: `Liveness`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }

    /// The field that holds it.
    pub fn field(self) -> &'static str {
        match self {
            Self::Startup => "startupProbe",
            Self::Liveness => "livenessProbe",
            Self::Readiness => "readinessProbe",
        }
    }
}

/// When a probe runs and what it takes to change its mind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSpec {
    pub kind: ProbeKind,
    pub initial_delay: Duration,
    pub timeout: Duration,
    pub period: Duration,
    pub success: u32,
    pub failure: u32,
    pub grace: Option<i64>,
}

fn read_probe(kind: ProbeKind, probe: Ref<'_>) -> Option<ProbeSpec> {
    let number = |field: &str, default: i64| {
        let number = probe
            .get(field)
            .as_i64()
            .filter(|&number| number > 0)
            .unwrap_or(default);
        u64::try_from(number).unwrap_or_default()
    };
    (!probe.is_null()).then(|| ProbeSpec {
        kind,
        initial_delay: Duration::from_secs(number("initialDelaySeconds", 0)),
        timeout: Duration::from_secs(number("timeoutSeconds", 1)),
        period: Duration::from_secs(number("periodSeconds", 10)),
        success: number("successThreshold", 1) as u32,
        failure: number("failureThreshold", 3) as u32,
        grace: probe.get("terminationGracePeriodSeconds").as_i64(),
    })
}

/// A container.
#[derive(Clone, Debug)]
pub struct ContainerSpec {
    pub name: SmolStr,
    pub image: SmolStr,
    pub role: Role,
    pub restart: Restart,
    /// Exit codes for which the container restarts although its policy would not:
    /// (codes, whether they are the ones, or all but the ones).
    pub restart_codes: Vec<(Vec<i64>, bool)>,
    pub probes: Vec<ProbeSpec>,
    list: &'static str,
    index: usize,
}

impl ContainerSpec {
    /// The container within its pod.
    pub fn raw<'a>(&self, pod: &'a Object) -> Ref<'a> {
        pod.at("spec")
            .get(self.list)
            .items()
            .nth(self.index)
            .unwrap_or(Ref::MISSING)
    }

    /// `fieldPath` of events about it.
    pub fn field_path(&self) -> String {
        format!("spec.{}{{{}}}", self.list, self.name)
    }

    /// Whether it is started again after ending like this.
    pub fn restarts_after(&self, exit_code: i32) -> bool {
        let code = i64::from(exit_code);
        let by_rule = self
            .restart_codes
            .iter()
            .any(|(codes, among)| codes.contains(&code) == *among);
        by_rule
            || match self.restart {
                Restart::Always => true,
                Restart::OnFailure => exit_code != 0,
                Restart::Never => false,
            }
    }
}

/// A pod.
#[derive(Clone, Debug)]
pub struct PodSpec {
    /// All containers: init, main, ephemeral, each in order.
    pub containers: Vec<ContainerSpec>,
    pub restart: Restart,
    pub host_network: bool,
    pub grace: i64,
    pub deadline: Option<Duration>,
    pub readiness_gates: Vec<SmolStr>,
    /// When deletion began, if it has, and the grace it allows.
    pub deletion: Option<(Time, i64)>,
}

impl PodSpec {
    /// Parses a pod.
    pub fn read(pod: &Object) -> Self {
        let spec = pod.at("spec");
        let restart = Restart::read(spec.get("restartPolicy").str()).unwrap_or(Restart::Always);
        let mut containers = Vec::new();
        for (list, role) in [
            ("initContainers", Role::Init),
            ("containers", Role::Main),
            ("ephemeralContainers", Role::Ephemeral),
        ] {
            let items = spec.get(list).items().enumerate();
            containers.extend(
                items.map(|(index, raw)| read_container(raw, (list, index), role, restart)),
            );
        }
        let gates = spec.get("readinessGates").items();
        let deletion = pod.deletion_timestamp().and_then(parse_time).map(|at| {
            let grace = pod.metadata().get("deletionGracePeriodSeconds").i64();
            (Time(at) - Duration::from_secs(grace.max(0) as u64), grace)
        });
        let seconds = |seconds: i64| Duration::from_secs(seconds.max(0) as u64);
        Self {
            containers,
            restart,
            host_network: spec.get("hostNetwork").is_true(),
            grace: spec
                .get("terminationGracePeriodSeconds")
                .as_i64()
                .unwrap_or(30),
            deadline: spec.get("activeDeadlineSeconds").as_i64().map(seconds),
            readiness_gates: gates
                .map(|gate| gate.get("conditionType").str().into())
                .collect(),
            deletion,
        }
    }

    /// Containers of some roles, in order.
    pub fn of<'a>(
        &'a self,
        roles: &'a [Role],
    ) -> impl DoubleEndedIterator<Item = &'a ContainerSpec> {
        self.containers
            .iter()
            .filter(move |container| roles.contains(&container.role))
    }
}

fn read_container(
    raw: Ref<'_>,
    (list, index): (&'static str, usize),
    role: Role,
    pod: Restart,
) -> ContainerSpec {
    let own = Restart::read(raw.get("restartPolicy").str());
    let (role, restart) = match (role, own) {
        (Role::Init, Some(Restart::Always)) => (Role::Sidecar, Restart::Always),
        (Role::Init, own) => (
            role,
            match own.unwrap_or(pod) {
                Restart::Never => Restart::Never,
                // Init containers that succeeded are done under every policy.
                Restart::Always | Restart::OnFailure => Restart::OnFailure,
            },
        ),
        (Role::Ephemeral, _) => (role, Restart::Never),
        (role, own) => (role, own.unwrap_or(pod)),
    };
    let rules = raw.get("restartPolicyRules").items();
    let rules = rules
        .filter(|rule| rule.get("action").str() == "Restart")
        .map(|rule| {
            let codes = rule.get("exitCodes");
            let values = codes.get("values").items().map(|code| code.i64()).collect();
            (values, codes.get("operator").str() == "In")
        });
    let probes = ProbeKind::ALL.iter();
    ContainerSpec {
        name: raw.get("name").str().into(),
        image: raw.get("image").str().into(),
        role,
        restart,
        restart_codes: rules.collect(),
        probes: probes
            .filter_map(|(kind, field)| read_probe(*kind, raw.get(field)))
            .collect(),
        list,
        index,
    }
}
