//! What the store promises its callers while it runs and across orderly restarts.

mod common;

use common::*;
use sim_env::DiskImage;
use std::{sync::Arc, time::Duration};
use store::*;

fn life() -> Life {
    Life::start(1, DiskImage::default())
}

#[test]
fn commits_are_conditional_and_atomic() {
    let life = life();
    let store = &life.store;
    life.sim.block_on(async {
        let first = store.commit(put("a", 1, Expected::Absent)).await.unwrap();
        assert_eq!(first.revision, 1);
        let again = store.commit(put("a", 2, Expected::Absent)).await.unwrap_err();
        assert!(matches!(again, CommitError::Mismatch { operation: 0, current: Some(ref c) } if c.revision() == 1));
        let both = Transaction {
            operations: vec![put("b", 1, Expected::Absent), put("a", 3, Expected::Revision(9))],
            ..Transaction::default()
        };
        let error = store.commit(both).await.unwrap_err();
        assert!(matches!(error, CommitError::Mismatch { operation: 1, .. }), "{error}");
        assert_eq!((store.revision(), number(&store.snapshot(), "b")), (1, None));
        let pair = Transaction {
            operations: vec![put("b", 1, Expected::Absent), put("a", 3, Expected::Revision(1))],
            ..Transaction::default()
        };
        let pair = store.commit(pair).await.unwrap();
        assert_eq!((pair.changes[0].revision, pair.changes[1].revision, pair.revision), (2, 3, 3));
        assert_eq!(pair.changes[1].old.as_ref().unwrap().revision(), 1);
        let gone = store.commit(delete("a", Expected::Revision(3))).await.unwrap();
        assert!(gone.changes[0].new.is_none());
        let nothing = store.commit(delete("a", Expected::Any)).await.unwrap();
        assert_eq!((nothing.revision, nothing.changes.len()), (4, 0));
        assert!(store.commit(delete("a", Expected::Revision(3))).await.is_err());
    });
}

#[test]
fn later_operations_of_a_transaction_see_earlier_ones() {
    let life = life();
    let both = |second| Transaction {
        operations: vec![put("a", 1, Expected::Absent), second],
        ..Transaction::default()
    };
    life.sim.block_on(async {
        assert!(
            life.store
                .commit(both(put("a", 2, Expected::Absent)))
                .await
                .is_err()
        );
        let done = life
            .store
            .commit(both(delete("a", Expected::Any)))
            .await
            .unwrap();
        assert_eq!((done.revision, done.changes.len()), (2, 2));
        assert!(life.store.snapshot().get("things", &key("a")).is_none());
    });
}

#[test]
fn head_runs_ahead_of_what_is_shown() {
    let life = life();
    let commit = life.store.commit(put("a", 1, Expected::Absent));
    assert_eq!(life.store.head("things", &key("a")).unwrap().revision(), 1);
    assert_eq!(
        (life.store.revision(), number(&life.store.snapshot(), "a")),
        (0, None)
    );
    // The next one builds on what is not yet durable.
    let next = life.store.commit(put("a", 2, Expected::Revision(1)));
    life.sim.block_on(async {
        let (first, second) = (commit.await.unwrap(), next.await.unwrap());
        assert_eq!((first.revision, second.revision), (1, 2));
        assert_eq!(number(&life.store.snapshot(), "a"), Some(2));
    });
}

#[test]
fn a_dropped_commit_still_happens() {
    let life = life();
    drop(life.store.commit(put("a", 1, Expected::Absent)));
    life.sim.run_for(Duration::from_secs(1));
    assert_eq!(number(&life.store.snapshot(), "a"), Some(1));
}

