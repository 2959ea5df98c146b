//! A disk in memory that takes its time, forgets what was not synced and tears writes.
//!
//! Writes are visible at once and durable when synced. A crash decides the fate of every
//! unsynced one by chance: kept, lost, cut short, or only some of its sectors kept.

use crate::SimEntropy;
use env::{BoxFuture, Disk, Time, World};
use std::{
    collections::BTreeMap,
    future::pending,
    io,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

/// What a disk writes at once: a write is torn between sectors, not inside one.
const SECTOR: usize = 512;

/// How slow a disk is.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskSpeed {
    /// Time of an operation that need not reach the medium.
    pub latency: Duration,
    /// Further time until the medium has it.
    pub sync_latency: Duration,
}

/// What survived on a disk: file names to contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskImage {
    /// The files.
    pub files: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone)]
enum Operation {
    Write(usize, Vec<u8>),
    Prepare(usize, usize),
    Replace(Vec<u8>),
    Remove,
}

impl Operation {
    fn apply(&self, content: &mut Option<Vec<u8>>) {
        match self {
            Self::Write(offset, bytes) => {
                let content = content.get_or_insert_default();
                let end = offset + bytes.len();
                content.resize(content.len().max(end), 0);
                content[*offset..end].copy_from_slice(bytes);
            }
            Self::Prepare(keep, capacity) => {
                let content = content.get_or_insert_default();
                content.truncate(*keep);
                content.resize(content.len().max(*capacity), 0);
            }
            Self::Replace(bytes) => *content = Some(bytes.clone()),
            Self::Remove => *content = None,
        }
    }

    /// What a power failure makes of the operation.
    fn survive(&self, chance: &SimEntropy, content: &mut Option<Vec<u8>>) {
        match (chance.below(4), self) {
            (0, _) => {}
            (1, _) | (_, Self::Replace(_) | Self::Remove) => self.apply(content),
            (2, Self::Write(offset, bytes)) => {
                let kept = chance.below(bytes.len() as u64 + 1) as usize;
                Self::Write(*offset, bytes[..kept].to_vec()).apply(content);
            }
            (_, Self::Write(offset, bytes)) => scatter(chance, *offset, bytes, content),
            (_, Self::Prepare(keep, capacity)) => {
                let reached = keep + chance.below((capacity - keep) as u64 + 1) as usize;
                Self::Prepare(*keep, reached).apply(content);
            }
        }
    }
}

/// Keeps a random choice of the sectors that a write touches.
fn scatter(chance: &SimEntropy, offset: usize, bytes: &[u8], content: &mut Option<Vec<u8>>) {
    let mut at = 0;
    while at < bytes.len() {
        let end = ((offset + at) / SECTOR * SECTOR + SECTOR - offset).min(bytes.len());
        if chance.below(2) == 0 {
            Operation::Write(offset + at, bytes[at..end].to_vec()).apply(content);
        }
        at = end;
    }
}

#[derive(Default)]
struct File {
    current: Option<Vec<u8>>,
    durable: Option<Vec<u8>>,
    unsynced: Vec<Operation>,
}

impl File {
    fn sync(&mut self) {
        for operation in self.unsynced.drain(..) {
            operation.apply(&mut self.durable);
        }
    }
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, File>,
    crashed: bool,
    syncs_fail: bool,
    syncs: u64,
    bytes_written: u64,
}

/// A simulated disk.
pub struct SimDisk {
    world: World,
    chance: SimEntropy,
    speed: DiskSpeed,
    state: Mutex<State>,
}

