//! A process that is killed in the middle of writing has lost nothing it acknowledged.
//!
//! The test starts itself as the process to be killed.

use machinery::json;
use real_env::{RealDisk, real_world};
use std::{
    collections::BTreeSet,
    env,
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};
use store::{Expected, Key, Operation, Store, StoreOptions, Write};
use tokio::runtime::Handle;

/// Tells the child which directory to write to.
const DIRECTORY: &str = "STORE_KILL_TEST_DIRECTORY";
const WRITERS: u64 = 16;
const ROUNDS: u64 = 24;
/// Acknowledgements to wait for before the kill.
const ACKNOWLEDGEMENTS: usize = 300;

async fn open(directory: &Path) -> Arc<Store> {
    let options = StoreOptions {
        segment_bytes: 256 << 10,
        checkpoint_bytes: 512 << 10,
        ..StoreOptions::default()
    };
    let disk = RealDisk::open(directory).unwrap();
    Store::open(&real_world(Handle::current()), disk, options)
        .await
        .unwrap()
}

async fn write_for_ever(store: Arc<Store>, writer: u64) {
    let start = store.revision();
    for number in 0.. {
        let name = format!("w{writer}-{start}-{number}");
        let value = json!({"metadata": {"name": name.as_str()}, "data": "x".repeat(500)});
        let operation = Operation::new(
            "things",
            Key::new("", &name),
            Expected::Absent,
            Write::put(&value),
        );
        let committed = store.commit(operation).await.unwrap();
        let line = format!("{} {name}\n", committed.revision);
        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    }
}

/// Not a test of its own: what the killed process runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test below"]
async fn child() {
    let Some(directory) = env::var_os(DIRECTORY) else {
        return;
    };
    let store = open(Path::new(&directory)).await;
    let writers = (0..WRITERS).map(|writer| tokio::spawn(write_for_ever(store.clone(), writer)));
    futures::future::join_all(writers).await;
}

/// Runs the child, kills it while it writes, and returns the acknowledgements it gave.
fn run_and_kill(directory: &Path) -> Vec<(u64, String)> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut acknowledged = Vec::new();
    let mut line = String::new();
    let mut killed = false;
    while lines.read_line(&mut line).unwrap() > 0 {
        // The last line may be cut; the test harness prints some of its own.
        if let Some((revision, name)) = line.strip_suffix('\n').and_then(|l| l.split_once(' '))
            && let Ok(revision) = revision.parse()
        {
            acknowledged.push((revision, name.to_owned()));
        }
        line.clear();
        if acknowledged.len() >= ACKNOWLEDGEMENTS && !killed {
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    assert!(killed, "the child ended by itself");
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_loses_nothing_acknowledged() {
    let name = format!("kill-{}", std::process::id());
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    // It may not exist, which is just as good.
    let _ = std::fs::remove_dir_all(&directory);
    let mut revisions = BTreeSet::new();
    let mut names = Vec::new();
    for round in 0..ROUNDS {
        for (revision, name) in run_and_kill(&directory) {
            assert!(
                revisions.insert(revision),
                "revision {revision} was used twice"
            );
            names.push((revision, name));
        }
        let store = open(&directory).await;
        let snapshot = store.snapshot();
        for (revision, name) in &names {
            let object = snapshot.get("things", &Key::new("", name));
            let found = object.map(|object| object.revision());
            assert_eq!(found, Some(*revision), "round {round}: {name}");
        }
        store.close().await;
        drop(store);
        // The disk's threads let go of the lock a moment later.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(names.len() >= ACKNOWLEDGEMENTS * ROUNDS as usize);
    std::fs::remove_dir_all(directory).unwrap();
}