#[test]
fn one_write_carries_many_commits_and_each_snapshot_is_exact() {
    let life = life();
    let commits: Vec<_> = (0..1000)
        .map(|n| {
            life.store
                .commit(put(&format!("o{n}"), n, Expected::Absent))
        })
        .collect();
    let syncs = life.disk.syncs();
    let mut subscription = life.store.subscribe(0).unwrap();
    life.sim.block_on(async {
        let mut seen = 0;
        while seen < 1000 {
            let changes = subscription.next().await.unwrap();
            let snapshot = life.store.snapshot();
            let count = snapshot.list("things", None).count() as u64;
            assert_eq!(
                count, snapshot.revision,
                "a snapshot holds exactly its revisions"
            );
            seen += changes.len() as u64;
        }
        for commit in commits {
            commit.await.unwrap();
        }
    });
    assert!(
        life.disk.syncs() - syncs < 60,
        "{} syncs",
        life.disk.syncs() - syncs
    );
}

#[test]
fn relaxed_writes_do_not_wait_for_the_medium() {
    let life = life();
    life.sim.block_on(async {
        // The first write of a life is always durable.
        life.store.commit(put("a", 1, Expected::Any)).await.unwrap();
        let syncs = life.disk.syncs();
        for n in 0..50 {
            life.store
                .commit(Transaction::from(put("a", n, Expected::Any)).relaxed())
                .await
                .unwrap();
        }
        assert_eq!(life.disk.syncs(), syncs);
        assert_eq!(life.store.revision(), 51);
        life.store.close().await;
        assert!(life.disk.syncs() > syncs, "closing syncs");
    });
}

#[test]
fn watchers_get_everything_once_and_in_order() {
    let life = life();
    let store = life.store.clone();
    let world = life.sim.world();
    life.sim.world().spawn("writer", async move {
        for n in 1..=2000u64 {
            drop(store.commit(put(&format!("o{}", n % 7), n, Expected::Any)));
            if n % 37 == 0 {
                world.sleep(Duration::from_micros(n % 500)).await;
            }
        }
    });
    life.sim.block_on(async {
        let mut subscription = life.store.subscribe(0).unwrap();
        let mut expected = 1;
        while expected <= 2000 {
            for change in subscription.next().await.unwrap() {
                assert_eq!(change.revision, expected);
                let old = change.old.as_ref().map_or(0, |old| old.revision());
                assert_eq!(old, expected.saturating_sub(7));
                expected += 1;
            }
        }
        assert_eq!(subscription.try_next().unwrap().len(), 0);
        assert_eq!(subscription.revision(), 2000);
    });
}

#[test]
fn a_watcher_of_one_resource_keeps_up_with_the_others() {
    let options = StoreOptions {
        retain_at_most: 10,
        ..small()
    };
    let life = Life::try_start(1, DiskImage::default(), options).unwrap();
    let mut other = life.store.subscribe_resource("others", 0).unwrap();
    let mut things = life.store.subscribe_resource("things", 0).unwrap();
    life.sim.block_on(async {
        for n in 0..100 {
            life.store.commit(put("a", n, Expected::Any)).await.unwrap();
        }
        assert_eq!(other.try_next().unwrap().len(), 0);
        assert_eq!(other.revision(), 100);
        assert_eq!(things.try_next().unwrap_err(), Lagged { oldest: 90 });
        let write = Write::put(&value("b", 1));
        let operation = Operation::new("others", key("b"), Expected::Absent, write);
        let (changes, _) = futures::join!(other.next(), life.store.commit(operation));
        assert_eq!(changes.unwrap()[0].revision, 101);
    });
}

