//! Limits of a store and why opening one can fail.
//!
//! Upstream counterpart: etcd's `--auto-compaction-retention`, `--snapshot-count`, WAL segment size.

use std::{fmt, io, time::Duration};

/// Size of a log segment, in bytes: large enough that preallocating one is rare.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// Log bytes after which the state is written to a checkpoint and old segments are dropped.
pub const CHECKPOINT_BYTES: u64 = 128 << 20;
/// How long a change stays readable for late watchers (etcd's compaction interval of the API server).
pub const RETAIN_FOR: Duration = Duration::from_secs(300);
/// Changes kept however old they are, so that a quiet cluster's watchers resume after hours.
pub const RETAIN_AT_LEAST: usize = 1_000;
/// Changes kept at most however young they are.
pub const RETAIN_AT_MOST: usize = 100_000;
/// Bytes of superseded object states kept alive by the change window at most.
pub const RETAIN_BYTES: usize = 64 << 20;

/// Limits of a store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Size of a log segment in bytes.
    pub segment_bytes: u64,
    /// Log bytes after which a checkpoint is written.
    pub checkpoint_bytes: u64,
    /// Age after which changes leave the window.
    pub retain_for: Duration,
    /// Number of changes that never leave because of age.
    pub retain_at_least: usize,
    /// Number of changes in the window at most.
    pub retain_at_most: usize,
    /// Bytes of superseded states in the window at most.
    pub retain_bytes: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES,
            checkpoint_bytes: CHECKPOINT_BYTES,
            retain_for: RETAIN_FOR,
            retain_at_least: RETAIN_AT_LEAST,
            retain_at_most: RETAIN_AT_MOST,
            retain_bytes: RETAIN_BYTES,
        }
    }
}

/// A log tail that was cut off on opening: the last write before a crash never finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Log segment.
    pub file: String,
    /// Byte offset it was cut at.
    pub offset: u64,
}

/// Why a store could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// A record that was once durable is damaged; serving would lose acknowledged writes.
    Corrupt {
        /// Damaged file.
        file: String,
        /// Byte offset of the damage.
        offset: u64,
        /// What is wrong there.
        detail: String,
    },
    /// The files were written by a newer version of the format.
    Version {
        /// File.
        file: String,
        /// Its format version.
        found: u32,
    },
    /// The disk failed.
    Disk(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt {
                file,
                offset,
                detail,
            } => write!(
                f,
                "store file {file} is damaged at byte {offset} ({detail}); restore it from a backup or move the data directory away"
            ),
            Self::Version { file, found } => {
                write!(
                    f,
                    "store file {file} has format version {found}, written by a newer release"
                )
            }
            Self::Disk(error) => write!(f, "store disk: {error}"),
        }
    }
}
impl std::error::Error for OpenError {}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}
