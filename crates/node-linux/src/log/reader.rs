//! Reads a container's log: tail, since, follow, limit.

use super::timestamp;
use env::LogOptions;
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Bytes read from the file at once.
const CHUNK: usize = 64 << 10;
const NANOS_PER_MICRO: u128 = 1_000;

/// A position in a log and what is wanted from there.
pub struct Reader {
    path: PathBuf,
    file: File,
    pending: Vec<u8>,
    since: Option<String>,
    timestamps: bool,
    left: Option<u64>,
    /// Records still wanted: what is written while the last ones are read is not among them.
    records_left: Option<u64>,
    within_line: bool,
}

impl Reader {
    /// Opens the log at `path`.
    pub fn open(path: &Path, options: &LogOptions) -> io::Result<Self> {
        let mut file = File::open(path)?;
        if let Some(lines) = options.tail_lines {
            seek_to_tail(&mut file, lines)?;
        }
        let since = options
            .since
            .map(|time| timestamp(u128::from(time.0) * NANOS_PER_MICRO));
        Ok(Self {
            path: path.to_owned(),
            file,
            pending: Vec::new(),
            since,
            timestamps: options.timestamps,
            left: options.limit_bytes,
            records_left: options.tail_lines.filter(|_| !options.follow),
            within_line: false,
        })
    }

    /// Whether a limit is used up.
    pub fn is_full(&self) -> bool {
        self.left == Some(0) || self.records_left == Some(0)
    }

    /// More of the log, as its reader wants it; empty at the present end.
    pub fn next(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let mut chunk = vec![0; CHUNK];
            let count = self.file.read(&mut chunk)?;
            if count == 0 && !self.reopen()? {
                return Ok(Vec::new());
            }
            self.pending.extend_from_slice(&chunk[..count]);
            let text = self.render();
            if !text.is_empty() {
                return Ok(text);
            }
        }
    }

    /// Follows a rotation: true if there is another file to go on with.
    fn reopen(&mut self) -> io::Result<bool> {
        let Ok(next) = File::open(&self.path) else {
            return Ok(false);
        };
        if next.metadata()?.ino() == self.file.metadata()?.ino() {
            return Ok(false);
        }
        self.file = next;
        Ok(true)
    }

    fn render(&mut self) -> Vec<u8> {
        let end = self
            .pending
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let rest = self.pending.split_off(end);
        let complete = std::mem::replace(&mut self.pending, rest);
        let mut text = Vec::with_capacity(complete.len());
        for line in complete.split_inclusive(|byte| *byte == b'\n') {
            match &mut self.records_left {
                Some(0) => break,
                Some(left) => *left -= 1,
                None => {}
            }
            self.render_record(line, &mut text);
        }
        if let Some(left) = &mut self.left {
            text.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= text.len() as u64;
        }
        text
    }

    fn render_record(&mut self, line: &[u8], text: &mut Vec<u8>) {
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let (Some(time), Some(_stream), Some(tag), Some(content)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return;
        };
        if self
            .since
            .as_ref()
            .is_some_and(|since| time < since.as_bytes())
        {
            return;
        }
        if self.timestamps && !self.within_line {
            text.extend_from_slice(time);
            text.push(b' ');
        }
        self.within_line = tag == b"P";
        let end = content.len() - usize::from(self.within_line);
        text.extend_from_slice(&content[..end]);
    }
}

/// Moves to the start of the last `lines` lines.
fn seek_to_tail(file: &mut File, lines: u64) -> io::Result<()> {
    let mut position = file.seek(SeekFrom::End(0))?;
    let mut seen = 0;
    while position > 0 {
        let length = position.min(CHUNK as u64);
        let start = position - length;
        let mut chunk = vec![0; length as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut chunk)?;
        for (index, _) in chunk
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, byte)| **byte == b'\n')
        {
            if seen == lines {
                return file
                    .seek(SeekFrom::Start(start + index as u64 + 1))
                    .map(drop);
            }
            seen += 1;
        }
        position = start;
    }
    file.seek(SeekFrom::Start(0)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-01T00:00:00.000000000Z stdout F one\n\
                       2026-01-01T00:00:01.000000000Z stderr P tw\n\
                       2026-01-01T00:00:01.500000000Z stderr F o\n\
                       2026-01-01T00:00:02.000000000Z stdout F three\n";

    fn read(options: LogOptions) -> String {
        let path = std::env::temp_dir().join(format!("xebec-log-{}", std::process::id()));
        std::fs::write(&path, LOG).expect("temporary file");
        let text = Reader::open(&path, &options).and_then(|mut reader| reader.next());
        std::fs::remove_file(&path).expect("temporary file");
        String::from_utf8(text.expect("readable")).expect("text")
    }

    #[test]
    fn options() {
        let base = LogOptions::default();
        let since = Some(env::Time::from_unix_seconds(1_767_225_602));
        assert_eq!(read(base.clone()), "one\ntwo\nthree\n");
        assert_eq!(
            read(LogOptions {
                tail_lines: Some(1),
                ..base.clone()
            }),
            "three\n"
        );
        assert_eq!(
            read(LogOptions {
                tail_lines: Some(0),
                ..base.clone()
            }),
            ""
        );
        assert_eq!(
            read(LogOptions {
                tail_lines: Some(9),
                ..base.clone()
            }),
            "one\ntwo\nthree\n"
        );
        assert_eq!(
            read(LogOptions {
                since,
                ..base.clone()
            }),
            "three\n"
        );
        assert_eq!(
            read(LogOptions {
                limit_bytes: Some(5),
                ..base.clone()
            }),
            "one\nt"
        );
        let stamped = read(LogOptions {
            timestamps: true,
            tail_lines: Some(1),
            ..base
        });
        assert_eq!(stamped, "2026-01-01T00:00:02.000000000Z three\n");
    }

    #[test]
    fn what_is_written_meanwhile_is_not_among_the_last_lines() {
        let path = std::env::temp_dir().join(format!("xebec-tail-{}", std::process::id()));
        std::fs::write(&path, LOG).expect("temporary file");
        let read = |follow| {
            let options = LogOptions {
                tail_lines: Some(1),
                follow,
                ..LogOptions::default()
            };
            let mut reader = Reader::open(&path, &options).expect("a log");
            std::fs::write(
                &path,
                format!("{LOG}2026-01-01T00:00:03.000000000Z stdout F four\n"),
            )
            .expect("temporary file");
            let text = reader.next().expect("readable");
            std::fs::write(&path, LOG).expect("temporary file");
            String::from_utf8(text).expect("text")
        };
        let (alone, followed) = (read(false), read(true));
        std::fs::remove_file(&path).expect("temporary file");
        assert_eq!(alone, "three\n");
        assert_eq!(followed, "three\nfour\n");
    }
}