#[test]
fn the_window_is_limited_by_count_bytes_and_age() {
    let options = StoreOptions {
        retain_at_least: 5,
        retain_at_most: 50,
        retain_bytes: 10_000,
        ..small()
    };
    let life = Life::try_start(1, DiskImage::default(), options).unwrap();
    let write = async |n, count| {
        for _ in 0..count {
            life.store.commit(put("a", n, Expected::Any)).await.unwrap();
        }
    };
    life.sim.block_on(async {
        write(0, 100).await;
        assert_eq!(life.store.oldest_revision(), 50);
        write(690, 50).await;
        assert!(life.store.oldest_revision() > 130, "bytes count");
        write(0, 50).await;
        life.sim
            .world()
            .sleep(RETAIN_FOR + Duration::from_secs(1))
            .await;
        write(0, 1).await;
        assert_eq!(life.store.oldest_revision(), 201 - 5);
        let compacted = Compacted {
            oldest: 196,
            current: 201,
        };
        assert_eq!(life.store.subscribe(195).err(), Some(compacted));
        assert_eq!(life.store.subscribe(202).err(), Some(compacted));
        assert!(life.store.subscribe(196).is_ok());
    });
}

#[test]
fn old_revisions_can_be_read_exactly() {
    let life = life();
    let mut kept = vec![life.store.snapshot()];
    life.sim.block_on(async {
        for n in 1..300u64 {
            let name = format!("o{}", n * 7 % 11);
            let operation = if n % 5 == 0 {
                delete(&name, Expected::Any)
            } else {
                put(&name, n, Expected::Any)
            };
            life.store.commit(operation).await.unwrap();
            kept.push(life.store.snapshot());
        }
    });
    for wanted in kept.iter().rev().step_by(3).chain(&kept) {
        let found = life.store.snapshot_at(wanted.revision).unwrap();
        let list = |snapshot: &Snapshot| -> Vec<_> {
            snapshot
                .list("things", None)
                .map(|object| (object.name().to_owned(), object.revision()))
                .collect()
        };
        assert_eq!(
            (found.revision, list(&found)),
            (wanted.revision, list(wanted))
        );
    }
    assert!(life.store.snapshot_at(10_000).is_err());
}

#[test]
fn leases_remove_their_objects_also_after_a_restart() {
    let life = life();
    let leased = |life: &Life, name: &str, seconds| {
        let lease = Some(life.sim.now() + Duration::from_secs(seconds));
        let operation = Operation {
            lease,
            ..put(name, 1, Expected::Any)
        };
        life.sim
            .block_on(life.store.commit(Transaction::from(operation).relaxed()))
            .unwrap();
    };
    for (name, seconds) in [
        ("short", 10),
        ("renewed", 10),
        ("lifted", 10),
        ("long", 100),
    ] {
        leased(&life, name, seconds);
    }
    life.sim.run_for(Duration::from_secs(5));
    leased(&life, "renewed", 30);
    life.sim
        .block_on(life.store.commit(put("lifted", 2, Expected::Any)))
        .unwrap();
    let present = |life: &Life| -> Vec<String> {
        life.store
            .snapshot()
            .list("things", None)
            .map(|object| object.name().to_owned())
            .collect()
    };
    life.sim.run_for(Duration::from_secs(4));
    assert_eq!(present(&life).len(), 4);
    life.sim.run_for(Duration::from_secs(2));
    assert_eq!(present(&life), ["lifted", "long", "renewed"]);
    let mut subscription = life.store.subscribe(life.store.revision()).unwrap();
    life.sim.run_for(Duration::from_secs(40));
    assert_eq!(present(&life), ["lifted", "long"]);
    assert!(
        subscription.try_next().unwrap()[0].new.is_none(),
        "expiry is an ordinary deletion"
    );
    let (later, last) = (
        life.sim.now() + Duration::from_secs(100),
        life.store.revision(),
    );
    drop(subscription);
    let life = Life::at(later, 2, life.end(), small()).unwrap();
    life.sim.run_for(Duration::from_secs(1));
    assert_eq!(present(&life), ["lifted"]);
    assert!(life.store.revision() > last);
}

