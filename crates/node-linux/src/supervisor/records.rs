//! The supervisor's memory on disk: one JSON file per sandbox and container, replaced atomically.

use crate::{
    layout::Layout,
    spec::{ContainerRecord, SandboxRecord},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

const SANDBOX_FILE: &str = "sandbox.json";
const CONTAINER_FILE: &str = "container.json";

fn save(directory: &Path, name: &str, record: &impl Serialize) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let temporary = directory.join(format!("{name}.new"));
    fs::write(&temporary, serde_json::to_vec(record)?)?;
    fs::rename(temporary, directory.join(name))
}

/// All readable records below `parent`, and the directories that have none.
fn load<T: DeserializeOwned>(parent: &Path, name: &str) -> (Vec<T>, Vec<PathBuf>) {
    let (mut records, mut strays) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let bytes = fs::read(entry.path().join(name)).ok();
        match bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            Some(record) => records.push(record),
            None => strays.push(entry.path()),
        }
    }
    (records, strays)
}

/// Writes a sandbox's record.
pub fn save_sandbox(layout: &Layout, record: &SandboxRecord) -> io::Result<()> {
    save(&layout.sandbox(&record.spec.id), SANDBOX_FILE, record)
}

/// Writes a container's record.
pub fn save_container(layout: &Layout, record: &ContainerRecord) -> io::Result<()> {
    save(&layout.container(&record.spec.id), CONTAINER_FILE, record)
}

/// All sandboxes on record, and directories without one.
pub fn load_sandboxes(layout: &Layout) -> (Vec<SandboxRecord>, Vec<PathBuf>) {
    load(&layout.sandboxes(), SANDBOX_FILE)
}

/// All containers on record, and directories without one.
pub fn load_containers(layout: &Layout) -> (Vec<ContainerRecord>, Vec<PathBuf>) {
    load(&layout.containers(), CONTAINER_FILE)
}
