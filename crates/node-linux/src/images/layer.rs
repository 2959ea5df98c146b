//! Unpacks layers: any compression, whiteouts, content checked against the digest it must have.
//!
//! Upstream counterpart: containerd's `pkg/archive`.

use crate::sys;
use flate2::read::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;
use sha2::{Digest, Sha256};
use std::{
    ffi::OsStr,
    fs,
    io::{self, BufRead, BufReader, Read},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Component, Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};
use tar::{Archive, Entry, EntryType};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Hexadecimal digits of a layer's directory name: short, so that many fit in mount options.
const NAME_DIGITS: usize = 32;

/// Reads through to `inner`, hashing and counting.
pub struct Hashing<R> {
    inner: R,
    hash: Sha256,
    count: u64,
}

impl<R: Read> Hashing<R> {
    /// Starts at the reader's present position.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            count: 0,
        }
    }

    /// Reads what is left; digest and length of everything read.
    pub fn finish(mut self) -> io::Result<(String, u64)> {
        io::copy(&mut self, &mut io::sink())?;
        Ok((digest_text(self.hash), self.count))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.count += count as u64;
        Ok(count)
    }
}

fn digest_text(hash: Sha256) -> String {
    let hex: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// Digest of some bytes, `sha256:...`.
pub fn digest(bytes: &[u8]) -> String {
    digest_text(Sha256::new().chain_update(bytes))
}

/// Directory name of a layer.
pub fn directory_name(diff_id: &str) -> String {
    diff_id
        .trim_start_matches("sha256:")
        .chars()
        .take(NAME_DIGITS)
        .collect()
}

fn size_file(layers: &Path, name: &str) -> PathBuf {
    layers.join(format!("{name}.size"))
}

/// Size of an unpacked layer, if it is there.
pub fn size(layers: &Path, name: &str) -> Option<u64> {
    fs::read_to_string(size_file(layers, name))
        .ok()?
        .parse()
        .ok()
}

/// Removes an unpacked layer.
pub fn remove(layers: &Path, name: &str) -> io::Result<()> {
    fs::remove_file(size_file(layers, name))?;
    fs::remove_dir_all(layers.join(name))
}

fn decompress<'a>(source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut source = BufReader::new(source);
    let start = source.fill_buf()?;
    if start.starts_with(&GZIP_MAGIC) {
        return Ok(Box::new(MultiGzDecoder::new(source)));
    }
    if start.starts_with(&ZSTD_MAGIC) {
        return Ok(Box::new(
            StreamingDecoder::new(source).map_err(io::Error::other)?,
        ));
    }
    Ok(Box::new(source))
}

/// Unpacks a layer below `layers`, unless it is there; it must have this digest.
pub fn unpack(layers: &Path, source: impl Read, diff_id: &str) -> io::Result<String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = directory_name(diff_id);
    if size(layers, &name).is_some() {
        return Ok(name);
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let temporary = layers.join(format!(".new-{}-{number}", std::process::id()));
    let unpacked = unpack_checked(&temporary, source, diff_id).and_then(|size| {
        let _ = fs::remove_dir_all(layers.join(&name));
        fs::rename(&temporary, layers.join(&name))?;
        fs::write(size_file(layers, &name), size.to_string())
    });
    if unpacked.is_err() {
        // What matters is the first error; the directory has a name nobody uses.
        let _ = fs::remove_dir_all(&temporary);
    }
    unpacked.map(|()| name)
}

fn unpack_checked(target: &Path, source: impl Read, diff_id: &str) -> io::Result<u64> {
    const ROOT_MODE: u32 = 0o755;
    fs::create_dir_all(target)?;
    fs::set_permissions(target, fs::Permissions::from_mode(ROOT_MODE))?;
    let mut hashing = Hashing::new(decompress(source)?);
    let mut archive = Archive::new(&mut hashing);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    archive.set_unpack_xattrs(true);
    for entry in archive.entries()? {
        unpack_entry(target, entry?)?;
    }
    let (found, size) = hashing.finish()?;
    if found != diff_id {
        let text =
            format!("wrong diff id calculated on extraction {found:?}, expected {diff_id:?}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(size)
}

fn unpack_entry(target: &Path, mut entry: Entry<'_, impl Read>) -> io::Result<()> {
    let path = entry.path()?.into_owned();
    let name = path.file_name().map(OsStr::as_bytes).unwrap_or_default();
    if name.starts_with(WHITEOUT) {
        return white_out(target, &path);
    }
    let node = match entry.header().entry_type() {
        EntryType::Char => libc::S_IFCHR,
        EntryType::Block => libc::S_IFBLK,
        EntryType::Fifo => libc::S_IFIFO,
        _ => return entry.unpack_in(target).map(drop),
    };
    let header = entry.header();
    let number = |part: Option<u32>| part.unwrap_or(0);
    let major = number(header.device_major()?);
    let minor = number(header.device_minor()?);
    let place = inside(target, &path)?;
    sys::make_node(&place, node | header.mode()?, libc::makedev(major, minor))
}

/// The place of `path` below `target`; its parent must exist and not lead outside.
fn inside(target: &Path, path: &Path) -> io::Result<PathBuf> {
    let relative: PathBuf = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .collect();
    let refused = || io::Error::other(format!("layer entry {path:?} leads outside the layer"));
    let (Some(parent), Some(name)) = (relative.parent(), relative.file_name()) else {
        return Err(refused());
    };
    if relative
        .components()
        .any(|part| part == Component::ParentDir)
    {
        return Err(refused());
    }
    if !target.join(parent).exists() {
        fs::create_dir_all(target.join(parent))?;
    }
    let parent = target.join(parent).canonicalize()?;
    if !parent.starts_with(target.canonicalize()?) {
        return Err(refused());
    }
    Ok(parent.join(name))
}

/// Translates a whiteout of the image format into overlayfs's own.
fn white_out(target: &Path, path: &Path) -> io::Result<()> {
    let place = inside(target, path)?;
    let name = place.file_name().map(OsStr::as_bytes).unwrap_or_default();
    let parent = place.parent().unwrap_or(target);
    if name == OPAQUE {
        return sys::set_attribute(parent, "trusted.overlay.opaque", b"y");
    }
    let hidden = parent.join(OsStr::from_bytes(&name[WHITEOUT.len()..]));
    sys::make_node(&hidden, libc::S_IFCHR, 0)
}