#[test]
fn a_restart_keeps_objects_window_and_revisions() {
    let mut image = DiskImage::default();
    let mut last = 0;
    for round in 0..12u64 {
        let life = Life::start(round, image);
        assert_eq!(life.store.revision(), last, "opening changes nothing");
        assert_eq!(life.store.torn_tail(), None);
        if round > 0 {
            assert_eq!(number(&life.store.snapshot(), "stays"), Some(round - 1));
            assert_eq!(number(&life.store.snapshot(), "goes"), None);
            assert!(
                life.store
                    .subscribe(last)
                    .unwrap()
                    .try_next()
                    .unwrap()
                    .is_empty()
            );
        }
        life.sim.block_on(async {
            let first = life
                .store
                .commit(put("stays", round, Expected::Any))
                .await
                .unwrap();
            assert!(first.revision > last);
            for n in 0..60 {
                life.store
                    .commit(put("goes", n * 10, Expected::Any))
                    .await
                    .unwrap();
            }
            // The last change of each life is a deletion.
            last = life
                .store
                .commit(delete("goes", Expected::Any))
                .await
                .unwrap()
                .revision;
        });
        image = life.end();
    }
    assert!(
        image.files.keys().any(|file| file.starts_with("state-")),
        "checkpoints were written"
    );
    assert!(
        image.files.len() < 6,
        "old segments go: {:?}",
        image.files.keys()
    );
}

#[test]
fn a_watcher_resumes_across_a_restart_without_gap() {
    let life = life();
    let write = |life: &Life, from: u64| {
        life.sim.block_on(async {
            for n in from..from + 20 {
                life.store.commit(put("a", n, Expected::Any)).await.unwrap();
            }
        });
    };
    write(&life, 0);
    let life = Life::start(2, life.end());
    write(&life, 20);
    let mut subscription = life.store.subscribe(5).unwrap();
    let changes = subscription.try_next().unwrap();
    let numbers: Vec<_> = changes
        .iter()
        .map(|change| change.new.as_ref().unwrap().at("spec.number").i64())
        .collect();
    assert_eq!(numbers, (5..40).collect::<Vec<_>>());
    assert!(
        changes
            .windows(2)
            .all(|pair| { pair[1].old.as_ref().unwrap().revision() == pair[0].revision })
    );
    assert!(
        life.store.subscribe(25).is_err(),
        "a revision that never was cannot be resumed from"
    );
}

#[test]
fn a_failed_sync_stops_the_store_for_good() {
    let life = life();
    life.sim.block_on(async {
        life.store
            .commit(put("a", 1, Expected::Absent))
            .await
            .unwrap();
        life.disk.fail_syncs(true);
        let (one, two) = (put("b", 1, Expected::Absent), put("c", 1, Expected::Absent));
        let (one, two) = futures::join!(life.store.commit(one), life.store.commit(two));
        for result in [one, two] {
            assert!(
                matches!(result, Err(CommitError::Stopped(ref why)) if why.contains("disk failed"))
            );
        }
        life.disk.fail_syncs(false);
        let later = life.store.commit(put("d", 1, Expected::Absent)).await;
        assert!(matches!(later, Err(CommitError::Stopped(_))));
        assert!(
            life.store
                .stopped()
                .await
                .contains("simulated medium error")
        );
        assert_eq!(number(&life.store.snapshot(), "a"), Some(1));
        assert_eq!(number(&life.store.snapshot(), "b"), None);
    });
}

#[test]
fn a_closed_store_finishes_what_is_queued_and_refuses_the_rest() {
    let life = life();
    let queued: Vec<_> = (0..600)
        .map(|n| {
            life.store
                .commit(put(&format!("o{n}"), n, Expected::Absent))
        })
        .collect();
    life.sim.block_on(async {
        life.store.close().await;
        for commit in queued {
            commit.await.unwrap();
        }
        assert!(
            life.store
                .commit(put("late", 1, Expected::Any))
                .await
                .is_err()
        );
    });
    assert_eq!(Arc::strong_count(&life.disk), 1, "the disk is let go");
    let life = Life::start(2, life.disk.crash());
    assert_eq!(life.store.snapshot().list("things", None).count(), 600);
}
