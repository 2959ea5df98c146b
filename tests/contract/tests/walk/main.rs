//! Walks discovery and proves the same properties of every resource.
//!
//! Each resource is created, read, written and deleted in every form and by every verb that
//! discovery promises, from one rich sample (`samples.yaml`); what fails is one line. Against a
//! server of its own, or with `XEBEC_WALK_KUBECONFIG` against any other, so that the suite itself
//! can be held against the original. Upstream counterparts: `test/integration/{apiserver,etcd}`.

mod actions;
mod compare;
mod delete;
mod discovery;
mod forms;
mod read;
mod refuse;
mod sample;
mod subresource;
mod walk;
mod write;

use contract_tests::Api;
use discovery::Resource;
use e2e_tests::{Cluster, run, tool};
use sample::Sample;
use std::{
    collections::BTreeSet,
    process::{Command, ExitCode},
    sync::Mutex,
    time::{Duration, Instant},
};
use walk::Walk;

/// Where namespaced objects are made.
const NAMESPACE: &str = "walk";
/// Where objects are made that would limit the others.
const APART: &str = "walk-apart";
/// Resources walked at the same time.
const WALKERS: usize = 6;

/// A resource, a property that does not hold, and what was seen instead.
type Failure = (String, String, String);

fn external() -> Option<Api> {
    let path = std::env::var_os("XEBEC_WALK_KUBECONFIG")?;
    let mut command = Command::new(tool("kubectl"));
    command.arg("--kubeconfig").arg(path);
    command.args(["config", "view", "--raw", "--minify", "-o", "json"]);
    let said = run(&mut command, "", Duration::from_secs(30)).expect("kubectl runs");
    Some(Api::configured(&said.stdout))
}

fn main() -> ExitCode {
    if std::env::args().any(|word| word == "--list") {
        println!("walk: test");
        return ExitCode::SUCCESS;
    }
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = words
        .iter()
        .filter(|word| !word.starts_with("--"))
        .collect();
    let (cluster, api) = match external() {
        Some(api) => (None, api),
        None => {
            let cluster = Cluster::start(true, 1);
            let api = Api::of(&cluster);
            (Some(cluster), api)
        }
    };
    let begin = Instant::now();
    prepare(&api);
    let (resources, mut failures) = discovery::compare(&api);
    let chosen =
        |one: &&Resource| words.is_empty() || words.iter().any(|word| **word == one.plural);
    let chosen: Vec<_> = resources.iter().filter(chosen).collect();
    failures.extend(walk_all(&api, &chosen));
    drop(cluster);
    let unexpected = report(&failures, words.is_empty());
    println!(
        "walked {} resources in {:.1} s: {unexpected} unexpected",
        chosen.len(),
        begin.elapsed().as_secs_f64()
    );
    match unexpected {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Makes the namespace and what pods need in it, where no controller does.
fn prepare(api: &Api) {
    let named = |kind: &str, name: &str| serde_json::json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
    for name in [NAMESPACE, APART] {
        api.create("/api/v1/namespaces", &named("Namespace", name));
    }
    let accounts = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
    api.create(&accounts, &named("ServiceAccount", "default"));
}

/// Walks resources side by side.
fn walk_all(api: &Api, resources: &[&Resource]) -> Vec<Failure> {
    let samples = Sample::all();
    let waiting = Mutex::new(resources.iter().enumerate().collect::<Vec<_>>());
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WALKERS {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().expect("no walker panics").pop();
                    let Some((number, resource)) = next else {
                        return;
                    };
                    let found = walk_one(api, number, resource, &samples);
                    failures.lock().expect("no walker panics").extend(found);
                }
            });
        }
    });
    failures.into_inner().expect("no walker panics")
}

fn walk_one(api: &Api, number: usize, resource: &Resource, samples: &[Sample]) -> Vec<Failure> {
    if !resource.verbs.contains("create") || !resource.verbs.contains("get") {
        return Vec::new();
    }
    let sample = samples.iter().find(|one| one.is_of(resource));
    let Some(sample) = sample else {
        let why = "samples.yaml has none of it".to_owned();
        return vec![(resource.to_string(), "sample".into(), why)];
    };
    Walk::new(api, number, resource, sample).all()
}

/// Prints failures and stale exceptions; the number of both.
fn report(failures: &[Failure], whole: bool) -> usize {
    let mut known: BTreeSet<(&str, &str)> = include_str!("exceptions.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?))
        })
        .collect();
    let mut stale: BTreeSet<&str> = known
        .iter()
        .filter(|one| one.0 == "*")
        .map(|one| one.1)
        .collect();
    let mut unexpected = 0;
    for (resource, property, why) in failures {
        let everywhere = known.contains(&("*", property.as_str()));
        stale.remove(property.as_str());
        if !known.remove(&(resource.as_str(), property.as_str())) && !everywhere {
            println!("{resource} {property}: {why}");
            unexpected += 1;
        }
    }
    known.retain(|(resource, property)| *resource != "*" || stale.contains(property));
    for (resource, property) in known.iter().filter(|_| whole) {
        println!("{resource} {property}: holds now, so its exception must go");
        unexpected += 1;
    }
    unexpected
}
