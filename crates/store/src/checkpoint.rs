//! Checkpoints: the whole state in one file, so that the log before it can go.
//!
//! Written in portions beside the log; complete only with its end record.
//! Upstream counterpart: etcd's `snap` and its backend database.

use crate::{
    OpenError, Snapshot,
    codec::{self, FileKind, RecordKind},
    leases::Leases,
};
use env::{Disk, Time};
use std::{io, sync::Arc};

/// Bytes of objects per record: bounds memory while writing.
const PORTION_BYTES: usize = 1 << 20;
const PREFIX: &str = "state-";

/// Name of the checkpoint that contains all records up to `sequence`.
pub(crate) fn name(sequence: u64) -> String {
    format!("{PREFIX}{sequence:016x}")
}

/// Whether `file` is a checkpoint.
pub(crate) fn is_checkpoint(file: &str) -> bool {
    file.starts_with(PREFIX)
}

/// What a checkpoint is taken of.
pub(crate) struct Capture {
    pub(crate) sequence: u64,
    pub(crate) snapshot: Snapshot,
    pub(crate) leases: Leases,
    pub(crate) time: Time,
}

/// Writes a checkpoint; durable when it returns.
pub(crate) async fn write(disk: &Arc<dyn Disk>, capture: &Capture) -> io::Result<()> {
    let file = name(capture.sequence);
    let mut portions = Portions {
        disk,
        file,
        offset: 0,
        number: 0,
        time: capture.time,
    };
    portions.disk.prepare(&portions.file, 0, 0).await?;
    let revision = capture.snapshot.revision;
    portions
        .write(codec::file_header(
            FileKind::Checkpoint,
            capture.sequence,
            revision,
        ))
        .await?;
    let mut payload = Vec::new();
    for (resource, table) in &capture.snapshot.tables {
        for (key, object) in table {
            let lease = capture.leases.get(resource, key);
            codec::put_item(
                &mut payload,
                (resource, key),
                object.revision(),
                lease,
                Some(object),
            );
            if payload.len() >= PORTION_BYTES {
                portions.record(RecordKind::Objects, &payload).await?;
                payload.clear();
            }
        }
    }
    portions.record(RecordKind::Objects, &payload).await?;
    // The state is synced before its end record exists.
    portions
        .disk
        .write(&portions.file, portions.offset, Vec::new(), true)
        .await?;
    portions.record(RecordKind::End, &[]).await?;
    portions
        .disk
        .write(&portions.file, portions.offset, Vec::new(), true)
        .await
}

struct Portions<'a> {
    disk: &'a Arc<dyn Disk>,
    file: String,
    offset: u64,
    number: u64,
    time: Time,
}

impl Portions<'_> {
    async fn write(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let length = bytes.len() as u64;
        self.disk
            .write(&self.file, self.offset, bytes, false)
            .await?;
        self.offset += length;
        Ok(())
    }

    async fn record(&mut self, kind: RecordKind, payload: &[u8]) -> io::Result<()> {
        let bytes = codec::record(kind, self.number, 0, self.time, |out| out.extend(payload));
        self.number += 1;
        self.write(bytes).await
    }
}

/// A checkpoint read back.
pub(crate) struct Loaded {
    pub(crate) sequence: u64,
    pub(crate) snapshot: Snapshot,
    pub(crate) leases: Leases,
}

/// Reads a checkpoint; `None` if it is incomplete.
pub(crate) fn read(file: &str, bytes: &[u8]) -> Result<Option<Loaded>, OpenError> {
    let Some(header) = codec::read_file_header(FileKind::Checkpoint, file, bytes)? else {
        return Ok(None);
    };
    let snapshot = Snapshot {
        revision: header.revision,
        ..Snapshot::default()
    };
    let mut loaded = Loaded {
        sequence: header.sequence,
        snapshot,
        leases: Leases::default(),
    };
    let mut at = header.length;
    for number in 0.. {
        let record = match codec::read_record(bytes, at) {
            Some(record) if record.sequence == number => record,
            _ => return Ok(None),
        };
        if record.kind == RecordKind::End {
            return Ok(Some(loaded));
        }
        if !loaded.add(record.payload, header.foreign.as_deref()) {
            let (file, detail) = (file.into(), "an object cannot be decoded".into());
            return Err(OpenError::Corrupt {
                file,
                offset: at as u64,
                detail,
            });
        }
        at += record.length;
    }
    Ok(None)
}

impl Loaded {
    fn add(&mut self, mut payload: &[u8], foreign: Option<&[String]>) -> bool {
        while !payload.is_empty() {
            let Some(item) = codec::take_item(&mut payload, foreign) else {
                return false;
            };
            let Some(object) = item.object else {
                return false;
            };
            self.leases.set(&item.resource, &item.key, item.lease);
            self.snapshot
                .tables
                .entry(item.resource)
                .or_default()
                .insert(item.key, object);
        }
        true
    }
}
