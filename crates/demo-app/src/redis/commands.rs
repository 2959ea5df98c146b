//! The commands on data: one function each, one table.

use super::{
    db::{Bytes, Db, Value},
    glob,
    resp::Reply,
};

const SYNTAX: &str = "ERR syntax error";
const NOT_A_NUMBER: &str = "ERR value is not an integer or out of range";

type Answer = Result<Reply, String>;
type Run = fn(&mut Db, u64, &[Bytes]) -> Answer;

/// A command.
pub struct Command {
    /// Its name in lower case.
    pub name: &'static str,
    /// Fewest words, its name included.
    pub least: usize,
    run: Run,
}

const fn command(name: &'static str, least: usize, run: Run) -> Command {
    Command { name, least, run }
}

/// All commands on data.
pub const COMMANDS: &[Command] = &[
    command("append", 3, append),
    command("dbsize", 1, |db, now, _| {
        db.sweep(now);
        Ok(Reply::count(db.entries.len()))
    }),
    command("decr", 2, |db, now, words| add(db, now, &words[1], -1)),
    command("del", 2, delete),
    command("exists", 2, exists),
    command("expire", 3, expire),
    command("flushall", 1, flush),
    command("flushdb", 1, flush),
    command("get", 2, |db, now, words| {
        Ok(optional(db.text(&words[1], now)?.cloned()))
    }),
    command("hdel", 3, hash_delete),
    command("hget", 3, |db, now, words| {
        let hash = db.hash(&words[1], now, false)?;
        Ok(optional(hash.and_then(|hash| hash.get(&words[2]).cloned())))
    }),
    command("hgetall", 2, hash_all),
    command("hset", 4, hash_set),
    command("incr", 2, |db, now, words| add(db, now, &words[1], 1)),
    command("incrby", 3, |db, now, words| {
        add(db, now, &words[1], integer(&words[2])?)
    }),
    command("keys", 2, |db, now, words| {
        db.sweep(now);
        Ok(names(db, &words[1]))
    }),
    command("llen", 2, |db, now, words| {
        Ok(Reply::count(
            db.list(&words[1], now, false)?.map_or(0, |list| list.len()),
        ))
    }),
    command("lpop", 2, |db, now, words| pop(db, now, words, true)),
    command("lpush", 3, |db, now, words| push(db, now, words, true)),
    command("lrange", 4, range),
    command("rpop", 2, |db, now, words| pop(db, now, words, false)),
    command("rpush", 3, |db, now, words| push(db, now, words, false)),
    command("scan", 2, scan),
    command("set", 3, set),
    command("ttl", 2, time_to_live),
    command("type", 2, kind),
];

/// Runs a command on data; nothing if there is none of the name.
pub fn run(db: &mut Db, now: u64, words: &[Bytes]) -> Option<Reply> {
    let name = words.first()?;
    let command = COMMANDS
        .iter()
        .find(|command| name.eq_ignore_ascii_case(command.name.as_bytes()))?;
    if words.len() < command.least {
        return Some(wrong_count(command.name));
    }
    Some((command.run)(db, now, words).unwrap_or_else(Reply::Error))
}

/// What is said to too few words.
pub fn wrong_count(name: &str) -> Reply {
    Reply::Error(format!(
        "ERR wrong number of arguments for '{name}' command"
    ))
}

fn optional(bytes: Option<Bytes>) -> Reply {
    bytes.map_or(Reply::Nil, Reply::Bulk)
}

fn integer(word: &[u8]) -> Result<i64, String> {
    let text = str::from_utf8(word).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| NOT_A_NUMBER.to_owned())
}

/// How `SET` was asked to behave.
#[derive(Default)]
struct SetOptions {
    expires: Option<u64>,
    only_new: bool,
    only_old: bool,
    keep_ttl: bool,
}

fn set_options(now: u64, words: &[Bytes]) -> Result<SetOptions, String> {
    let mut options = SetOptions::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let word = word.to_ascii_uppercase();
        match word.as_slice() {
            b"NX" => options.only_new = true,
            b"XX" => options.only_old = true,
            b"KEEPTTL" => options.keep_ttl = true,
            b"EX" | b"PX" => {
                let amount = integer(words.next().ok_or(SYNTAX)?)?;
                let unit = if word == b"EX" { 1000 } else { 1 };
                let span = u64::try_from(amount).ok().filter(|span| *span > 0);
                let span = span.ok_or("ERR invalid expire time in 'set' command")?;
                options.expires = Some(now.saturating_add(span.saturating_mul(unit)));
            }
            _ => return Err(SYNTAX.to_owned()),
        }
    }
    if options.only_new && options.only_old {
        return Err(SYNTAX.to_owned());
    }
    Ok(options)
}

