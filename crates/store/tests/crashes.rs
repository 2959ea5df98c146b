//! Power failures at any moment and damaged files: nothing acknowledged is lost, no revision
//! is used twice, damage is refused instead of served.

mod common;

use common::*;
use sim_env::{DiskImage, Sim, SimDisk, SimEntropy};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use store::*;

/// Seeds of the power failure test; each is a handful of lives of one store.
const SEEDS: u64 = 600;
/// Lives of a store that end by a failure, per seed.
const LIVES: u64 = 4;
const NAMES: u64 = 6;

/// What clients know: per object all states asked for in order (commits are ordered when they
/// are made) and the last one that was durably acknowledged; all revisions ever seen.
#[derive(Default)]
struct Known {
    asked: BTreeMap<String, Vec<Option<u64>>>,
    durable: BTreeMap<String, usize>,
    seen: BTreeSet<u64>,
    highest_durable: u64,
}

impl Known {
    /// Notes a commit about to be made and returns its place among those of its object.
    fn ask(&mut self, name: &str, number: Option<u64>) -> usize {
        let asked = self.asked.entry(name.to_owned()).or_default();
        asked.push(number);
        asked.len() - 1
    }

    fn acknowledged(&mut self, committed: &Committed, name: &str, place: usize, durable: bool) {
        if committed.changes.is_empty() {
            return;
        }
        let fresh = self.seen.insert(committed.revision);
        assert!(fresh, "revision {} was used twice", committed.revision);
        if durable {
            let last = self.durable.entry(name.to_owned()).or_default();
            *last = place.max(*last);
            self.highest_durable = self.highest_durable.max(committed.revision);
        }
    }

    /// Every object is in its last durable state or in one asked for later.
    fn check(&self, store: &Store, seed: u64) {
        let snapshot = store.snapshot();
        assert!(
            snapshot.revision >= self.highest_durable,
            "seed {seed}: lost the end"
        );
        for (name, place) in &self.durable {
            let found = number(&snapshot, name);
            let allowed = &self.asked[name][*place..];
            assert!(
                allowed.contains(&found),
                "seed {seed}: {name} is {found:?}, not of {allowed:?}"
            );
        }
    }
}

/// A client that watches through all of a store's lives: it lists again only where it is told to.
#[derive(Default)]
struct Watcher {
    revision: u64,
    state: BTreeMap<String, u64>,
    resumed: u32,
    told_to_list: u32,
}

impl Watcher {
    /// Goes on from where it was, and compares what it then knows with what there is.
    fn resume(&mut self, store: &Store) -> Subscription {
        let now = store.snapshot();
        let mut log = match store.subscribe(self.revision) {
            Ok(log) => {
                self.resumed += 1;
                log
            }
            Err(_) => {
                self.told_to_list += 1;
                (self.revision, self.state) = (now.revision, state_of(&now));
                let from_now = store.subscribe(now.revision);
                from_now.expect("the latest revision can be watched from")
            }
        };
        loop {
            let changes = log.try_next().expect("it has just begun");
            if changes.is_empty() {
                break;
            }
            self.take_in(&changes);
        }
        assert_eq!(self.state, state_of(&now), "a gap in the watch");
        log
    }

    fn take_in(&mut self, changes: &[Arc<Change>]) {
        for change in changes {
            assert!(change.revision > self.revision, "revisions only grow");
            self.revision = change.revision;
            let (name, number) = (change.key.name.to_string(), number_of(&change.new));
            let before = match number {
                Some(number) => self.state.insert(name, number),
                None => self.state.remove(&name),
            };
            assert_eq!(before, number_of(&change.old), "a change was missed");
        }
    }
}

fn number_of(object: &Option<Arc<machinery::Object>>) -> Option<u64> {
    let object = object.as_ref()?;
    Some(object.at("spec.number").i64() as u64)
}

fn state_of(snapshot: &Snapshot) -> BTreeMap<String, u64> {
    let entry = |object: &Arc<machinery::Object>| {
        let number = number_of(&Some(object.clone())).expect("an object");
        (object.name().to_owned(), number)
    };
    snapshot.list("things", None).map(entry).collect()
}

fn random_operation(chance: &SimEntropy) -> (String, Option<u64>, Transaction) {
    let name = format!("o{}", chance.below(NAMES));
    let content = (chance.below(4) > 0).then(|| chance.below(100_000));
    let operation = match content {
        Some(number) => put(&name, number, Expected::Any),
        None => delete(&name, Expected::Any),
    };
    let transaction = Transaction::from(operation);
    let relaxed = chance.below(3) == 0;
    (
        name,
        content,
        if relaxed {
            transaction.relaxed()
        } else {
            transaction
        },
    )
}