impl SimDisk {
    /// A disk with what `image` holds. Faults draw from the world's entropy once, here.
    pub fn new(world: World, speed: DiskSpeed, image: DiskImage) -> Arc<Self> {
        let chance = SimEntropy::new(world.entropy.next_u64());
        let mut state = State::default();
        for (name, bytes) in image.files {
            let (current, durable) = (Some(bytes.clone()), Some(bytes));
            state.files.insert(
                name,
                File {
                    current,
                    durable,
                    unsynced: Vec::new(),
                },
            );
        }
        Arc::new(Self {
            world,
            chance,
            speed,
            state: Mutex::new(state),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the disk is sound")
    }

    /// Power failure: operations under way never complete, later ones neither. Returns what
    /// the medium holds.
    pub fn crash(&self) -> DiskImage {
        let mut state = self.lock();
        state.crashed = true;
        let mut image = DiskImage::default();
        for (name, file) in &mut state.files {
            let mut content = file.durable.take();
            for operation in file.unsynced.drain(..) {
                operation.survive(&self.chance, &mut content);
            }
            image
                .files
                .extend(content.map(|content| (name.clone(), content)));
        }
        image
    }

    /// Death of the process only: operations under way never complete, but everything
    /// written so far is kept.
    pub fn kill(&self) -> DiskImage {
        let image = self.image();
        self.lock().crashed = true;
        image
    }

    /// What a reader of the files sees now.
    pub fn image(&self) -> DiskImage {
        let state = self.lock();
        let visible = |(name, file): (&String, &File)| Some((name.clone(), file.current.clone()?));
        DiskImage {
            files: state.files.iter().filter_map(visible).collect(),
        }
    }

    /// From now on, whether every sync fails.
    pub fn fail_syncs(&self, fail: bool) {
        self.lock().syncs_fail = fail;
    }

    /// How many times the medium was waited for.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Bytes written so far.
    pub fn bytes_written(&self) -> u64 {
        self.lock().bytes_written
    }

    async fn wait(&self, duration: Duration) {
        if duration > Duration::ZERO {
            let deadline: Time = self.world.now() + duration;
            self.world.clock.sleep_until(deadline).await;
        }
        if self.lock().crashed {
            pending::<()>().await;
        }
    }

    async fn change(&self, name: &str, operation: Operation, durable: bool) -> io::Result<()> {
        self.wait(Duration::ZERO).await;
        {
            let mut state = self.lock();
            if let Operation::Write(_, bytes) = &operation {
                state.bytes_written += bytes.len() as u64;
            }
            let file = state.files.entry(name.to_owned()).or_default();
            operation.apply(&mut file.current);
            file.unsynced.push(operation);
        }
        self.wait(self.speed.latency).await;
        if !durable {
            return Ok(());
        }
        self.wait(self.speed.sync_latency).await;
        let mut state = self.lock();
        state.syncs += 1;
        if state.syncs_fail {
            return Err(io::Error::other("simulated medium error"));
        }
        state.files.entry(name.to_owned()).or_default().sync();
        Ok(())
    }
}

impl Disk for SimDisk {
    fn list(&self) -> BoxFuture<'_, io::Result<Vec<String>>> {
        Box::pin(async {
            self.wait(self.speed.latency).await;
            Ok(self.image().files.into_keys().collect())
        })
    }

    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<u8>>> {
        Box::pin(async move {
            self.wait(self.speed.latency).await;
            let state = self.lock();
            let content = state.files.get(name).and_then(|file| file.current.clone());
            content.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, name))
        })
    }

    fn prepare<'a>(
        &'a self,
        name: &'a str,
        keep: u64,
        capacity: u64,
    ) -> BoxFuture<'a, io::Result<()>> {
        let operation = Operation::Prepare(keep as usize, capacity.max(keep) as usize);
        Box::pin(self.change(name, operation, true))
    }

    fn write<'a>(
        &'a self,
        name: &'a str,
        offset: u64,
        bytes: Vec<u8>,
        durable: bool,
    ) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.change(name, Operation::Write(offset as usize, bytes), durable))
    }

    fn replace<'a>(&'a self, name: &'a str, bytes: Vec<u8>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.change(name, Operation::Replace(bytes), true))
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.change(name, Operation::Remove, true))
    }
}
