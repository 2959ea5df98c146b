//! File operations of the store's directory, as plain blocking calls.
//!
//! Upstream counterpart: etcd's `fileutil` (preallocation, locking, atomic replacement).

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Held locked while the directory is in use.
const LOCK_FILE: &str = "lock";
/// Ending of files being written for a replacement; leftovers are removed on opening.
const TEMPORARY: &str = ".tmp";
/// Zeroes written at a time when preparing a file.
const ZEROES: usize = 1 << 20;

/// Creates the directory if needed and locks it.
pub(crate) fn open_directory(directory: &Path) -> io::Result<File> {
    fs::create_dir_all(directory)?;
    let options = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .clone();
    let lock = options.open(directory.join(LOCK_FILE))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(error)) => return Err(error),
        Err(TryLockError::WouldBlock) => {
            let text = format!(
                "data directory {} is in use by another process",
                directory.display()
            );
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
        }
    }
    for name in names(directory)?
        .into_iter()
        .filter(|name| name.ends_with(TEMPORARY))
    {
        fs::remove_file(directory.join(name))?;
    }
    Ok(lock)
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.extend(entry.file_name().into_string().ok());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The files of one directory; keeps the file last written to open.
pub(crate) struct Files {
    directory: PathBuf,
    open: Option<(String, File)>,
}

impl Files {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            open: None,
        }
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        let plain = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
        if plain && name != LOCK_FILE && !name.ends_with(TEMPORARY) {
            Ok(self.directory.join(name))
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{name:?} is no file name for a store"),
            ))
        }
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    pub(crate) fn list(&self) -> io::Result<Vec<String>> {
        let mut names = names(&self.directory)?;
        names.retain(|name| self.path(name).is_ok());
        Ok(names)
    }

    pub(crate) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(name)?)
    }

    /// The file `name`, created if it is not there; the directory entry is made durable.
    fn file(&mut self, name: &str) -> io::Result<&File> {
        if self.open.as_ref().is_none_or(|(open, _)| open != name) {
            let path = self.path(name)?;
            let created = !path.try_exists()?;
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(path)?;
            if created {
                self.sync_directory()?;
            }
            self.open = Some((name.to_owned(), file));
        }
        let (_, file) = self.open.as_ref().expect("the file was just opened");
        Ok(file)
    }

    pub(crate) fn prepare(&mut self, name: &str, keep: u64, capacity: u64) -> io::Result<()> {
        let file = self.file(name)?;
        if file.metadata()?.len() > keep {
            file.set_len(keep)?;
        }
        let zeroes = vec![0; ZEROES.min(capacity.saturating_sub(keep) as usize)];
        let mut at = keep;
        while at < capacity {
            let length = (capacity - at).min(zeroes.len() as u64);
            file.write_all_at(&zeroes[..length as usize], at)?;
            at += length;
        }
        file.sync_all()
    }

    pub(crate) fn write(
        &mut self,
        name: &str,
        offset: u64,
        bytes: &[u8],
        durable: bool,
    ) -> io::Result<()> {
        let file = self.file(name)?;
        file.write_all_at(bytes, offset)?;
        // Also syncs the length where the write has changed it.
        if durable { file.sync_data() } else { Ok(()) }
    }

    pub(crate) fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(name)?;
        let temporary = self.directory.join(format!("{name}{TEMPORARY}"));
        let file = File::create(&temporary)?;
        file.write_all_at(bytes, 0)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        self.open.take_if(|(open, _)| open == name);
        self.sync_directory()
    }

    /// Lets go of the open file if it is `name`.
    pub(crate) fn close(&mut self, name: &str) -> io::Result<()> {
        self.open.take_if(|(open, _)| open == name);
        Ok(())
    }

    pub(crate) fn remove(&mut self, name: &str) -> io::Result<()> {
        self.open.take_if(|(open, _)| open == name);
        match fs::remove_file(self.path(name)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.sync_directory(),
        }
    }
}
