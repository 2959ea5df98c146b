//! The log's growing end: one segment at a time, prepared ahead of the writes.
//!
//! Knows sequence numbers and segments, not what the records mean.
//! Upstream counterpart: etcd's `wal.WAL`.

use crate::codec::{self, FileKind, RecordKind};
use env::{Disk, Time};
use std::{io, sync::Arc};

/// First preparation of a segment; it doubles from there, so that a small store stays small.
const FIRST_CAPACITY: u64 = 1 << 20;
/// Revisions that may be visible without being synced. On opening, this many revisions
/// after the last one found are skipped, so that none is ever used twice.
pub(crate) const UNSYNCED_REVISIONS: u64 = 10_000;

/// Name of the segment whose first record is `sequence`.
pub(crate) fn segment_name(sequence: u64) -> String {
    format!("log-{sequence:016x}")
}

/// One segment: first record and name.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) first: u64,
    pub(crate) name: String,
}

/// The writable end of the log.
pub(crate) struct Log {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) segment_bytes: u64,
    /// Segments in order; the last is written to.
    pub(crate) segments: Vec<Segment>,
    pub(crate) offset: u64,
    pub(crate) capacity: u64,
    /// Number of the next record.
    pub(crate) next: u64,
    /// Number of the last record known to be durable.
    pub(crate) synced: u64,
    /// Revisions written since the last sync.
    pub(crate) unsynced_revisions: u64,
    /// Log bytes written since the last checkpoint.
    pub(crate) since_checkpoint: u64,
}

impl Log {
    /// Appends one group's record; `revisions` is how many it contains.
    pub(crate) async fn append(
        &mut self,
        durable: bool,
        revisions: u64,
        time: Time,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> io::Result<()> {
        let unsynced = self.unsynced_revisions + revisions;
        let durable = durable || unsynced > UNSYNCED_REVISIONS;
        let bytes = codec::record(RecordKind::Group, self.next, self.synced, time, fill);
        let length = bytes.len() as u64;
        self.make_room(length).await?;
        let name = &self.segments.last().expect("a log has a segment").name;
        self.disk.write(name, self.offset, bytes, durable).await?;
        self.unsynced_revisions = if durable { 0 } else { unsynced };
        if durable {
            self.synced = self.next;
        }
        self.next += 1;
        self.offset += length;
        self.since_checkpoint += length;
        Ok(())
    }

    /// Makes everything written so far durable.
    pub(crate) async fn sync(&mut self) -> io::Result<()> {
        if self.synced + 1 < self.next {
            let name = &self.segments.last().expect("a log has a segment").name;
            self.disk.write(name, self.offset, Vec::new(), true).await?;
            self.synced = self.next - 1;
            self.unsynced_revisions = 0;
        }
        Ok(())
    }

    /// Extends the segment or starts the next one so that `length` bytes fit.
    async fn make_room(&mut self, length: u64) -> io::Result<()> {
        let end = self.offset + length;
        if end <= self.capacity {
            return Ok(());
        }
        let segment = self.segments.last().expect("a log has a segment");
        if end <= self.segment_bytes || self.next == segment.first {
            let doubled = (self.capacity * 2).min(self.segment_bytes);
            self.capacity = doubled.max(end);
            return self
                .disk
                .prepare(&segment.name, self.offset, self.capacity)
                .await;
        }
        // Every record of a segment is durable before its successor exists: recovery relies on it.
        self.sync().await?;
        self.start_segment().await?;
        self.capacity = self.capacity.max(self.offset + length);
        let name = &self
            .segments
            .last()
            .expect("a segment was just started")
            .name;
        self.disk.prepare(name, self.offset, self.capacity).await
    }

    /// Creates the segment of the next record.
    pub(crate) async fn start_segment(&mut self) -> io::Result<()> {
        let name = segment_name(self.next);
        let header = codec::file_header(FileKind::Log, self.next, 0);
        self.offset = header.len() as u64;
        self.capacity = FIRST_CAPACITY.min(self.segment_bytes).max(self.offset);
        self.disk.prepare(&name, 0, self.capacity).await?;
        self.disk.write(&name, 0, header, true).await?;
        self.segments.push(Segment {
            first: self.next,
            name,
        });
        Ok(())
    }

    /// Forgets the segments that a checkpoint containing record `covered` makes superfluous.
    pub(crate) fn forget_through(&mut self, covered: u64) -> Vec<String> {
        let keep = self
            .segments
            .iter()
            .rposition(|segment| segment.first <= covered + 1);
        self.segments
            .drain(..keep.unwrap_or(0))
            .map(|segment| segment.name)
            .collect()
    }
}
