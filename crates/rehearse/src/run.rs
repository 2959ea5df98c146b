//! Holds a rehearsal: cluster up, manifests applied, steps at their times, eyes open throughout.

use crate::{
    Cluster, ClusterPlan, Error, NodePlan, Outcome, Report,
    expect::{Chosen, Watch},
    manifests,
    scenario::{NodeGroup, Offset, Scenario, quantity_text},
    steps,
    timeline::Timeline,
};
use env::Time;
use machinery::parse_time;
use registry::{Change, Door, Snapshot};
use sim_env::Profiles;
use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

/// How a rehearsal is to be held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Seed instead of the scenario's.
    pub seed: Option<u64>,
}

/// What watches the cluster: the timeline and the expectations.
struct Eyes {
    timeline: Timeline,
    watches: Vec<Watch>,
    chosen: Chosen,
}

impl Eyes {
    fn take_in(&mut self, now: Time, changes: &[Arc<Change>], snapshot: &Snapshot) {
        changes
            .iter()
            .for_each(|change| self.timeline.take_in(now, change));
        if !self.watches.is_empty() {
            let touched = changes
                .iter()
                .map(|change| change.resource.as_str())
                .collect();
            self.look(now, snapshot, Some(&touched));
        }
    }

    fn look(&mut self, now: Time, snapshot: &Snapshot, touched: Option<&BTreeSet<&str>>) {
        let offset = now.since(self.timeline.start());
        let state = (snapshot, &self.chosen);
        self.watches
            .iter_mut()
            .for_each(|watch| watch.look(offset, state, touched));
    }
}

/// Watches a cluster's log from its first record on.
#[derive(Clone)]
pub struct Observer(Arc<Mutex<Eyes>>);

impl Observer {
    fn lock(&self) -> MutexGuard<'_, Eyes> {
        self.0.lock().expect("observing does not panic")
    }

    /// Starts watching `cluster`.
    pub fn start(cluster: &Cluster) -> Self {
        Self::expecting(cluster, Vec::new())
    }

    fn expecting(cluster: &Cluster, watches: Vec<Watch>) -> Self {
        let start = cluster.sim().now();
        let timeline = Timeline::new(start);
        let eyes = Self(Arc::new(Mutex::new(Eyes {
            timeline,
            watches,
            chosen: Chosen::new(),
        })));
        let (door, watching) = (cluster.platform().door.clone(), eyes.clone());
        cluster
            .sim()
            .world()
            .spawn("observer", watching.watch(door));
        eyes
    }

    async fn watch(self, door: Door) {
        let mut log = door.subscribe(0).expect("a new cluster's log is complete");
        loop {
            let changes = log
                .next()
                .await
                .expect("an observer reads at once, so it never lags");
            self.lock().take_in(door.now(), &changes, &door.snapshot());
        }
    }

    /// Number of changes so far, and the hash over them.
    pub fn hash(&self) -> (u64, String) {
        let (changes, hash, _) = self.lock().timeline.result();
        (changes, hash)
    }
}

/// Holds the rehearsal that a scenario file describes.
pub fn run(scenario: &Path, options: Options) -> Result<Report, Error> {
    let folder = scenario.parent().unwrap_or(Path::new("."));
    hold(Scenario::load(scenario)?, folder, options)
}

fn nodes(group: &NodeGroup) -> Vec<NodePlan> {
    let names: Vec<String> = match group.count {
        None => vec![group.name.clone()],
        Some(count) => (1..=count)
            .map(|number| format!("{}-{number}", group.name))
            .collect(),
    };
    let plan = |(at, name): (usize, &String)| {
        let mut plan = NodePlan::new(name);
        let zone = group.zones.get(at % group.zones.len().max(1));
        plan.zone = zone.unwrap_or(&group.zone).clone();
        plan.region = group.region.clone();
        plan.instance_type = group.instance_type.clone();
        let capacity = group.capacity.iter();
        plan.capacity
            .extend(capacity.map(|(name, value)| (name.clone(), quantity_text(value))));
        plan.labels = group.labels.clone();
        plan.taints = group.taints.clone();
        plan
    };
    names.iter().enumerate().map(plan).collect()
}

fn cluster_plan(scenario: &Scenario, options: Options) -> ClusterPlan {
    let rules = scenario.spec.containers.iter();
    let rules = rules.map(|rule| rule.rule().expect("rules were checked on loading"));
    let start = scenario
        .spec
        .start
        .as_ref()
        .and_then(|text| parse_time(text));
    ClusterPlan {
        seed: options.seed.unwrap_or(scenario.spec.seed),
        start: start.map(Time),
        profiles: Profiles {
            rules: rules.collect(),
        },
    }
}

fn hold(scenario: Scenario, folder: &Path, options: Options) -> Result<Report, Error> {
    let mut objects = Vec::new();
    for path in &scenario.spec.manifests {
        objects.extend(manifests::load(&folder.join(path))?);
    }
    let plan = cluster_plan(&scenario, options);
    let seed = plan.seed;
    let mut cluster = Cluster::start(plan)?;
    let watches: Vec<Watch> = scenario
        .spec
        .expect
        .iter()
        .cloned()
        .map(|what| Watch::new(what, scenario.spec.duration.0))
        .collect();
    let mut times: BTreeSet<Duration> = watches.iter().flat_map(Watch::boundaries).collect();
    times.extend(scenario.spec.steps.iter().map(|step| step.at.0));
    times.insert(scenario.spec.duration.0);
    let observer = Observer::expecting(&cluster, watches);
    let start = cluster.sim().now();
    for node in scenario.spec.cluster.nodes.iter().flat_map(nodes) {
        cluster.add_node(node)?;
    }
    steps::apply_all(&cluster, &objects)?;
    for time in times {
        cluster.sim().run_until(start + time);
        observer
            .lock()
            .look(start + time, &cluster.snapshot(), None);
        for step in scenario
            .spec
            .steps
            .iter()
            .filter(|step| step.at == Offset(time))
        {
            let now = cluster.sim().now();
            let mut chosen = observer.lock().chosen.clone();
            let text = steps::perform(&mut cluster, step, (folder, &mut chosen))?;
            let mut eyes = observer.lock();
            eyes.chosen = chosen;
            eyes.timeline.note(now, "step".into(), text);
        }
    }
    Ok(report(scenario, seed, &observer))
}

fn report(scenario: Scenario, seed: u64, observer: &Observer) -> Report {
    let mut eyes = observer.lock();
    let (changes, hash, timeline) = eyes.timeline.result();
    let watches = std::mem::take(&mut eyes.watches);
    let outcomes: Vec<Outcome> = watches.into_iter().map(Watch::finish).collect();
    Report {
        name: scenario.metadata.name,
        description: scenario.spec.description,
        seed,
        duration: scenario.spec.duration.0,
        timeline,
        outcomes,
        changes,
        hash,
    }
}
