//! Builds an image from nothing but one static binary: no registry, no archive, repeatable.

use super::{ConfigFile, Image, ImageStore, RootFs, RunConfig, layer};
use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, Write},
    path::Path,
};
use tar::{Builder, EntryType, Header};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n\
                      nobody:x:65534:65534:nobody:/:/bin/sh\n";
const GROUP: &str = "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n";
const BINARY_MODE: u32 = 0o755;
const DIRECTORIES: [(&str, u32, u64); 8] = [
    ("bin/", 0o755, 0),
    ("dev/", 0o755, 0),
    ("etc/", 0o755, 0),
    ("home/user/", 0o755, 1000),
    ("proc/", 0o555, 0),
    ("root/", 0o700, 0),
    ("sys/", 0o555, 0),
    ("tmp/", 0o1777, 0),
];

/// An image to build around a binary.
#[derive(Clone, Debug, Default)]
pub struct BinaryImage<'a> {
    /// Name of the image.
    pub reference: &'a str,
    /// Name of the binary in /bin.
    pub name: &'a str,
    /// Names in /bin that lead to the binary.
    pub applets: &'a [&'a str],
    /// How to run it.
    pub config: RunConfig,
}

impl ImageStore {
    /// Builds and records an image whose only program is the static executable at `binary`.
    pub fn import_binary(&self, binary: &Path, image: &BinaryImage<'_>) -> io::Result<Image> {
        let scratch = self.scratch()?;
        let path = scratch.0.join("layer.tar");
        write_layer(&path, binary, image)?;
        let (diff_id, _) = layer::Hashing::new(BufReader::new(File::open(&path)?)).finish()?;
        let name = layer::unpack(&self.layout.layers(), File::open(&path)?, &diff_id)?;
        let config = ConfigFile {
            architecture: architecture().into(),
            os: "linux".into(),
            config: image.config.clone(),
            rootfs: RootFs {
                kind: "layers".into(),
                diff_ids: vec![diff_id],
            },
        };
        let config = serde_json::to_vec(&config)?;
        let tag = super::Reference::parse(image.reference).map_err(super::invalid)?;
        let digest = format!("{}@{}", tag.name(), layer::digest(&config));
        self.record(&config, vec![tag.to_string()], vec![digest], vec![name])
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn header(kind: EntryType, mode: u32, owner: u64, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner);
    header.set_gid(owner);
    header.set_mtime(0);
    header.set_size(size);
    header
}

fn write_layer(path: &Path, binary: &Path, image: &BinaryImage<'_>) -> io::Result<()> {
    const FILE_MODE: u32 = 0o644;
    const LINK_MODE: u32 = 0o777;
    let mut tar = Builder::new(BufWriter::new(File::create(path)?));
    for (name, mode, owner) in DIRECTORIES {
        let mut header = header(EntryType::Directory, mode, owner, 0);
        tar.append_data(&mut header, name, io::empty())?;
    }
    for (name, content) in [("etc/passwd", PASSWD), ("etc/group", GROUP)] {
        let mut header = header(EntryType::Regular, FILE_MODE, 0, content.len() as u64);
        tar.append_data(&mut header, name, content.as_bytes())?;
    }
    let mut file = File::open(binary)?;
    let size = file.seek(io::SeekFrom::End(0))?;
    file.rewind()?;
    let mut entry = header(EntryType::Regular, BINARY_MODE, 0, size);
    tar.append_data(&mut entry, format!("bin/{}", image.name), file.take(size))?;
    for applet in image.applets.iter().filter(|applet| **applet != image.name) {
        let mut header = header(EntryType::Symlink, LINK_MODE, 0, 0);
        tar.append_link(&mut header, format!("bin/{applet}"), image.name)?;
    }
    tar.into_inner()?.flush()
}
