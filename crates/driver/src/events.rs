//! Events for everyone: repetitions become a count, floods are cut.
//!
//! Upstream counterpart: `k8s.io/client-go/tools/record`.

use auth::User;
use env::Time;
use machinery::{SmolStr, Value, format_time, json};
use reconcile::Event;
use registry::{Call, Door, FieldValidation, PatchKind, Verb};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

const EVENTS: &str = "events";
/// Known events remembered for counting (upstream's cache size).
const REMEMBERED_MAX: usize = 4096;
/// Events about one object from one source before the flood gate closes (upstream's burst).
const BURST: u32 = 25;
/// One further event per object and source is let through this often (upstream's rate).
const REFILL: Duration = Duration::from_secs(300);

/// Remembers which events were recorded, to count repetitions and cut floods.
#[derive(Default)]
pub struct Recorder {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: BTreeMap<String, Known>,
    order: VecDeque<String>,
    gates: BTreeMap<String, Gate>,
}

struct Known {
    namespace: SmolStr,
    name: SmolStr,
    count: i64,
}

struct Gate {
    spent: u32,
    since: Time,
}

/// What to do about an occurrence.
enum Step {
    Drop,
    Create,
    Count(SmolStr, SmolStr, i64),
}

impl Recorder {
    /// Records an occurrence. Failures are not reported: an event is a courtesy.
    pub async fn record(&self, door: &Door, user: &Arc<User>, source: &'static str, event: Event) {
        let now = door.now();
        let key = identity(source, &event);
        let step = self.step(&key, &gate_key(source, &event), now);
        let stamp = format_time(now.0);
        let outcome = match step {
            Step::Drop => return,
            Step::Create => {
                self.create(door, user, source, &event, (&key, &stamp))
                    .await
            }
            Step::Count(namespace, name, count) => {
                let patch = json!({"count": count, "lastTimestamp": stamp});
                let call = door.component_call(user, Verb::Patch, EVENTS, &namespace, &name);
                let Ok(call) = call else { return };
                door.call(quiet(call.with_patch(PatchKind::Merge, patch), source))
                    .await
                    .map(drop)
            }
        };
        // An event that expired meanwhile is recorded anew next time.
        if outcome.is_err() {
            self.state
                .lock()
                .expect("recording does not panic")
                .known
                .remove(&key);
        }
    }

    fn step(&self, key: &str, gate: &str, now: Time) -> Step {
        let mut state = self.state.lock().expect("recording does not panic");
        if !pass(&mut state.gates, gate, now) {
            return Step::Drop;
        }
        match state.known.get_mut(key) {
            Some(known) => {
                known.count += 1;
                Step::Count(known.namespace.clone(), known.name.clone(), known.count)
            }
            None => Step::Create,
        }
    }

    async fn create(
        &self,
        door: &Door,
        user: &Arc<User>,
        source: &str,
        event: &Event,
        (key, stamp): (&str, &str),
    ) -> Result<(), machinery::Status> {
        let about = &event.about;
        let namespace = match about["namespace"].str() {
            "" => "default",
            own => own,
        };
        let name = format!(
            "{}.{:016x}",
            about["name"].str(),
            door.world().entropy.next_u64()
        );
        let object = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": &name, "namespace": namespace},
            "involvedObject": about, "reason": &event.reason, "message": &event.message,
            "type": if event.warning { "Warning" } else { "Normal" },
            "source": {"component": source}, "reportingComponent": source, "reportingInstance": "",
            "firstTimestamp": stamp, "lastTimestamp": stamp, "count": 1,
        });
        let call = door.component_call(user, Verb::Create, EVENTS, namespace, "")?;
        door.call(quiet(call.with_object(object), source)).await?;
        let mut state = self.state.lock().expect("recording does not panic");
        let known = Known {
            namespace: namespace.into(),
            name: name.into(),
            count: 1,
        };
        state.known.insert(key.to_owned(), known);
        state.order.push_back(key.to_owned());
        while state.order.len() > REMEMBERED_MAX {
            if let Some(oldest) = state.order.pop_front() {
                state.known.remove(&oldest);
            }
        }
        Ok(())
    }
}

fn quiet(mut call: Call, source: &str) -> Call {
    call.options.field_manager = source.into();
    call.options.field_validation = FieldValidation::Ignore;
    call
}

fn about_key(about: &Value) -> String {
    let part = |key: &str| about[key].str().to_owned();
    [
        part("kind"),
        part("namespace"),
        part("name"),
        part("uid"),
        part("fieldPath"),
    ]
    .join("/")
}

fn identity(source: &str, event: &Event) -> String {
    format!(
        "{source}|{}|{}|{}|{}",
        about_key(&event.about),
        event.warning,
        event.reason,
        event.message
    )
}

fn gate_key(source: &str, event: &Event) -> String {
    format!("{source}|{}", about_key(&event.about))
}

/// A token bucket per source and object.
fn pass(gates: &mut BTreeMap<String, Gate>, key: &str, now: Time) -> bool {
    if gates.len() > REMEMBERED_MAX {
        gates.retain(|_, gate| now.since(gate.since) < REFILL);
    }
    let gate = gates.entry(key.to_owned()).or_insert(Gate {
        spent: 0,
        since: now,
    });
    let refills = (now.since(gate.since).as_secs() / REFILL.as_secs()) as u32;
    if refills > 0 {
        gate.spent = gate.spent.saturating_sub(refills);
        gate.since = gate.since + REFILL * refills;
    }
    let open = gate.spent < BURST;
    gate.spent += u32::from(open);
    open
}