/// Lets writers work on a store until the power fails at a random moment.
fn live(
    seed: u64,
    round: u64,
    image: DiskImage,
    (known, watcher): (&Arc<Mutex<Known>>, &Arc<Mutex<Watcher>>),
) -> DiskImage {
    let options = StoreOptions {
        segment_bytes: 16 << 10,
        checkpoint_bytes: 8 << 10,
        ..small()
    };
    let life = Life::try_start(seed * 10 + round, image, options)
        .unwrap_or_else(|error| panic!("seed {seed} round {round}: {error}"));
    known.lock().unwrap().check(&life.store, seed);
    let mut log = watcher.lock().unwrap().resume(&life.store);
    let watching = watcher.clone();
    life.sim.world().spawn("watcher", async move {
        loop {
            let changes = log.next().await.expect("it keeps up");
            watching.lock().unwrap().take_in(&changes);
        }
    });
    let chance = SimEntropy::labelled(seed, &format!("power {round}"));
    for writer in 0..4 {
        let (store, known, world) = (life.store.clone(), known.clone(), life.sim.world());
        let chance = SimEntropy::labelled(seed, &format!("writer {round} {writer}"));
        life.sim.world().spawn("writer", async move {
            loop {
                let (name, number, transaction) = random_operation(&chance);
                let durable = transaction.durability == Durability::Durable;
                let place = known.lock().unwrap().ask(&name, number);
                let committed = store.commit(transaction).await.expect("the disk is fine");
                known
                    .lock()
                    .unwrap()
                    .acknowledged(&committed, &name, place, durable);
                world.sleep(Duration::from_micros(chance.below(100))).await;
            }
        });
    }
    life.sim.run_for(Duration::from_micros(chance.below(8_000)));
    if chance.below(8) == 0 {
        life.disk.kill()
    } else {
        life.disk.crash()
    }
}

#[test]
fn power_failures_lose_nothing_acknowledged_and_leave_no_gap() {
    let (mut resumed, mut told_to_list) = (0, 0);
    for seed in 0..SEEDS {
        let known = Arc::new(Mutex::new(Known::default()));
        let watcher = Arc::new(Mutex::new(Watcher::default()));
        let mut image = DiskImage::default();
        for round in 0..LIVES {
            image = live(seed, round, image, (&known, &watcher));
        }
        let life = Life::start(seed, image);
        known.lock().unwrap().check(&life.store, seed);
        let mut watcher = watcher.lock().unwrap();
        watcher.resume(&life.store);
        resumed += watcher.resumed;
        told_to_list += watcher.told_to_list;
    }
    assert!(told_to_list > 0, "lost revisions were never noticed");
    assert!(
        resumed > told_to_list,
        "{resumed} resumed, {told_to_list} listed again"
    );
}

/// Power may fail while the store is being opened, too.
#[test]
fn power_failures_while_opening_lose_nothing() {
    for seed in 0..100 {
        let known = Arc::new(Mutex::new(Known::default()));
        let watcher = Arc::default();
        let mut image = live(seed, 0, DiskImage::default(), (&known, &watcher));
        for attempt in 0..5 {
            let sim = Sim::new(
                seed * 7 + attempt,
                env::Time::from_unix_seconds(1_800_000_000),
            );
            let disk = SimDisk::new(sim.fork("disk"), SPEED, image);
            let (world, opening) = (sim.world(), disk.clone());
            sim.world().spawn("open", async move {
                let store = Store::open(&world, opening, small()).await.expect("opens");
                world.clock.sleep_until(env::Time(u64::MAX)).await;
                drop(store);
            });
            sim.run_for(Duration::from_micros(sim.world().entropy.next_u64() % 600));
            image = disk.crash();
        }
        known
            .lock()
            .unwrap()
            .check(&Life::start(seed, image).store, seed);
    }
}

/// A store with some durable history in one segment.
fn written(count: u64) -> DiskImage {
    let life = Life::try_start(1, DiskImage::default(), StoreOptions::default()).unwrap();
    life.sim.block_on(async {
        for n in 0..count {
            life.store
                .commit(put(&format!("o{n}"), n, Expected::Absent))
                .await
                .unwrap();
        }
    });
    life.end()
}

fn open(image: &DiskImage) -> Result<Life, OpenError> {
    Life::try_start(2, image.clone(), StoreOptions::default())
}

fn log_end(image: &DiskImage) -> (String, usize) {
    let (file, bytes) = image.files.iter().next_back().unwrap();
    (
        file.clone(),
        bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1,
    )
}

#[test]
fn a_log_cut_anywhere_opens_with_what_came_before() {
    let image = written(12);
    let (file, end) = log_end(&image);
    let mut counts = std::collections::BTreeSet::new();
    // Inside the header every cut is alike; between records they are not.
    let (_, header) = log_end(&written(0));
    for cut in (header..=end).step_by(17).chain((0..header).step_by(1001)) {
        let mut torn = image.clone();
        let log = torn.files.get_mut(&file).unwrap();
        log[cut..].fill(0);
        let Ok(life) = open(&torn) else {
            panic!("cut at {cut}");
        };
        let count = life.store.snapshot().list("things", None).count() as u64;
        assert_eq!(count, life.store.revision(), "a prefix of the history");
        counts.insert(count);
        life.sim
            .block_on(life.store.commit(put("new", 1, Expected::Absent)))
            .unwrap();
    }
    assert_eq!(counts.len(), 13);
}

