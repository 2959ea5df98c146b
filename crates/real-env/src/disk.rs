//! A directory as the store's disk: blocking calls on two threads of its own.
//!
//! One thread writes the log, so that nothing else delays it; the other does everything
//! that concerns other files. Upstream counterpart: etcd's `wal` file pipeline.

use crate::files::{self, Files};
use env::{BoxFuture, Disk};
use futures::channel::oneshot;
use std::{
    fs::File,
    io,
    path::Path,
    sync::{Arc, mpsc},
    thread,
};

/// Files whose names start so are written by the thread that does nothing else.
const LOG_PREFIX: &str = "log-";

type Job = Box<dyn FnOnce(&mut Files) + Send>;

/// A directory, locked against other processes for as long as this exists.
pub struct RealDisk {
    log: mpsc::Sender<Job>,
    other: mpsc::Sender<Job>,
    // Declared last: the lock goes after the threads have been told to end.
    _lock: Arc<File>,
}

impl RealDisk {
    /// Opens (or creates) and locks `directory`.
    pub fn open(directory: &Path) -> io::Result<Arc<Self>> {
        let lock = Arc::new(files::open_directory(directory)?);
        let start = |name: &str| start_thread(name, directory, lock.clone());
        Ok(Arc::new(Self {
            log: start("disk-log")?,
            other: start("disk")?,
            _lock: lock.clone(),
        }))
    }

    fn run<T: Send + 'static>(
        &self,
        name: &str,
        job: impl FnOnce(&mut Files) -> io::Result<T> + Send + 'static,
    ) -> BoxFuture<'_, io::Result<T>> {
        let (done, result) = oneshot::channel();
        let queue = if name.starts_with(LOG_PREFIX) {
            &self.log
        } else {
            &self.other
        };
        let job: Job = Box::new(move |files| {
            // Nobody waits any more if the caller was dropped; the effect stands.
            let _ = done.send(job(files));
        });
        let ended = || io::Error::other("the disk's thread has ended");
        let sent = queue.send(job);
        Box::pin(async move {
            sent.map_err(|_| ended())?;
            result.await.unwrap_or_else(|_| Err(ended()))
        })
    }
}

/// A thread that works through jobs until nobody can send any. It shares the directory's
/// lock, so that the lock is not given up while a last job runs.
fn start_thread(name: &str, directory: &Path, lock: Arc<File>) -> io::Result<mpsc::Sender<Job>> {
    let (sender, jobs) = mpsc::channel::<Job>();
    let mut files = Files::new(directory.to_owned());
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            for job in jobs {
                job(&mut files);
            }
            drop(lock);
        })?;
    Ok(sender)
}

impl Disk for RealDisk {
    fn list(&self) -> BoxFuture<'_, io::Result<Vec<String>>> {
        self.run("", |files| files.list())
    }

    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<u8>>> {
        let owned = name.to_owned();
        self.run(name, move |files| files.read(&owned))
    }

    fn prepare<'a>(
        &'a self,
        name: &'a str,
        keep: u64,
        capacity: u64,
    ) -> BoxFuture<'a, io::Result<()>> {
        let owned = name.to_owned();
        self.run(name, move |files| files.prepare(&owned, keep, capacity))
    }

    fn write<'a>(
        &'a self,
        name: &'a str,
        offset: u64,
        bytes: Vec<u8>,
        durable: bool,
    ) -> BoxFuture<'a, io::Result<()>> {
        let owned = name.to_owned();
        self.run(name, move |files| {
            files.write(&owned, offset, &bytes, durable)
        })
    }

    fn replace<'a>(&'a self, name: &'a str, bytes: Vec<u8>) -> BoxFuture<'a, io::Result<()>> {
        let owned = name.to_owned();
        self.run(name, move |files| files.replace(&owned, &bytes))
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<()>> {
        let (owned, open) = (name.to_owned(), name.to_owned());
        Box::pin(async move {
            self.run(name, move |files| files.close(&open)).await?;
            // Off the log's thread even for a log file: removing a large one takes a while.
            self.run("", move |files| files.remove(&owned)).await
        })
    }
}