fn set(db: &mut Db, now: u64, words: &[Bytes]) -> Answer {
    let mut options = set_options(now, &words[3..])?;
    let old = db.get(&words[1], now);
    if (options.only_new && old.is_some()) || (options.only_old && old.is_none()) {
        return Ok(Reply::Nil);
    }
    if options.keep_ttl {
        options.expires = old.and_then(|entry| entry.expires);
    }
    db.set(&words[1], Value::Text(words[2].clone()), options.expires);
    Ok(Reply::ok())
}

fn append(db: &mut Db, now: u64, words: &[Bytes]) -> Answer {
    if let Some(text) = db.text(&words[1], now)? {
        text.extend_from_slice(&words[2]);
        return Ok(Reply::count(text.len()));
    }
    db.set(&words[1], Value::Text(words[2].clone()), None);
    Ok(Reply::count(words[2].len()))
}

fn add(db: &mut Db, now: u64, key: &[u8], amount: i64) -> Answer {
    let old = db.text(key, now)?;
    let number = old.as_deref().map_or(Ok(0), |text| integer(text))?;
    let sum = number
        .checked_add(amount)
        .ok_or("ERR increment or decrement would overflow")?;
    let text = sum.to_string().into_bytes();
    match old {
        Some(old) => *old = text,
        None => db.set(key, Value::Text(text), None),
    }
    Ok(Reply::Int(sum))
}

fn delete(db: &mut Db, now: u64, words: &[Bytes]) -> Answer {
    let found = words[1..]
        .iter()
        .filter(|key| db.get(key, now).is_some() && db.entries.remove(*key).is_some());
    Ok(Reply::count(found.count()))
}

fn exists(db: &mut Db, now: u64, words: &[Bytes]) -> Answer {
    Ok(Reply::count(
        words[1..]
            .iter()
            .filter(|key| db.get(key, now).is_some())
            .count(),
    ))
}

fn expire(db: &mut Db, now: u64, words: &[Bytes]) -> Answer {
    let seconds = integer(&words[2])?;
    let Some(entry) = db.get(&words[1], now) else {
        return Ok(Reply::Int(0));
    };
    let end = now.saturating_add_signed(seconds.saturating_mul(1000));
    entry.expires = Some(end);
    Ok(Reply::Int(1))
}

fn time_to_live(db: &mut Db, now: u64, words: &[Bytes]) -> Answer {
    Ok(Reply::Int(
        match db.get(&words[1], now).map(|entry| entry.expires) {
            None => -2,
            Some(None) => -1,
            // Rounded, as Redis does: a fresh EX 10 shows 10.
            Some(Some(end)) => {
                i64::try_from((end - now).saturating_add(500) / 1000).unwrap_or(i64::MAX)
            }
        },
    ))
}

fn kind(db: &mut Db, now: u64, words: &[Bytes]) -> Answer {
    let name = match db.get(&words[1], now).map(|entry| &entry.value) {
        None => "none",
        Some(Value::Text(_)) => "string",
        Some(Value::List(_)) => "list",
        Some(Value::Hash(_)) => "hash",
    };
    Ok(Reply::Simple(name.to_owned()))
}

fn flush(db: &mut Db, _: u64, _: &[Bytes]) -> Answer {
    db.entries.clear();
    Ok(Reply::ok())
}

fn names(db: &Db, pattern: &[u8]) -> Reply {
    let found = db.entries.keys().filter(|key| glob::matches(pattern, key));
    Reply::Array(found.cloned().map(Reply::Bulk).collect())
}

/// Gives everything in one answer, which the protocol allows: the next cursor is 0.
fn scan(db: &mut Db, now: u64, words: &[Bytes]) -> Answer {
    integer(&words[1]).map_err(|_| "ERR invalid cursor".to_owned())?;
    let mut pattern: &[u8] = b"*";
    for pair in words[2..].chunks(2) {
        match pair {
            [option, value] if option.eq_ignore_ascii_case(b"match") => pattern = value,
            [option, value] if option.eq_ignore_ascii_case(b"count") => drop(integer(value)?),
            _ => return Err(SYNTAX.to_owned()),
        }
    }
    db.sweep(now);
    Ok(Reply::Array(vec![Reply::bulk("0"), names(db, pattern)]))
}

fn push(db: &mut Db, now: u64, words: &[Bytes], front: bool) -> Answer {
    let list = db.list(&words[1], now, true)?.ok_or(SYNTAX)?;
    for word in &words[2..] {
        if front {
            list.push_front(word.clone());
        } else {
            list.push_back(word.clone());
        }
    }
    Ok(Reply::count(list.len()))
}

fn pop(db: &mut Db, now: u64, words: &[Bytes], front: bool) -> Answer {
    let taken = db.list(&words[1], now, false)?.and_then(|list| {
        if front {
            list.pop_front()
        } else {
            list.pop_back()
        }
    });
    db.drop_empty(&words[1]);
    Ok(optional(taken))
}

