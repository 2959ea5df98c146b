//! Bytes of the store's files: a header with the string dictionary, then checksummed records.
//!
//! Pure functions; no disk. Everything is little-endian and records start at multiples of
//! eight bytes. Upstream counterpart: etcd's `walpb` and `snappb`.

use crate::{Key, OpenError};
use env::Time;
use machinery::{Object, SmolStr, flat};
use std::sync::Arc;

/// Version of the file format; older ones are read, newer ones refused.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// Fixed part of the file header.
const FILE_HEADER: usize = 40;
/// Header of a record.
pub(crate) const RECORD_HEADER: usize = 40;
/// Start of every record; also what a search for records after damage looks for.
const RECORD_MAGIC: u32 = 0x4345_5258;
/// Alignment of records.
const ALIGNMENT: usize = 8;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// Log segment.
    Log,
    /// Checkpoint of the whole state.
    Checkpoint,
}

impl FileKind {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Log => b"XEBECLOG",
            Self::Checkpoint => b"XEBECSNP",
        }
    }
}

/// The decoded header of a file.
#[derive(Debug)]
pub(crate) struct FileHeader {
    /// Log: number of its first record. Checkpoint: number of the last record it contains.
    pub(crate) sequence: u64,
    /// Checkpoint: revision of the state.
    pub(crate) revision: u64,
    /// Words of the writer's dictionary if they differ from this binary's.
    pub(crate) foreign: Option<Vec<String>>,
    /// Where records begin.
    pub(crate) length: usize,
}

