//! Opening: the newest checkpoint, the log after it, a torn tail cut off, damage refused.
//!
//! The rule that tells the two apart: every record names the last record known to be
//! durable when it was written. A bad record that a later sound one calls durable is
//! damage; otherwise it is a write that never finished.
//! Upstream counterpart: etcd's `wal.ReadAll` and `wal.Repair`.

use crate::{
    Change, OpenError, Snapshot, StoreOptions, TornTail,
    checkpoint::{self, Loaded},
    codec::{self, FileHeader, FileKind},
    leases::Leases,
    log::{Log, Segment, UNSYNCED_REVISIONS, segment_name},
    shared::Start,
    window::Window,
};
use env::{Disk, Time};
use std::sync::Arc;

/// What opening yields.
pub(crate) struct Recovered {
    pub(crate) start: Start,
    pub(crate) log: Log,
    pub(crate) torn: Option<TornTail>,
}

/// Reads everything and leaves the log ready to be appended to.
pub(crate) async fn recover(
    disk: Arc<dyn Disk>,
    options: &StoreOptions,
) -> Result<Recovered, OpenError> {
    let files = disk.list().await?;
    let base = load_checkpoint(&disk, &files).await?;
    let mut replay = Replay::new(base);
    let logs: Vec<_> = files
        .into_iter()
        .filter(|file| file.starts_with("log-"))
        .collect();
    for file in &logs {
        let bytes = disk.read(file).await?;
        replay.segment(file, &bytes)?;
    }
    replay.check_end()?;
    let log = reopen(&disk, options, &logs, &replay).await?;
    let torn = replay.broken.clone().filter(|_| replay.torn);
    let torn = torn.map(|(file, offset)| TornTail { file, offset });
    Ok(Recovered {
        start: replay.start(options),
        log,
        torn,
    })
}

/// The newest complete checkpoint; incomplete ones and older ones are removed.
async fn load_checkpoint(
    disk: &Arc<dyn Disk>,
    files: &[String],
) -> Result<Option<Loaded>, OpenError> {
    let mut found = None;
    for file in files
        .iter()
        .rev()
        .filter(|file| checkpoint::is_checkpoint(file))
    {
        if found.is_none() {
            found = checkpoint::read(file, &disk.read(file).await?)?;
            if found.is_some() {
                continue;
            }
        }
        disk.remove(file).await?;
    }
    Ok(found)
}

/// Prepares the end of the log: cut behind the last good record, then extended.
async fn reopen(
    disk: &Arc<dyn Disk>,
    options: &StoreOptions,
    files: &[String],
    replay: &Replay,
) -> Result<Log, OpenError> {
    let mut log = Log {
        disk: disk.clone(),
        segment_bytes: options.segment_bytes,
        segments: replay.segments.clone(),
        offset: replay.offset,
        capacity: replay.length.max(replay.offset),
        next: replay.next,
        synced: replay.next - 1,
        // What a power failure took is unknown, so the first group must be durable.
        unsynced_revisions: UNSYNCED_REVISIONS,
        since_checkpoint: replay.bytes,
    };
    let known = |file: &&String| log.segments.iter().all(|segment| segment.name != **file);
    for file in files.iter().filter(known) {
        disk.remove(file).await?;
    }
    match log.segments.last() {
        Some(last) if replay.torn => disk.prepare(&last.name, log.offset, log.capacity).await?,
        Some(last) => disk.write(&last.name, log.offset, Vec::new(), true).await?,
        None => log.start_segment().await?,
    }
    Ok(log)
}

/// The state while segments are read in order.
struct Replay {
    snapshot: Snapshot,
    leases: Leases,
    window: Vec<(Time, Arc<Change>)>,
    base: u64,
    /// Records up to this one are in the checkpoint.
    covered: u64,
    /// Next record expected; before the first segment, unknown.
    next: u64,
    segments: Vec<Segment>,
    /// End of the good records in the last segment, and the file's length.
    offset: u64,
    length: u64,
    bytes: u64,
    /// Whether something other than zeroes follows the good records.
    torn: bool,
    /// Where the good records of the last segment end.
    broken: Option<(String, u64)>,
}

impl Replay {
    fn new(base: Option<Loaded>) -> Self {
        let (covered, snapshot, leases) = base.map_or_else(Default::default, |loaded| {
            (loaded.sequence, loaded.snapshot, loaded.leases)
        });
        Self {
            base: snapshot.revision,
            snapshot,
            leases,
            window: Vec::new(),
            covered,
            next: covered + 1,
            segments: Vec::new(),
            offset: 0,
            length: 0,
            bytes: 0,
            torn: false,
            broken: None,
        }
    }

