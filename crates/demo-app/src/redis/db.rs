//! The keys and their values. Time comes in as an argument, in milliseconds since 1970.

use std::collections::{BTreeMap, VecDeque};

/// What every command says to a value of another type.
pub const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

/// Bytes of a key or a value.
pub type Bytes = Vec<u8>;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Text(Bytes),
    /// A list.
    List(VecDeque<Bytes>),
    /// Fields and their values.
    Hash(BTreeMap<Bytes, Bytes>),
}

/// A value and when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Value,
    /// Milliseconds since 1970.
    pub expires: Option<u64>,
}

/// The database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Db {
    /// All entries, ended ones included until somebody looks.
    pub entries: BTreeMap<Bytes, Entry>,
}

impl Db {
    /// The live entry of a key.
    pub fn get(&mut self, key: &[u8], now: u64) -> Option<&mut Entry> {
        let ended = self.entries.get(key)?.expires.is_some_and(|end| end <= now);
        if ended {
            self.entries.remove(key);
        }
        self.entries.get_mut(key)
    }

    /// Forgets all that has ended.
    pub fn sweep(&mut self, now: u64) {
        self.entries
            .retain(|_, entry| entry.expires.is_none_or(|end| end > now));
    }

    /// The string of a key.
    pub fn text(&mut self, key: &[u8], now: u64) -> Result<Option<&mut Bytes>, String> {
        match self.get(key, now).map(|entry| &mut entry.value) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(WRONG_TYPE.to_owned()),
        }
    }

    /// The list of a key, made when absent if `make`.
    pub fn list(
        &mut self,
        key: &[u8],
        now: u64,
        make: bool,
    ) -> Result<Option<&mut VecDeque<Bytes>>, String> {
        match self.slot(key, now, make.then(|| Value::List(VecDeque::new()))) {
            None => Ok(None),
            Some(Value::List(list)) => Ok(Some(list)),
            Some(_) => Err(WRONG_TYPE.to_owned()),
        }
    }

    /// The hash of a key, made when absent if `make`.
    pub fn hash(
        &mut self,
        key: &[u8],
        now: u64,
        make: bool,
    ) -> Result<Option<&mut BTreeMap<Bytes, Bytes>>, String> {
        match self.slot(key, now, make.then(|| Value::Hash(BTreeMap::new()))) {
            None => Ok(None),
            Some(Value::Hash(hash)) => Ok(Some(hash)),
            Some(_) => Err(WRONG_TYPE.to_owned()),
        }
    }

    fn slot(&mut self, key: &[u8], now: u64, fresh: Option<Value>) -> Option<&mut Value> {
        if let Some(value) = fresh
            && self.get(key, now).is_none()
        {
            self.set(key, value, None);
        }
        self.get(key, now).map(|entry| &mut entry.value)
    }

    /// Sets a key.
    pub fn set(&mut self, key: &[u8], value: Value, expires: Option<u64>) {
        self.entries.insert(key.to_vec(), Entry { value, expires });
    }

    /// Removes a key whose list or hash has become empty.
    pub fn drop_empty(&mut self, key: &[u8]) {
        let empty = match self.entries.get(key).map(|entry| &entry.value) {
            Some(Value::List(list)) => list.is_empty(),
            Some(Value::Hash(hash)) => hash.is_empty(),
            _ => false,
        };
        if empty {
            self.entries.remove(key);
        }
    }
}
