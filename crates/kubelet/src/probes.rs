//! When probes run and what their results mean: thresholds, delays, restarts.
//!
//! Pure; upstream counterpart: `pkg/kubelet/prober`.

use crate::spec::{ProbeKind, ProbeSpec};
use env::Time;

/// One probe of one running container.
#[derive(Clone, Debug)]
pub struct ProbeState {
    pub spec: ProbeSpec,
    /// When it runs next; `None` while it runs, or once it has nothing left to say.
    pub next: Option<Time>,
    /// Whether the last verdict (after thresholds) was success.
    pub passed: bool,
    successes: u32,
    failures: u32,
}

/// What a result leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No change.
    Same,
    /// Passed after not having passed.
    Passed,
    /// Failed often enough to matter.
    Failed,
}

impl ProbeState {
    /// A probe of a container that started at `started`; `jitter` spreads probes of many pods.
    pub fn new(spec: &ProbeSpec, started: Time, jitter: std::time::Duration) -> Self {
        Self {
            next: Some(started + spec.initial_delay + jitter),
            // Liveness assumes the best, the others the worst.
            passed: spec.kind == ProbeKind::Liveness,
            successes: 0,
            failures: 0,
            spec: spec.clone(),
        }
    }

    /// Takes in a result.
    pub fn result(&mut self, success: bool, now: Time) -> Verdict {
        self.next = Some(now + self.spec.period);
        (self.successes, self.failures) = if success {
            (self.successes + 1, 0)
        } else {
            (0, self.failures + 1)
        };
        if success && !self.passed && self.successes >= self.spec.success {
            self.passed = true;
            if self.spec.kind == ProbeKind::Startup {
                self.next = None;
            }
            return Verdict::Passed;
        }
        if !success && self.failures >= self.spec.failure {
            let news = self.passed || self.spec.kind == ProbeKind::Startup;
            self.passed = false;
            if self.spec.kind != ProbeKind::Readiness {
                self.next = None;
            }
            return if news { Verdict::Failed } else { Verdict::Same };
        }
        Verdict::Same
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn state(kind: ProbeKind, success: u32, failure: u32) -> ProbeState {
        let second = Duration::from_secs(1);
        let spec = ProbeSpec {
            kind,
            initial_delay: second,
            timeout: second,
            period: second,
            success,
            failure,
            grace: None,
        };
        ProbeState::new(&spec, Time::default(), Duration::ZERO)
    }

    #[test]
    fn thresholds() {
        use Verdict::{Failed, Passed, Same};
        for (kind, success, failure, results, wanted) in [
            (
                ProbeKind::Readiness,
                2,
                2,
                "++--+",
                vec![Same, Passed, Same, Failed, Same],
            ),
            (
                ProbeKind::Liveness,
                1,
                3,
                "--+---",
                vec![Same, Same, Same, Same, Same, Failed],
            ),
            (ProbeKind::Startup, 1, 2, "-+", vec![Same, Passed]),
            (ProbeKind::Startup, 1, 2, "--", vec![Same, Failed]),
        ] {
            let mut probe = state(kind, success, failure);
            let verdicts: Vec<_> = results
                .chars()
                .map(|result| probe.result(result == '+', Time::default()))
                .collect();
            assert_eq!(verdicts, wanted, "{kind:?} {results}");
        }
    }
}