/// A place counted from either end, as a place from the front, not below 0.
fn place(index: i64, size: usize) -> usize {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let place = if index < 0 {
        size.saturating_add(index)
    } else {
        index
    };
    usize::try_from(place.max(0)).unwrap_or(usize::MAX)
}

fn range(db: &mut Db, now: u64, words: &[Bytes]) -> Answer {
    let (first, last) = (integer(&words[2])?, integer(&words[3])?);
    let Some(list) = db.list(&words[1], now, false)? else {
        return Ok(Reply::Array(Vec::new()));
    };
    let ends_before_start = last < 0 && last.unsigned_abs() > list.len() as u64;
    let first = place(first, list.len());
    let last = place(last, list.len()).saturating_add(usize::from(!ends_before_start));
    let taken = list.iter().skip(first).take(last.saturating_sub(first));
    Ok(Reply::Array(taken.cloned().map(Reply::Bulk).collect()))
}

fn hash_set(db: &mut Db, now: u64, words: &[Bytes]) -> Answer {
    if !words.len().is_multiple_of(2) {
        return Ok(wrong_count("hset"));
    }
    let hash = db.hash(&words[1], now, true)?.ok_or(SYNTAX)?;
    let pairs = words[2..].chunks(2);
    let fresh = pairs.filter(|pair| hash.insert(pair[0].clone(), pair[1].clone()).is_none());
    Ok(Reply::count(fresh.count()))
}

fn hash_delete(db: &mut Db, now: u64, words: &[Bytes]) -> Answer {
    let mut found = 0;
    if let Some(hash) = db.hash(&words[1], now, false)? {
        found = words[2..]
            .iter()
            .filter(|field| hash.remove(*field).is_some())
            .count();
    }
    db.drop_empty(&words[1]);
    Ok(Reply::count(found))
}

fn hash_all(db: &mut Db, now: u64, words: &[Bytes]) -> Answer {
    let hash = db
        .hash(&words[1], now, false)?
        .map(|hash| hash.clone())
        .unwrap_or_default();
    let flat = hash.into_iter().flat_map(|(field, value)| [field, value]);
    Ok(Reply::Array(flat.map(Reply::Bulk).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(reply: &Reply) -> String {
        match reply {
            Reply::Simple(text) | Reply::Error(text) => text.clone(),
            Reply::Int(number) => number.to_string(),
            Reply::Nil => "nil".to_owned(),
            Reply::Bulk(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
            Reply::Array(items) => {
                format!("{:?}", items.iter().map(shown).collect::<Vec<_>>()).replace("\\\"", "")
            }
        }
    }

    #[test]
    fn a_dialogue() {
        let dialogue = [
            (0, "set a 1", "OK"),
            (0, "set a 2 nx", "nil"),
            (0, "set b 2 xx", "nil"),
            (
                0,
                "set a 2 ex 0",
                "ERR invalid expire time in 'set' command",
            ),
            (0, "set a 5 ex 10", "OK"),
            (0, "ttl a", "10"),
            (0, "incrby a 7", "12"),
            (9_999, "exists a a b", "2"),
            (10_000, "get a", "nil"),
            (10_000, "ttl a", "-2"),
            (0, "set n 9223372036854775807", "OK"),
            (0, "incr n", "ERR increment or decrement would overflow"),
            (0, "append n x", "20"),
            (0, "incr n", NOT_A_NUMBER),
            (0, "rpush l a b c", "3"),
            (0, "lpush l z", "4"),
            (0, "lrange l 0 -1", r#"["z", "a", "b", "c"]"#),
            (0, "lrange l -2 -1", r#"["b", "c"]"#),
            (0, "lrange l 0 -9", "[]"),
            (0, "lpop l", "\"z\""),
            (0, "get l", super::super::db::WRONG_TYPE),
            (0, "hset h f 1 g 2", "2"),
            (0, "hset h f 3", "0"),
            (0, "hget h f", "\"3\""),
            (0, "hgetall h", r#"["f", "3", "g", "2"]"#),
            (
                0,
                "hset h f",
                "ERR wrong number of arguments for 'hset' command",
            ),
            (0, "type h", "hash"),
            (0, "expire h -1", "1"),
            (0, "keys *", r#"["l", "n"]"#),
            (0, "scan 0 match l* count 5", r#"["0", "[l]"]"#),
            (0, "dbsize", "2"),
            (0, "del l n x", "2"),
            (0, "get", "ERR wrong number of arguments for 'get' command"),
        ];
        let mut db = Db::default();
        for (now, line, expected) in dialogue {
            let words: Vec<Bytes> = line
                .split(' ')
                .map(|word| word.as_bytes().to_vec())
                .collect();
            let reply = run(&mut db, now, &words).expect(line);
            assert_eq!(shown(&reply), expected, "{line}");
        }
        assert!(run(&mut db, 0, &[b"nope".to_vec()]).is_none());
    }
}
