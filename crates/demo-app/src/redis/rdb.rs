//! The dump file: a subset of Redis' RDB format, version 9 (strings, lists, hashes, expiry).
//!
//! What this writes a real Redis loads. What a real Redis writes is read as long as it is in this
//! subset; packed encodings and compressed strings are refused with a sentence.

use super::db::{Bytes, Db, Entry, Value};
use crate::errors::invalid;
use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::Path,
};

const MAGIC: &[u8; 9] = b"REDIS0009";
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=12;
const AUX: u8 = 0xfa;
const RESIZE: u8 = 0xfb;
const EXPIRES_MILLIS: u8 = 0xfc;
const EXPIRES_SECONDS: u8 = 0xfd;
const SELECT: u8 = 0xfe;
const END: u8 = 0xff;
const TEXT: u8 = 0;
const LIST: u8 = 1;
const HASH: u8 = 4;
/// Marks a length of 32 and of 64 bits, and a number in place of a length.
const LENGTH_32: u8 = 0x80;
const LENGTH_64: u8 = 0x81;
const NUMBER: u8 = 0xc0;
const MAX_STRING: u64 = 512 * 1024 * 1024;

/// Writes the database to a file: a new one first, then renamed over the old.
pub fn save(path: &Path, db: &Db) -> io::Result<()> {
    let fresh = path.with_extension("rdb.tmp");
    let mut to = BufWriter::new(File::create(&fresh)?);
    write(&mut to, db)?;
    to.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()?;
    fs::rename(&fresh, path)
}

