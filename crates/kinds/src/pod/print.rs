//! The table of pods. Upstream counterpart: `printPod`.

use crate::print::{NONE, age, is_true, name, or_none};
use machinery::{Object, Ref, Value, format_smolstr, human_duration, parse_time};

pub(super) const HEADS: &[&str] = &[
    "Name",
    "Ready",
    "Status",
    "Restarts",
    "Age",
    "+IP",
    "+Node",
    "+Nominated Node",
    "+Readiness Gates",
];

pub(super) fn row(pod: &Object, now: u64) -> Vec<Value> {
    let summary = Summary::of(pod);
    let ready = format_smolstr!("{}/{}", summary.ready, summary.total);
    let ip = pod
        .at("status.podIPs")
        .items()
        .next()
        .map_or("", |ip| ip.get("ip").str());
    let ip = if ip.is_empty() {
        pod.at("status.podIP").str()
    } else {
        ip
    };
    vec![
        name(pod),
        ready.into(),
        summary.reason.as_str().into(),
        summary.restarts(now).into(),
        age(pod, now),
        or_none(ip),
        or_none(pod.at("spec.nodeName").str()),
        or_none(pod.at("status.nominatedNodeName").str()),
        gates(pod).into(),
    ]
}

fn gates(pod: &Object) -> String {
    let wanted: Vec<_> = pod.at("spec.readinessGates").items().collect();
    if wanted.is_empty() {
        return NONE.into();
    }
    let open = wanted
        .iter()
        .filter(|gate| is_true(pod.at("status"), gate.get("conditionType").str()));
    format!("{}/{}", open.count(), wanted.len())
}

/// What the first columns tell, gathered over the containers.
#[derive(Default)]
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<u64>,
}

impl Summary {
    fn of(pod: &Object) -> Summary {
        let status = pod.at("status");
        let sidecars = pod
            .at("spec.initContainers")
            .items()
            .filter(is_sidecar)
            .count();
        let mut summary = Summary {
            reason: status.get("reason").str().to_owned(),
            total: pod.at("spec.containers").items().count() + sidecars,
            ..Summary::default()
        };
        if summary.reason.is_empty() {
            summary.reason = status.get("phase").str().to_owned();
        }
        let gated = |one: Ref<'_>| {
            one.get("type").str() == "PodScheduled" && one.get("reason").str() == "SchedulingGated"
        };
        if status.get("conditions").items().any(gated) {
            summary.reason = "SchedulingGated".into();
        }
        let initializing = summary.init_containers(pod);
        if !initializing || is_true(status, "Initialized") {
            summary.containers(pod);
        }
        summary.deleting(pod);
        summary
    }

    /// Reads init containers up to the first that has not done its part; whether there is one.
    fn init_containers(&mut self, pod: &Object) -> bool {
        let specs: Vec<_> = pod.at("spec.initContainers").items().collect();
        let mut sidecar_restarts = (0, None);
        for (at, status) in pod.at("status.initContainerStatuses").items().enumerate() {
            let name = status.get("name").str();
            let sidecar = specs
                .iter()
                .any(|spec| spec.get("name").str() == name && is_sidecar(spec));
            self.count_restarts(status);
            if sidecar {
                sidecar_restarts.0 += status.get("restartCount").i64();
                sidecar_restarts.1 = sidecar_restarts.1.max(last_finish(status));
            }
            let terminated = status.at("state.terminated");
            if !terminated.is_null() && terminated.get("exitCode").i64() == 0 {
                continue;
            }
            if sidecar && status.get("started").is_true() {
                self.ready += usize::from(status.get("ready").is_true());
                continue;
            }
            self.reason = init_reason(status, at, specs.len());
            return true;
        }
        (self.restarts, self.last_restart) = sidecar_restarts;
        false
    }

    fn containers(&mut self, pod: &Object) {
        let mut running = false;
        let statuses: Vec<_> = pod.at("status.containerStatuses").items().collect();
        for status in statuses.iter().rev() {
            self.count_restarts(*status);
            let (waiting, ended) = (status.at("state.waiting"), status.at("state.terminated"));
            if !waiting.get("reason").str().is_empty() {
                self.reason = waiting.get("reason").str().to_owned();
            } else if !ended.is_null() {
                self.reason = ended_reason(ended);
            } else if status.get("ready").is_true() && !status.at("state.running").is_null() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            let ready = is_true(pod.at("status"), "Ready");
            self.reason = if ready { "Running" } else { "NotReady" }.into();
        }
    }

    fn deleting(&mut self, pod: &Object) {
        if !pod.is_deleting() {
            return;
        }
        if pod.at("status.reason").str() == "NodeLost" {
            self.reason = "Unknown".into();
        } else if !matches!(pod.at("status.phase").str(), "Succeeded" | "Failed") {
            self.reason = "Terminating".into();
        }
    }

    fn count_restarts(&mut self, status: Ref<'_>) {
        self.restarts += status.get("restartCount").i64();
        self.last_restart = self.last_restart.max(last_finish(status));
    }

    fn restarts(&self, now: u64) -> String {
        match self.last_restart.filter(|_| self.restarts > 0) {
            Some(then) => {
                format!(
                    "{} ({} ago)",
                    self.restarts,
                    human_duration(now as i64 - then as i64)
                )
            }
            None => self.restarts.to_string(),
        }
    }
}

fn last_finish(status: Ref<'_>) -> Option<u64> {
    parse_time(status.at("lastState.terminated.finishedAt").str())
}

fn is_sidecar(spec: &Ref<'_>) -> bool {
    spec.get("restartPolicy").str() == "Always"
}

fn ended_reason(ended: Ref<'_>) -> String {
    match (ended.get("reason").str(), ended.get("signal").i64()) {
        ("", 0) => format!("ExitCode:{}", ended.get("exitCode").i64()),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn init_reason(status: Ref<'_>, at: usize, count: usize) -> String {
    let (waiting, ended) = (
        status.at("state.waiting.reason").str(),
        status.at("state.terminated"),
    );
    match waiting {
        _ if !ended.is_null() => format!("Init:{}", ended_reason(ended)),
        "" | "PodInitializing" => format!("Init:{at}/{count}"),
        reason => format!("Init:{reason}"),
    }
}