fn align(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Encodes a file header.
pub(crate) fn file_header(kind: FileKind, sequence: u64, revision: u64) -> Vec<u8> {
    let words = flat::dictionary().join("\n");
    let mut bytes = Vec::with_capacity(FILE_HEADER + words.len() + ALIGNMENT);
    bytes.extend(kind.magic());
    bytes.extend([0; 4]);
    bytes.extend(FORMAT_VERSION.to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    bytes.extend(revision.to_le_bytes());
    bytes.extend((words.len() as u64).to_le_bytes());
    bytes.extend(words.as_bytes());
    align(&mut bytes);
    let crc = crc32fast::hash(&bytes[12..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Decodes a file header; `Ok(None)` if there is no sound one.
pub(crate) fn read_file_header(
    kind: FileKind,
    file: &str,
    bytes: &[u8],
) -> Result<Option<FileHeader>, OpenError> {
    let Some(header) = sound_file_header(kind, bytes) else {
        return Ok(None);
    };
    match u32_at(bytes, 12) {
        Some(found) if found > FORMAT_VERSION => Err(OpenError::Version {
            file: file.into(),
            found,
        }),
        _ => Ok(Some(header)),
    }
}

fn sound_file_header(kind: FileKind, bytes: &[u8]) -> Option<FileHeader> {
    let words_length = usize::try_from(u64_at(bytes, 32)?).ok()?;
    let end = FILE_HEADER.checked_add(words_length)?;
    let words = bytes.get(FILE_HEADER..end)?;
    let length = end.next_multiple_of(ALIGNMENT);
    let sound = bytes.starts_with(kind.magic())
        && u32_at(bytes, 8)? == crc32fast::hash(bytes.get(12..length)?);
    if !sound {
        return None;
    }
    let words = std::str::from_utf8(words).ok()?;
    let own = words.split('\n').eq(flat::dictionary().iter().copied());
    Some(FileHeader {
        sequence: u64_at(bytes, 16)?,
        revision: u64_at(bytes, 24)?,
        foreign: (!own).then(|| words.split('\n').map(str::to_owned).collect()),
        length,
    })
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum RecordKind {
    /// A group of transactions.
    Group = 1,
    /// Some objects of a checkpoint.
    Objects = 2,
    /// The end of a complete checkpoint.
    End = 3,
}

/// A decoded record.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) kind: RecordKind,
    /// Consecutive number.
    pub(crate) sequence: u64,
    /// Number of the last record known to be durable when this one was written.
    pub(crate) synced: u64,
    /// When it was written.
    pub(crate) time: Time,
    pub(crate) payload: &'a [u8],
    /// Bytes it occupies.
    pub(crate) length: usize,
}

/// Encodes a record around a payload that `fill` appends.
pub(crate) fn record(
    kind: RecordKind,
    sequence: u64,
    synced: u64,
    time: Time,
    fill: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4096);
    bytes.extend(RECORD_MAGIC.to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend((kind as u32).to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    bytes.extend(synced.to_le_bytes());
    bytes.extend(time.0.to_le_bytes());
    fill(&mut bytes);
    let payload = u32::try_from(bytes.len() - RECORD_HEADER).expect("a record is below 4 GiB");
    bytes[8..12].copy_from_slice(&payload.to_le_bytes());
    align(&mut bytes);
    let crc = crc32fast::hash(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The record that starts at `at`, if a sound one does.
pub(crate) fn read_record(bytes: &[u8], at: usize) -> Option<Record<'_>> {
    let bytes = bytes.get(at..)?;
    if u32_at(bytes, 0)? != RECORD_MAGIC {
        return None;
    }
    let payload = usize::try_from(u32_at(bytes, 8)?).ok()?;
    let length = (RECORD_HEADER + payload).next_multiple_of(ALIGNMENT);
    if u32_at(bytes, 4)? != crc32fast::hash(bytes.get(8..length)?) {
        return None;
    }
    let kind = match u32_at(bytes, 12)? {
        1 => RecordKind::Group,
        2 => RecordKind::Objects,
        3 => RecordKind::End,
        _ => return None,
    };
    Some(Record {
        kind,
        sequence: u64_at(bytes, 16)?,
        synced: u64_at(bytes, 24)?,
        time: Time(u64_at(bytes, 32)?),
        payload: &bytes[RECORD_HEADER..RECORD_HEADER + payload],
        length,
    })
}

/// All sound records at or after `at`, wherever they start.
pub(crate) fn search_records(bytes: &[u8], at: usize) -> impl Iterator<Item = Record<'_>> {
    let magic = RECORD_MAGIC.to_le_bytes();
    let start = at.next_multiple_of(ALIGNMENT).min(bytes.len());
    bytes[start..]
        .chunks(ALIGNMENT)
        .enumerate()
        .filter(move |(_, chunk)| chunk.starts_with(&magic))
        .filter_map(move |(index, _)| read_record(bytes, start + index * ALIGNMENT))
}

/// One object's state inside a record.
pub(crate) struct Item {
    pub(crate) revision: u64,
    pub(crate) resource: SmolStr,
    pub(crate) key: Key,
    pub(crate) lease: Option<Time>,
    /// `None` for a removal.
    pub(crate) object: Option<Arc<Object>>,
}

const HAS_OBJECT: u8 = 1;
const HAS_LEASE: u8 = 2;

fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("names are below 64 KiB");
    out.extend(length.to_le_bytes());
    out.extend(text.as_bytes());
}

/// Appends an item to a payload.
pub(crate) fn put_item(
    out: &mut Vec<u8>,
    (resource, key): (&str, &Key),
    revision: u64,
    lease: Option<Time>,
    object: Option<&Object>,
) {
    let flag = |set, flag| if set { flag } else { 0 };
    out.push(flag(object.is_some(), HAS_OBJECT) | flag(lease.is_some(), HAS_LEASE));
    out.extend(revision.to_le_bytes());
    [resource, &key.namespace, &key.name]
        .into_iter()
        .for_each(|text| put_text(out, text));
    if let Some(lease) = lease {
        out.extend(lease.0.to_le_bytes());
    }
    if let Some(object) = object {
        let length = u32::try_from(object.bytes().len()).expect("an object is below 4 GiB");
        out.extend(length.to_le_bytes());
        out.extend(object.bytes());
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head)
}

fn take_text(bytes: &mut &[u8]) -> Option<SmolStr> {
    let length = u16::from_le_bytes(take(bytes, 2)?.try_into().ok()?);
    Some(SmolStr::new(
        std::str::from_utf8(take(bytes, length.into())?).ok()?,
    ))
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(take(bytes, 8)?.try_into().ok()?))
}

/// Takes the next item off a payload. Bytes of another dictionary are re-encoded.
pub(crate) fn take_item(bytes: &mut &[u8], foreign: Option<&[String]>) -> Option<Item> {
    let flags = *take(bytes, 1)?.first()?;
    let revision = take_u64(bytes)?;
    let resource = take_text(bytes)?;
    let key = Key {
        namespace: take_text(bytes)?,
        name: take_text(bytes)?,
    };
    let lease = if flags & HAS_LEASE == 0 {
        None
    } else {
        Some(Time(take_u64(bytes)?))
    };
    let object = if flags & HAS_OBJECT == 0 {
        None
    } else {
        let length = u32::from_le_bytes(take(bytes, 4)?.try_into().ok()?);
        let flat = take(bytes, usize::try_from(length).ok()?)?;
        Some(Arc::new(Object::from_bytes(
            own_bytes(flat, foreign)?,
            revision,
        )))
    };
    Some(Item {
        revision,
        resource,
        key,
        lease,
        object,
    })
}

fn own_bytes(flat: &[u8], foreign: Option<&[String]>) -> Option<Box<[u8]>> {
    match foreign {
        None => Some(flat.into()),
        Some(words) => Some(flat::encode(&flat::decode_foreign(flat, words)?).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn headers_round_trip_and_refuse_newer_versions() {
        let mut bytes = file_header(FileKind::Log, 7, 9);
        let header = read_file_header(FileKind::Log, "f", &bytes)
            .unwrap()
            .unwrap();
        assert_eq!(
            (header.sequence, header.revision, header.length),
            (7, 9, bytes.len())
        );
        assert!(header.foreign.is_none());
        assert!(
            read_file_header(FileKind::Checkpoint, "f", &bytes)
                .unwrap()
                .is_none()
        );
        bytes[12] += 1;
        assert!(
            read_file_header(FileKind::Log, "f", &bytes)
                .unwrap()
                .is_none()
        );
        let crc = crc32fast::hash(&bytes[12..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        let error = read_file_header(FileKind::Log, "f", &bytes).unwrap_err();
        assert!(matches!(error, OpenError::Version { found, .. } if found == FORMAT_VERSION + 1));
    }

    #[test]
    fn any_flipped_bit_makes_a_record_unsound() {
        let key = Key::new("ns", "name");
        let object = Object::new(&json!({"metadata": {"name": "name"}}), 5);
        let bytes = record(RecordKind::Group, 3, 2, Time(1), |out| {
            put_item(out, ("pods", &key), 5, Some(Time(8)), Some(&object));
        });
        let sound = read_record(&bytes, 0).unwrap();
        let item = take_item(&mut &sound.payload[..], None).unwrap();
        assert_eq!(
            (item.key, item.lease, item.revision),
            (key, Some(Time(8)), 5)
        );
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read_record(&damaged, 0).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn objects_of_another_dictionary_are_re_encoded() {
        let words = vec!["zeta".to_owned(), "alpha".to_owned()];
        // OBJECT of 3 bytes: key word 0 ("zeta"), string word 1 ("alpha").
        let own = own_bytes(&[8, 3, 1, 6, 1], Some(&words)).unwrap();
        assert_eq!(flat::Ref::new(&own).to_value(), json!({"zeta": "alpha"}));
        assert!(own_bytes(&[8, 3, 1, 6, 9], Some(&words)).is_none());
    }
}