/// Reads a file; an empty database if there is none.
pub fn load(path: &Path) -> io::Result<Db> {
    match File::open(path) {
        Ok(file) => read(&mut BufReader::new(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Db::default()),
        Err(error) => Err(error),
    }
}

fn write(to: &mut impl Write, db: &Db) -> io::Result<()> {
    to.write_all(MAGIC)?;
    to.write_all(&[AUX])?;
    write_string(to, b"redis-ver")?;
    write_string(to, b"xebec-stand-in")?;
    to.write_all(&[SELECT, 0])?;
    for (key, entry) in &db.entries {
        if let Some(end) = entry.expires {
            to.write_all(&[EXPIRES_MILLIS])?;
            to.write_all(&end.to_le_bytes())?;
        }
        write_entry(to, key, &entry.value)?;
    }
    to.write_all(&[END])?;
    // A checksum of zero says that there is none.
    to.write_all(&[0; 8])
}

fn write_entry(to: &mut impl Write, key: &[u8], value: &Value) -> io::Result<()> {
    let kind = match value {
        Value::Text(_) => TEXT,
        Value::List(_) => LIST,
        Value::Hash(_) => HASH,
    };
    to.write_all(&[kind])?;
    write_string(to, key)?;
    match value {
        Value::Text(text) => write_string(to, text),
        Value::List(list) => {
            write_length(to, list.len())?;
            list.iter().try_for_each(|item| write_string(to, item))
        }
        Value::Hash(hash) => {
            write_length(to, hash.len())?;
            let mut flat = hash.iter().flat_map(|(field, value)| [field, value]);
            flat.try_for_each(|item| write_string(to, item))
        }
    }
}

fn write_length(to: &mut impl Write, length: usize) -> io::Result<()> {
    match u32::try_from(length) {
        Ok(short @ 0..64) => to.write_all(&[short.to_le_bytes()[0]]),
        Ok(short @ 64..16384) => {
            let [low, high, ..] = short.to_le_bytes();
            to.write_all(&[high | 0x40, low])
        }
        Ok(long) => {
            to.write_all(&[LENGTH_32])?;
            to.write_all(&long.to_be_bytes())
        }
        Err(_) => {
            to.write_all(&[LENGTH_64])?;
            to.write_all(&(length as u64).to_be_bytes())
        }
    }
}

fn write_string(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    write_length(to, bytes.len())?;
    to.write_all(bytes)
}

fn take<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn byte(from: &mut impl Read) -> io::Result<u8> {
    Ok(take::<1>(from)?[0])
}

fn read(from: &mut impl Read) -> io::Result<Db> {
    let magic: [u8; 9] = take(from)?;
    let version = str::from_utf8(&magic[5..])
        .ok()
        .and_then(|text| text.parse().ok());
    if &magic[..5] != b"REDIS" || !version.is_some_and(|version| VERSIONS.contains(&version)) {
        return Err(invalid("not a Redis dump this program can read"));
    }
    let mut db = Db::default();
    let mut expires = None;
    loop {
        match byte(from)? {
            END => return Ok(db),
            EXPIRES_MILLIS => expires = Some(u64::from_le_bytes(take(from)?)),
            EXPIRES_SECONDS => expires = Some(u64::from(u32::from_le_bytes(take(from)?)) * 1000),
            AUX => drop((read_string(from)?, read_string(from)?)),
            RESIZE => drop((read_length(from)?, read_length(from)?)),
            SELECT if read_length(from)? == 0 => {}
            SELECT => {
                return Err(invalid(
                    "the dump has a second database; this program keeps one",
                ));
            }
            kind => {
                let key = read_string(from)?;
                let value = read_value(from, kind)?;
                db.entries.insert(
                    key,
                    Entry {
                        value,
                        expires: expires.take(),
                    },
                );
            }
        }
    }
}

fn read_value(from: &mut impl Read, kind: u8) -> io::Result<Value> {
    Ok(match kind {
        TEXT => Value::Text(read_string(from)?),
        LIST => Value::List(
            (0..read_length(from)?)
                .map(|_| read_string(from))
                .collect::<io::Result<_>>()?,
        ),
        HASH => {
            let pairs =
                (0..read_length(from)?).map(|_| Ok((read_string(from)?, read_string(from)?)));
            Value::Hash(pairs.collect::<io::Result<_>>()?)
        }
        other => {
            return Err(invalid(format!(
                "the dump holds a value of type {other}, which this program cannot read"
            )));
        }
    })
}

fn read_length(from: &mut impl Read) -> io::Result<u64> {
    let first = byte(from)?;
    length_from(from, first)
}

fn length_from(from: &mut impl Read, first: u8) -> io::Result<u64> {
    match first {
        0..0x40 => Ok(first.into()),
        0x40..0x80 => Ok(u16::from_be_bytes([first & 0x3f, byte(from)?]).into()),
        LENGTH_32 => Ok(u32::from_be_bytes(take(from)?).into()),
        LENGTH_64 => Ok(u64::from_be_bytes(take(from)?)),
        _ => Err(invalid("the dump has a length this program cannot read")),
    }
}

fn read_string(from: &mut impl Read) -> io::Result<Bytes> {
    let first = byte(from)?;
    let number = match first.wrapping_sub(NUMBER) {
        0 => i32::from(i8::from_le_bytes(take(from)?)),
        1 => i32::from(i16::from_le_bytes(take(from)?)),
        2 => i32::from_le_bytes(take(from)?),
        3 => {
            return Err(invalid(
                "the dump has compressed strings, which this program cannot read",
            ));
        }
        _ => return plain_string(from, first),
    };
    Ok(number.to_string().into_bytes())
}

fn plain_string(from: &mut impl Read, first: u8) -> io::Result<Bytes> {
    let size = length_from(from, first)?;
    if size > MAX_STRING {
        return Err(invalid("the dump has a string of more than 512 MiB"));
    }
    let mut bytes = Vec::new();
    from.take(size).read_to_end(&mut bytes)?;
    match bytes.len() as u64 == size {
        true => Ok(bytes),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Db {
        let mut db = Db::default();
        db.set(b"t", Value::Text(vec![7; 70]), Some(12_345));
        db.set(b"big", Value::Text(vec![1; 20_000]), None);
        db.set(
            b"l",
            Value::List([b"a".to_vec(), b"".to_vec()].into()),
            None,
        );
        db.set(
            b"h",
            Value::Hash([(b"f".to_vec(), b"v".to_vec())].into()),
            None,
        );
        db
    }

    #[test]
    fn round_trip_and_every_cut() {
        let mut bytes = Vec::new();
        write(&mut bytes, &sample()).unwrap();
        assert_eq!(read(&mut &bytes[..]).unwrap(), sample());
        for end in (0..bytes.len() - 8).step_by(7) {
            assert!(read(&mut &bytes[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn reads_numbers_and_refuses_what_it_does_not_know() {
        let number = b"REDIS0011\xfe\x00\x00\x01k\xc1\x39\x05\xff";
        let db = read(&mut &number[..]).unwrap();
        assert_eq!(db.entries[&b"k"[..]].value, Value::Text(b"1337".to_vec()));
        for broken in [
            &b"REDIS0011\xfe\x00\x12\x01k\x00\xff"[..],
            b"REDIS9999\xff",
            b"RADISH009\xff",
            b"REDIS0011\xfe\x03",
        ] {
            assert!(read(&mut &broken[..]).is_err());
        }
    }
}