#[test]
fn a_torn_tail_is_reported_with_its_offset() {
    let image = written(5);
    let (file, end) = log_end(&image);
    let mut torn = image.clone();
    torn.files.get_mut(&file).unwrap()[end - 10..].fill(0);
    let life = open(&torn).unwrap();
    let tail = life.store.torn_tail().unwrap();
    assert_eq!(tail.file, file);
    assert!((tail.offset as usize) < end && tail.offset as usize > end - 500);
    assert_eq!(life.store.snapshot().list("things", None).count(), 4);
    assert!(
        open(&life.end()).unwrap().store.torn_tail().is_none(),
        "it was cut off"
    );
}

#[test]
fn damage_before_durable_records_is_refused() {
    let image = written(300);
    let (file, end) = log_end(&image);
    let (mut refused, chance) = (0, SimEntropy::new(3));
    for _ in 0..400 {
        let at = chance.below(end as u64 * 3 / 4) as usize;
        let mut damaged = image.clone();
        damaged.files.get_mut(&file).unwrap()[at] ^= 1 << chance.below(8);
        match open(&damaged).err() {
            Some(OpenError::Corrupt {
                file: found,
                offset,
                ..
            }) => {
                assert_eq!(found, file);
                assert!(offset as usize <= at);
                refused += 1;
            }
            Some(other) => panic!("{other} at {at}"),
            None => panic!("damage at byte {at} was served"),
        }
    }
    assert_eq!(refused, 400);
}

#[test]
fn missing_files_are_noticed() {
    let options = StoreOptions {
        segment_bytes: 16 << 10,
        checkpoint_bytes: u64::MAX,
        ..small()
    };
    let life = Life::try_start(1, DiskImage::default(), options.clone()).unwrap();
    life.sim.block_on(async {
        for n in 0..300 {
            life.store.commit(put("a", n, Expected::Any)).await.unwrap();
        }
    });
    let image = life.end();
    let files: Vec<_> = image.files.keys().cloned().collect();
    assert!(files.len() > 5);
    for gone in &files[..files.len() - 1] {
        let mut image = image.clone();
        image.files.remove(gone);
        let error = Life::try_start(2, image, options.clone()).err();
        assert!(
            matches!(error, Some(OpenError::Corrupt { .. })),
            "without {gone}: {error:?}"
        );
    }
}

/// Relaxed writes only: the log's end is in nobody's hands until something syncs it.
#[test]
fn a_checkpoint_never_knows_more_than_its_log() {
    let has_checkpoint = |life: &Life| {
        life.disk
            .image()
            .files
            .keys()
            .any(|file| file.starts_with("state-"))
    };
    for seed in 0..50 {
        let life = Life::start(seed, DiskImage::default());
        life.sim.block_on(async {
            for n in 0.. {
                let write = Transaction::from(put("a", n, Expected::Any)).relaxed();
                life.store.commit(write).await.unwrap();
                if has_checkpoint(&life) {
                    break;
                }
            }
        });
        life.sim.run_for(Duration::from_micros(seed * 40));
        let image = life.disk.crash();
        Life::try_start(seed, image, small())
            .map(drop)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[test]
fn lost_relaxed_writes_do_not_give_their_revisions_back() {
    for seed in 0..50 {
        let mut seen = BTreeSet::new();
        let mut image = DiskImage::default();
        for round in 0..6 {
            let life = Life::start(seed * 10 + round, image);
            for n in 0..3 {
                let write = Transaction::from(put("a", n, Expected::Any)).relaxed();
                let committed = life.sim.block_on(life.store.commit(write)).unwrap();
                assert!(
                    seen.insert(committed.revision),
                    "seed {seed}: {} again",
                    committed.revision
                );
            }
            image = life.disk.crash();
        }
    }
}

#[test]
fn a_record_larger_than_a_segment_gets_one_of_its_own() {
    let life = Life::start(1, DiskImage::default());
    let big = |number| {
        let value = machinery::json!({"spec": {"number": number, "fill": "y".repeat(100_000)}});
        Operation::new("things", key("big"), Expected::Any, Write::put(&value))
    };
    life.sim.block_on(async {
        for n in 0..4i64 {
            life.store.commit(big(n)).await.unwrap();
            life.store
                .commit(put("small", 1, Expected::Any))
                .await
                .unwrap();
        }
    });
    let life = Life::start(2, life.end());
    assert_eq!(number(&life.store.snapshot(), "big"), Some(3));
    assert_eq!(life.store.revision(), 8);
}
