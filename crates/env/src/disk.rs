//! The disk as the store sees it: one directory of files, appended durably or replaced whole.
//!
//! Upstream counterpart: the `wal` and `snap` file access inside etcd.

use crate::BoxFuture;
use std::io;

/// One directory on a disk, held exclusively by its owner.
///
/// Offsets and lengths are bytes. Every future that returns `Ok` from a mutating call
/// promises that the effect survives a power loss, save for writes that are not `durable`.
/// After an error of a durable call nothing is known about what reached the medium.
pub trait Disk: Send + Sync {
    /// Names of all files, sorted.
    fn list(&self) -> BoxFuture<'_, io::Result<Vec<String>>>;
    /// The whole content of a file.
    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<u8>>>;
    /// Creates or opens `name`, cuts it to `keep` bytes and extends it with zeroes to
    /// `capacity`, so that later appends change data but not metadata. What is kept becomes
    /// durable.
    fn prepare<'a>(
        &'a self,
        name: &'a str,
        keep: u64,
        capacity: u64,
    ) -> BoxFuture<'a, io::Result<()>>;
    /// Writes `bytes` at `offset`, extending the file if need be. `durable` waits until this
    /// and all earlier writes of the file are on the medium (with no bytes it only waits);
    /// otherwise the write may still be lost or torn by a power failure, but not by a crash
    /// of the process.
    fn write<'a>(
        &'a self,
        name: &'a str,
        offset: u64,
        bytes: Vec<u8>,
        durable: bool,
    ) -> BoxFuture<'a, io::Result<()>>;
    /// Replaces `name` atomically by `bytes` (temporary file, sync, rename, directory sync).
    fn replace<'a>(&'a self, name: &'a str, bytes: Vec<u8>) -> BoxFuture<'a, io::Result<()>>;
    /// Removes a file; succeeds if it is not there.
    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<()>>;
}
