//! Imports image archives: `docker save` tars, OCI layout tars and directories.

use super::{ConfigFile, Image, ImageStore, Reference, invalid, layer, reference::is_digest};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// Depth of nested indexes followed.
const MAX_NESTING: usize = 4;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    #[serde(default, deserialize_with = "super::null_as_default")]
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Clone, Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Clone, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct Manifest {
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

/// Imports everything at `path`.
pub fn load(store: &ImageStore, path: &Path) -> io::Result<Vec<Image>> {
    if path.is_dir() {
        return load_directory(store, path);
    }
    let scratch = store.scratch()?;
    tar::Archive::new(File::open(path)?).unpack(&scratch.0)?;
    load_directory(store, &scratch.0)
}

fn load_directory(store: &ImageStore, directory: &Path) -> io::Result<Vec<Image>> {
    let saved = directory.join("manifest.json");
    if saved.exists() {
        let images: Vec<SavedImage> = serde_json::from_slice(&fs::read(saved)?).map_err(invalid)?;
        return images
            .iter()
            .map(|image| load_saved(store, directory, image))
            .collect();
    }
    let bytes = fs::read(directory.join("index.json"))
        .map_err(|_| invalid("neither manifest.json nor index.json found: not an image archive"))?;
    let index: Index = serde_json::from_slice(&bytes).map_err(invalid)?;
    index
        .manifests
        .iter()
        .map(|entry| load_layout(store, directory, entry, None, 0))
        .collect()
}

/// A file of the archive; links within the archive are followed, not out of it.
fn member(directory: &Path, name: &str) -> io::Result<PathBuf> {
    let path = directory.join(name).canonicalize()?;
    if path.starts_with(directory.canonicalize()?) {
        return Ok(path);
    }
    Err(invalid(format!("{name:?} leads outside the archive")))
}

fn blob(directory: &Path, digest: &str) -> io::Result<PathBuf> {
    if !is_digest(digest) {
        return Err(invalid(format!("unsupported digest {digest:?}")));
    }
    member(directory, &format!("blobs/{}", digest.replace(':', "/")))
}

fn unpack_layers(store: &ImageStore, config: &[u8], files: &[PathBuf]) -> io::Result<Vec<String>> {
    let parsed: ConfigFile = serde_json::from_slice(config).map_err(invalid)?;
    if parsed.rootfs.diff_ids.len() != files.len() {
        return Err(invalid(
            "the image configuration names another number of layers",
        ));
    }
    let layers = store.layout.layers();
    let unpack =
        |(file, diff_id): (&PathBuf, &String)| layer::unpack(&layers, File::open(file)?, diff_id);
    files
        .iter()
        .zip(&parsed.rootfs.diff_ids)
        .map(unpack)
        .collect()
}

fn tag(name: &str) -> io::Result<String> {
    Reference::parse(name)
        .map(|name| name.to_string())
        .map_err(invalid)
}

fn load_saved(store: &ImageStore, directory: &Path, image: &SavedImage) -> io::Result<Image> {
    let config = fs::read(member(directory, &image.config)?)?;
    let files: Vec<PathBuf> = image
        .layers
        .iter()
        .map(|name| member(directory, name))
        .collect::<io::Result<_>>()?;
    let layers = unpack_layers(store, &config, &files)?;
    let tags = image
        .repo_tags
        .iter()
        .map(|name| tag(name))
        .collect::<io::Result<_>>()?;
    store.record(&config, tags, Vec::new(), layers)
}

fn load_layout(
    store: &ImageStore,
    directory: &Path,
    entry: &Descriptor,
    outer_name: Option<&str>,
    nesting: usize,
) -> io::Result<Image> {
    let bytes = fs::read(blob(directory, &entry.digest)?)?;
    if layer::digest(&bytes) != entry.digest {
        return Err(invalid(format!(
            "content of {} does not match its digest",
            entry.digest
        )));
    }
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(invalid)?;
    let names = [
        "io.containerd.image.name",
        "org.opencontainers.image.ref.name",
    ];
    let own_name = names.iter().find_map(|key| entry.annotations.get(*key));
    let name = own_name.map(String::as_str).or(outer_name);
    let Some(config) = manifest.config else {
        let inner = manifest
            .manifests
            .iter()
            .find(|inner| matches_platform(inner));
        let inner = inner.filter(|_| nesting < MAX_NESTING);
        let inner = inner.ok_or_else(|| invalid("the archive has no image for this platform"))?;
        return load_layout(store, directory, inner, name, nesting + 1);
    };
    let config = fs::read(blob(directory, &config.digest)?)?;
    let files: Vec<PathBuf> = manifest
        .layers
        .iter()
        .map(|layer| blob(directory, &layer.digest))
        .collect::<io::Result<_>>()?;
    let layers = unpack_layers(store, &config, &files)?;
    let tags: Vec<String> = name.map(tag).transpose()?.into_iter().collect();
    let named = |tag: &String| Reference::parse(tag).ok().map(|name| name.name());
    let digests = tags
        .iter()
        .filter_map(named)
        .map(|name| format!("{name}@{}", entry.digest));
    store.record(&config, tags.clone(), digests.collect(), layers)
}

fn matches_platform(entry: &Descriptor) -> bool {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let fits =
        |platform: &Platform| platform.os == "linux" && platform.architecture == architecture;
    entry.platform.as_ref().is_none_or(fits)
}
