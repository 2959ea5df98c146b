//! The server is killed in the middle of writes, again and again: nothing it acknowledged is
//! lost, no revision is given twice, and a watch that resumes misses and repeats nothing.
//!
//! Must not know the platform's code. Upstream counterpart: etcd's `tests/robustness`.

use contract_tests::{Api, Session};
use e2e_tests::{Case, Cluster, run_cases};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const OBJECTS: &str = "/api/v1/namespaces/default/configmaps";
/// How often the server dies.
const ROUNDS: usize = 24;
/// Clients that write at once.
const WRITERS: usize = 8;
/// Acknowledgements after which the server is killed.
const ENOUGH: usize = 120;
/// How long they may take; a slow machine kills early.
const PATIENCE: Duration = Duration::from_secs(10);
/// Every so many objects of a writer one is changed, another removed.
const CHANGE: usize = 3;
const REMOVE: usize = 5;

/// What the server has acknowledged, over all its lives.
#[derive(Default)]
struct Ledger {
    /// Objects that must be there, with the revision of their last acknowledged write.
    alive: BTreeMap<String, u64>,
    /// Objects of which a write was sent that was never answered: either outcome is right.
    unknown: BTreeSet<String>,
    /// Objects that must be gone.
    gone: BTreeSet<String>,
    /// Every revision a write was answered with.
    revisions: BTreeSet<u64>,
}

fn revision(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str();
    text.and_then(|text| text.parse().ok())
        .expect("an object has a resourceVersion")
}

