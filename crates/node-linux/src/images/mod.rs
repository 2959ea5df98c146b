//! The image store: layers unpacked once per content, and an index of names.
//!
//! Blocking; must not know containers. Several processes may use one store: the index is read
//! anew and replaced under a lock. Upstream counterpart: containerd's content and image stores.

mod archive;
mod build;
mod layer;
mod pull;
mod reference;

pub use build::BinaryImage;
pub use pull::pull;
pub use reference::Reference;

use crate::{layout::Layout, sys};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::fd::AsFd,
    path::PathBuf,
};

const INDEX: &str = "images.json";
/// Shortest abbreviation of an image id that is looked up.
const MIN_ID_DIGITS: usize = 12;

/// What an image says about the processes that run from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// `user[:group]`.
    pub user: String,
    /// `NAME=value`.
    #[serde(deserialize_with = "null_as_default")]
    pub env: Vec<String>,
    /// Program and fixed arguments.
    #[serde(deserialize_with = "null_as_default")]
    pub entrypoint: Vec<String>,
    /// Default arguments.
    #[serde(deserialize_with = "null_as_default")]
    pub cmd: Vec<String>,
    /// Working directory.
    pub working_dir: String,
    /// Signal name or number.
    pub stop_signal: String,
}

fn null_as_default<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// The parts of an image configuration that matter here.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct ConfigFile {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default, deserialize_with = "null_as_default")]
    config: RunConfig,
    rootfs: RootFs,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct RootFs {
    #[serde(rename = "type", default)]
    kind: String,
    diff_ids: Vec<String>,
}

/// An image on record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Digest of the configuration.
    pub id: String,
    /// Names with tag.
    pub tags: Vec<String>,
    /// Names with digest.
    pub digests: Vec<String>,
    /// Layer directories, lowest first.
    pub layers: Vec<String>,
    /// Unpacked size, bytes.
    pub size: u64,
    /// How to run it.
    pub config: RunConfig,
}

impl Image {
    /// The image as the kubelet sees it.
    pub fn info(&self) -> env::ImageInfo {
        env::ImageInfo {
            id: self.id.clone(),
            tags: self.tags.clone(),
            digests: self.digests.clone(),
            size: self.size,
            user: self.config.user.clone(),
        }
    }

    fn has_name(&self, name: &str) -> bool {
        self.tags
            .iter()
            .chain(&self.digests)
            .any(|known| known == name)
    }
}

/// The store below a state directory.
#[derive(Clone, Debug)]
pub struct ImageStore {
    layout: Layout,
}

fn invalid(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

impl ImageStore {
    /// Opens or creates the store of a state directory.
    pub fn open(state: impl Into<PathBuf>) -> io::Result<Self> {
        let layout = Layout::new(state);
        fs::create_dir_all(layout.layers())?;
        Ok(Self { layout })
    }

    /// All images.
    pub fn list(&self) -> io::Result<Vec<Image>> {
        match fs::read(self.layout.images().join(INDEX)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(invalid),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The image with this name, digest or id (or the start of one).
    pub fn find(&self, reference: &str) -> io::Result<Option<Image>> {
        let images = self.list()?;
        let bare = reference.trim_start_matches("sha256:");
        let is_id =
            bare.len() >= MIN_ID_DIGITS && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_id {
            let by_id = |image: &&Image| image.id.trim_start_matches("sha256:").starts_with(bare);
            if let Some(image) = images.iter().find(by_id) {
                return Ok(Some(image.clone()));
            }
        }
        let Ok(name) = Reference::parse(reference) else {
            return Ok(None);
        };
        let wanted = match &name.digest {
            Some(digest) => format!("{}@{digest}", name.name()),
            None => name.to_string(),
        };
        Ok(images.into_iter().find(|image| image.has_name(&wanted)))
    }

    /// Imports a docker-save archive, an OCI archive or an OCI layout directory.
    pub fn load(&self, path: &std::path::Path) -> io::Result<Vec<Image>> {
        archive::load(self, path)
    }

    /// Forgets a name (or, given an id, a whole image); layers that neither another image nor an
    /// image in `used` needs are deleted.
    pub fn remove(&self, reference: &str, used: &BTreeSet<String>) -> io::Result<()> {
        let Some(found) = self.find(reference)? else {
            return Ok(());
        };
        self.change(|images| {
            let name = Reference::parse(reference)
                .map(|name| name.to_string())
                .unwrap_or_default();
            let keep_others = found.tags.len() > 1 && found.tags.contains(&name);
            for image in images.iter_mut().filter(|image| image.id == found.id) {
                image.tags.retain(|tag| keep_others && *tag != name);
            }
            images.retain(|image| image.id != found.id || !image.tags.is_empty());
        })?;
        self.remove_layers(&found, used)
    }

    fn remove_layers(&self, image: &Image, used: &BTreeSet<String>) -> io::Result<()> {
        if used.contains(&image.id) {
            return Ok(());
        }
        let left = self.list()?;
        let needed: BTreeSet<&String> = left.iter().flat_map(|image| &image.layers).collect();
        let mut unneeded = image.layers.iter().filter(|name| !needed.contains(name));
        unneeded.try_for_each(|name| layer::remove(&self.layout.layers(), name))
    }

    /// Records an image of unpacked layers; a name it takes is taken from other images.
    fn record(
        &self,
        config: &[u8],
        tags: Vec<String>,
        digests: Vec<String>,
        layers: Vec<String>,
    ) -> io::Result<Image> {
        let parsed: ConfigFile = serde_json::from_slice(config).map_err(invalid)?;
        let sizes = layers
            .iter()
            .filter_map(|name| layer::size(&self.layout.layers(), name));
        let mut image = Image {
            id: layer::digest(config),
            tags,
            digests,
            size: sizes.sum(),
            layers,
            config: parsed.config,
        };
        self.change(|images| {
            for other in images.iter_mut().filter(|other| other.id != image.id) {
                other.tags.retain(|tag| !image.tags.contains(tag));
            }
            if let Some(at) = images.iter().position(|other| other.id == image.id) {
                let old = images.remove(at);
                merge(&mut image.tags, old.tags);
                merge(&mut image.digests, old.digests);
            }
            images.push(image.clone());
        })?;
        Ok(image)
    }

    fn change(&self, edit: impl FnOnce(&mut Vec<Image>)) -> io::Result<()> {
        let directory = self.layout.images();
        let lock = File::create(directory.join("lock"))?;
        sys::wait_for_lock(lock.as_fd())?;
        let mut images = self.list()?;
        edit(&mut images);
        let temporary = directory.join(format!("{INDEX}.new"));
        fs::write(&temporary, serde_json::to_vec_pretty(&images)?)?;
        fs::rename(temporary, directory.join(INDEX))
    }

    /// A new empty directory for work in progress.
    fn scratch(&self) -> io::Result<Scratch> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        let path = self.layout.images().join("scratch").join(name);
        fs::create_dir_all(&path)?;
        Ok(Scratch(path))
    }
}

/// A directory that is deleted with its owner.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Leftovers cost space, nothing else.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn merge(into: &mut Vec<String>, from: Vec<String>) {
    for name in from {
        if !into.contains(&name) {
            into.push(name);
        }
    }
}
