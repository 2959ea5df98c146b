//! Turns a container's output into log records and rotates the file.

use super::{MAX_FILE_SIZE, MAX_FILES, timestamp};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// Longest content of one record; longer lines are split into partial records.
const MAX_CONTENT: usize = 16 << 10;

/// Which stream a record comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Appends to one container's log.
pub struct LogWriter {
    path: PathBuf,
    file: File,
    size: u64,
    pending: [Vec<u8>; 2],
}

impl LogWriter {
    /// Opens or creates the log at `path` and its directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let file = File::options().create(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
            pending: [Vec::new(), Vec::new()],
        })
    }

    /// Takes output as it comes; writes the lines it completes.
    pub fn append(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let mut pending = std::mem::take(&mut self.pending[stream as usize]);
        pending.extend_from_slice(bytes);
        let time = now();
        let mut records = Vec::with_capacity(pending.len() + pending.len() / 4);
        let mut rest = pending.as_slice();
        while let Some((content, tag, used)) = next_record(rest) {
            push_record(&mut records, &time, (stream, tag), content);
            rest = &rest[used..];
        }
        self.pending[stream as usize] = rest.to_vec();
        self.write(&records)
    }

    /// Writes what has come without a final line end, as a part of a line: readers must not see
    /// an end that was never written.
    pub fn finish(&mut self) -> io::Result<()> {
        let mut records = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(&mut self.pending[stream as usize]);
            if !rest.is_empty() {
                push_record(&mut records, &now(), (stream, 'P'), &rest);
            }
        }
        self.write(&records)
    }

    fn write(&mut self, records: &[u8]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        self.file.write_all(records)?;
        self.size += records.len() as u64;
        if self.size >= MAX_FILE_SIZE {
            self.rotate()
        } else {
            Ok(())
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let numbered = |number: usize| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..MAX_FILES - 1).rev() {
            if numbered(number).exists() {
                fs::rename(numbered(number), numbered(number + 1))?;
            }
        }
        fs::rename(&self.path, numbered(1))?;
        self.file = File::options().create(true).append(true).open(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

fn now() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    timestamp(since.as_nanos())
}

/// The first record `bytes` complete: content, tag, bytes used.
fn next_record(bytes: &[u8]) -> Option<(&[u8], char, usize)> {
    let window = &bytes[..bytes.len().min(MAX_CONTENT)];
    match window.iter().position(|byte| *byte == b'\n') {
        Some(end) => Some((&bytes[..end], 'F', end + 1)),
        None if bytes.len() > MAX_CONTENT => Some((window, 'P', MAX_CONTENT)),
        None => None,
    }
}

fn push_record(records: &mut Vec<u8>, time: &str, (stream, tag): (Stream, char), content: &[u8]) {
    records.extend_from_slice(format!("{time} {} {tag} ", stream.name()).as_bytes());
    records.extend_from_slice(content);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        assert_eq!(next_record(b"ab\ncd"), Some((&b"ab"[..], 'F', 3)));
        assert_eq!(next_record(b"ab"), None);
        let long = vec![b'x'; MAX_CONTENT + 1];
        assert_eq!(
            next_record(&long),
            Some((&long[..MAX_CONTENT], 'P', MAX_CONTENT))
        );
    }
}
