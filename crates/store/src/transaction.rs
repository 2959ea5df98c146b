//! What a caller asks the store to change, and what it gets back.
//!
//! Upstream counterpart: etcd's `Txn` with compares on `mod_revision`.

use crate::{Change, Key};
use env::Time;
use machinery::{Object, SmolStr, Value, flat};
use std::{fmt, sync::Arc};

/// What must hold of an object for an operation to go ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It does not exist.
    Absent,
    /// It exists and was last written by this revision.
    Revision(u64),
    /// Nothing.
    Any,
}

/// The new state of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Flat bytes of the whole object without `metadata.resourceVersion`.
    Put(Vec<u8>),
    /// Removal. Removing what is absent (with [`Expected::Any`]) changes nothing.
    Delete,
}

impl Write {
    /// A put of a tree. The caller has removed `metadata.resourceVersion`.
    pub fn put(value: &Value) -> Self {
        debug_assert!(
            value.at(&["metadata", "resourceVersion"]).is_null(),
            "the revision is kept beside the bytes"
        );
        Self::Put(flat::encode(value))
    }
}

/// One object's part of a transaction.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Plural name, with `.group` unless core.
    pub resource: SmolStr,
    /// Which object.
    pub key: Key,
    /// Precondition against the latest accepted state.
    pub expected: Expected,
    /// New state.
    pub write: Write,
    /// When the object removes itself; a put without it lifts an earlier lease.
    pub lease: Option<Time>,
}

impl Operation {
    /// An operation without lease.
    pub fn new(resource: impl Into<SmolStr>, key: Key, expected: Expected, write: Write) -> Self {
        Self {
            resource: resource.into(),
            key,
            expected,
            write,
            lease: None,
        }
    }
}

/// When a commit is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Written to the operating system: survives the process, not a power failure.
    Relaxed,
    /// On the medium.
    #[default]
    Durable,
}

/// Operations that happen all or not at all. Each change gets its own revision; they are
/// consecutive and become visible in one step.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// The operations, in order; later ones see earlier ones.
    pub operations: Vec<Operation>,
    /// When it is acknowledged.
    pub durability: Durability,
}

impl Transaction {
    /// A durable transaction of one operation.
    pub fn single(operation: Operation) -> Self {
        Self {
            operations: vec![operation],
            durability: Durability::Durable,
        }
    }

    /// The same with relaxed durability.
    pub fn relaxed(mut self) -> Self {
        self.durability = Durability::Relaxed;
        self
    }
}

impl From<Operation> for Transaction {
    fn from(operation: Operation) -> Self {
        Self::single(operation)
    }
}

/// A transaction that has happened and is visible.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Revision of the last change (of the latest accepted state if nothing changed).
    pub revision: u64,
    /// The changes, in order.
    pub changes: Vec<Arc<Change>>,
}

/// Why a transaction did not happen.
#[derive(Clone, Debug)]
pub enum CommitError {
    /// A precondition does not hold; nothing was changed.
    Mismatch {
        /// Index of the operation.
        operation: usize,
        /// The latest accepted state of its object.
        current: Option<Arc<Object>>,
    },
    /// The store has stopped: closed, or its disk failed. Whether the transaction is on
    /// disk is unknown if it was accepted before.
    Stopped(Arc<str>),
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mismatch { operation, current } => {
                let current = current.as_ref().map_or(0, |object| object.revision());
                write!(
                    f,
                    "precondition of operation {operation} does not hold: the object is at revision {current}"
                )
            }
            Self::Stopped(reason) => write!(f, "the store has stopped: {reason}"),
        }
    }
}
impl std::error::Error for CommitError {}