    /// Reads one segment.
    fn segment(&mut self, file: &str, bytes: &[u8]) -> Result<(), OpenError> {
        let Some(header) = codec::read_file_header(FileKind::Log, file, bytes)? else {
            // A header is durable before any record, so records without one mean damage.
            return match codec::search_records(bytes, 0).next() {
                Some(_) => Err(corrupt(file, 0, "the header is unreadable")),
                None => Ok(()),
            };
        };
        self.check_start(file, &header)?;
        self.segments.push(Segment {
            first: header.sequence,
            name: file.into(),
        });
        self.next = header.sequence;
        let end = self.records(file, &header, bytes)?;
        self.offset = end as u64;
        self.length = bytes.len() as u64;
        self.check_tail(file, bytes, end)
    }

    /// A segment must begin where the log before it ended.
    fn check_start(&self, file: &str, header: &FileHeader) -> Result<(), OpenError> {
        if file != segment_name(header.sequence) {
            return Err(corrupt(file, 0, "the file was renamed"));
        }
        let first = self.segments.is_empty();
        if header.sequence == self.next || (first && header.sequence < self.next) {
            return Ok(());
        }
        // A segment is started only after everything before it is durable.
        Err(match &self.broken {
            Some((file, offset)) => corrupt(file, *offset, "a record is damaged"),
            None => corrupt(file, 0, "the log before this segment is missing"),
        })
    }

    /// Applies the good records and returns where they end.
    fn records(
        &mut self,
        file: &str,
        header: &FileHeader,
        bytes: &[u8],
    ) -> Result<usize, OpenError> {
        let mut at = header.length;
        while let Some(record) = codec::read_record(bytes, at) {
            if record.sequence != self.next {
                break;
            }
            if record.sequence > self.covered
                && !self.apply(record.payload, record.time, header.foreign.as_deref())
            {
                return Err(corrupt(file, at as u64, "an object cannot be decoded"));
            }
            self.next += 1;
            self.bytes += record.length as u64;
            at += record.length;
        }
        Ok(at)
    }

    /// Looks at what follows the good records of a segment.
    fn check_tail(&mut self, file: &str, bytes: &[u8], end: usize) -> Result<(), OpenError> {
        let offset = end as u64;
        if codec::search_records(bytes, end).any(|record| record.synced >= self.next) {
            return Err(corrupt(file, offset, "a record is damaged"));
        }
        self.broken = Some((file.into(), offset));
        self.torn = bytes[end..].iter().any(|byte| *byte != 0);
        Ok(())
    }

    /// The log must reach at least as far as the checkpoint did.
    fn check_end(&self) -> Result<(), OpenError> {
        if self.next > self.covered && (self.covered == 0 || !self.segments.is_empty()) {
            return Ok(());
        }
        let (file, offset) = self.broken.clone().unwrap_or((segment_name(self.next), 0));
        Err(corrupt(&file, offset, "the log ends before its checkpoint"))
    }

    fn apply(&mut self, mut payload: &[u8], time: Time, foreign: Option<&[String]>) -> bool {
        while !payload.is_empty() {
            let Some(item) = codec::take_item(&mut payload, foreign) else {
                return false;
            };
            let old = self.snapshot.get(&item.resource, &item.key).cloned();
            self.leases.set(&item.resource, &item.key, item.lease);
            let change = Change {
                revision: item.revision,
                resource: item.resource,
                key: item.key,
                old,
                new: item.object,
            };
            self.snapshot.apply(&change);
            self.window.push((time, Arc::new(change)));
        }
        true
    }

    fn start(self, options: &StoreOptions) -> Start {
        let now = self.window.last().map_or(Time(0), |(time, _)| *time);
        let mut window = Window::new(self.base);
        for (time, change) in self.window {
            window.push(time, change);
        }
        window.trim(now, options);
        let revision = self.snapshot.revision;
        let next_revision = if revision == 0 {
            1
        } else {
            revision + UNSYNCED_REVISIONS + 1
        };
        Start {
            snapshot: self.snapshot,
            next_revision,
            window,
            leases: self.leases,
        }
    }
}

fn corrupt(file: &str, offset: u64, detail: &str) -> OpenError {
    OpenError::Corrupt {
        file: file.into(),
        offset,
        detail: detail.into(),
    }
}