/// A writer: creates, changes and removes objects until the server is gone.
fn write(api: &Api, prefix: &str, ledger: &Mutex<Ledger>, count: &AtomicUsize) {
    let Ok(mut session) = api.session() else {
        return;
    };
    for number in 0.. {
        let name = format!("{prefix}-{number}");
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        let mut going = ask(&mut session, ("POST", OBJECTS), &body, &name, ledger);
        let path = format!("{OBJECTS}/{name}");
        if going && number % CHANGE == 0 {
            going = ask(
                &mut session,
                ("PATCH", &path),
                &json!({"data": {"changed": "yes"}}),
                &name,
                ledger,
            );
        }
        if going && number % REMOVE == 0 {
            going = ask(&mut session, ("DELETE", &path), &Value::Null, &name, ledger);
        }
        if !going {
            return;
        }
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// One write; false once the server does not answer.
fn ask(
    session: &mut Session,
    (method, path): (&str, &str),
    body: &Value,
    name: &str,
    ledger: &Mutex<Ledger>,
) -> bool {
    ledger.lock().unwrap().unknown.insert(name.to_owned());
    let form = match method {
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let headers = [("Content-Type", form)];
    let Ok(answer) = session.call(method, path, &headers, body.as_bytes()) else {
        return false;
    };
    assert!(answer.code < 300, "{method} {path}: {}", answer.json());
    let mut ledger = ledger.lock().unwrap();
    ledger.unknown.remove(name);
    if method == "DELETE" {
        ledger.alive.remove(name);
        ledger.gone.insert(name.to_owned());
        return true;
    }
    let revision = revision(&answer.json());
    ledger.alive.insert(name.to_owned(), revision);
    let fresh = ledger.revisions.insert(revision);
    assert!(fresh, "revision {revision} was given twice");
    true
}

/// Everything a client has seen that began to watch before the first write.
struct Watcher {
    last: u64,
    /// Name to what the events leave of it: its revision, or none where it was removed.
    state: BTreeMap<String, Option<u64>>,
}

impl Watcher {
    /// Watches from where it stopped until the server is gone, or has said all up to `end`.
    fn follow(&mut self, api: &Api, end: Option<u64>) {
        let mut watch = api.watch(&format!(
            "{OBJECTS}?watch=true&allowWatchBookmarks=true&resourceVersion={}",
            self.last
        ));
        while end.is_none_or(|end| self.last < end) {
            let Some(event) = watch.next_or_end() else {
                return;
            };
            self.take(&event);
        }
    }

    fn take(&mut self, event: &Value) {
        let (kind, object) = (event["type"].as_str().unwrap_or_default(), &event["object"]);
        let revision = revision(object);
        assert!(kind != "ERROR", "{event}");
        assert!(
            revision > self.last || kind == "BOOKMARK",
            "{event} after {}",
            self.last
        );
        self.last = self.last.max(revision);
        if kind == "BOOKMARK" {
            return;
        }
        let name = object["metadata"]["name"].as_str().expect("a name");
        let before = self.state.get(name).copied().flatten();
        match kind {
            "ADDED" => assert_eq!(before, None, "{event}"),
            _ => assert!(before.is_some(), "{event} of what is not there"),
        }
        let now = (kind != "DELETED").then_some(revision);
        self.state.insert(name.to_owned(), now);
    }
}

fn check(api: &Api, ledger: &Mutex<Ledger>, watcher: &mut Watcher, round: usize) {
    let list = api.get(OBJECTS).json();
    let items = list["items"].as_array().expect("a list");
    let stored: BTreeMap<&str, u64> = items
        .iter()
        .filter_map(|item| Some((item["metadata"]["name"].as_str()?, revision(item))))
        .collect();
    let mut ledger = ledger.lock().unwrap();
    for (name, wanted) in &ledger.alive {
        let found = stored.get(name.as_str()).copied();
        // A later write of it may have been stored without an answer.
        let newer = ledger.unknown.contains(name);
        assert!(
            newer || found == Some(*wanted),
            "round {round}: {name} is {found:?}, not {wanted}"
        );
    }
    for name in &ledger.gone {
        assert!(!stored.contains_key(name.as_str()), "{name} is back");
    }
    // What was never answered counts from now on as it was found.
    for name in std::mem::take(&mut ledger.unknown) {
        match stored.get(name.as_str()) {
            Some(revision) => drop(ledger.alive.insert(name, *revision)),
            None => drop(ledger.alive.remove(&name)),
        }
    }
    watcher.follow(api, stored.values().copied().max());
    for (name, revision) in &stored {
        let seen = watcher.state.get(*name).copied().flatten();
        assert_eq!(seen, Some(*revision), "round {round}: the watch of {name}");
    }
}

fn killed_again_and_again(cluster: &mut Cluster) {
    let api = Api::of(cluster);
    let list = api.get(OBJECTS).json();
    let mut watcher = Watcher {
        last: revision(&list),
        state: BTreeMap::new(),
    };
    for item in list["items"].as_array().into_iter().flatten() {
        let name = item["metadata"]["name"].as_str().expect("a name");
        watcher.state.insert(name.to_owned(), Some(revision(item)));
    }
    let ledger = Mutex::default();
    for round in 0..ROUNDS {
        let count = AtomicUsize::new(0);
        thread::scope(|scope| {
            let (api, ledger, count) = (&api, &ledger, &count);
            for writer in 0..WRITERS {
                let prefix = format!("r{round}-w{writer}");
                scope.spawn(move || write(api, &prefix, ledger, count));
            }
            scope.spawn(|| watcher.follow(api, None));
            let start = Instant::now();
            while count.load(Ordering::Relaxed) < ENOUGH && start.elapsed() < PATIENCE {
                thread::sleep(Duration::from_millis(1));
            }
            cluster.kill();
        });
        cluster.launch();
        check(&api, &ledger, &mut watcher, round);
    }
    let ledger = ledger.into_inner().unwrap();
    println!(
        "  {ROUNDS} deaths, {} acknowledged writes, {} objects alive",
        ledger.revisions.len() + ledger.gone.len(),
        ledger.alive.len()
    );
}

const CASES: &[Case] = &[("killed_again_and_again", killed_again_and_again)];

fn main() -> ExitCode {
    run_cases(CASES, || Cluster::start(true, 1))
}
