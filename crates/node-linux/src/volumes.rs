//! Pod volumes on the node: scratch directories, projected files, directories, host paths.
//!
//! Blocking. Upstream counterpart: the kubelet's volume plugins and its `AtomicWriter`.

use crate::{
    images::{Image, ImageStore},
    layout::Layout,
    sys,
};
use env::{RuntimeError, RuntimeResult, VolumeSource};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink},
    path::{Path, PathBuf},
    thread,
};

const SCRATCH_MODE: u32 = 0o777;
const FILES_MODE: u32 = 0o755;
const SET_GROUP_ID: u32 = 0o2000;
/// What a group gets on files of an fsGroup volume.
const GROUP_READ: u32 = 0o440;
const GROUP_ALL: u32 = 0o070;
/// Directory beside the layers that has nothing in it.
const EMPTY_LAYER: &str = "empty";
/// Link that is swapped to update all files of a volume at once.
const DATA: &str = "..data";

type Files = BTreeMap<String, (Vec<u8>, u32)>;

fn failed(error: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::new("FailedMount", error.to_string())
}

/// Makes a volume available, see [`env::Containers::prepare_volume`].
pub fn prepare(
    images: &ImageStore,
    layout: &Layout,
    (pod, name): (&str, &str),
    (source, group): (&VolumeSource, Option<i64>),
) -> RuntimeResult<String> {
    if [pod, name]
        .iter()
        .any(|part| part.is_empty() || part.contains('/') || *part == "..")
    {
        return Err(failed(format!(
            "volume {name:?} of pod {pod:?} has no usable name"
        )));
    }
    let group = group.and_then(|group| u32::try_from(group).ok());
    let own = layout.pod_volumes(pod).join(name);
    let path = match source {
        VolumeSource::EmptyDir { memory, size_limit } => {
            scratch(&own, *memory, *size_limit, group).map(|()| own)
        }
        VolumeSource::Files { files } => write_files(&own, files, group).map(|()| own),
        VolumeSource::Directory { path } => {
            let path = PathBuf::from(path);
            directory(&path, group).map(|()| path)
        }
        VolumeSource::Image { reference } => {
            let user = layout.pod_images(pod).join(name);
            image(images, layout, reference, (&own, &user)).map(|()| own)
        }
        VolumeSource::HostPath { path, kind } => {
            return host_path(Path::new(path), kind).map(|()| path.clone());
        }
    };
    let path = path.map_err(failed)?;
    path.into_os_string()
        .into_string()
        .map_err(|_| failed("the state directory is not UTF-8"))
}

/// Releases all volumes of a pod.
pub fn release(layout: &Layout, pod: &str) -> io::Result<()> {
    let volumes = layout.pod_volumes(pod);
    for entry in fs::read_dir(&volumes).into_iter().flatten().flatten() {
        while is_mount_point(&entry.path())? {
            sys::unmount(entry.path())?;
        }
    }
    match fs::remove_dir_all(volumes.parent().unwrap_or(&volumes)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn is_mount_point(path: &Path) -> io::Result<bool> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    Ok(fs::symlink_metadata(path)?.dev() != fs::symlink_metadata(parent)?.dev())
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn scratch(path: &Path, memory: bool, limit: Option<u64>, group: Option<u32>) -> io::Result<()> {
    if path.exists() && (!memory || is_mount_point(path)?) {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    if memory {
        let size = limit
            .map(|bytes| format!(",size={bytes}"))
            .unwrap_or_default();
        let flags = libc::MS_NOSUID | libc::MS_NODEV;
        sys::mount("tmpfs", path, "tmpfs", flags, &format!("mode=0777{size}"))?;
    }
    set_mode(path, SCRATCH_MODE)?;
    group.map_or(Ok(()), |group| {
        lchown(path, None, Some(group))?;
        set_mode(path, SCRATCH_MODE | SET_GROUP_ID)
    })
}

/// Ids of the images that volumes show.
pub fn images_in_use(layout: &Layout) -> io::Result<BTreeSet<String>> {
    let mut used = BTreeSet::new();
    for pod in entries(&layout.pods())? {
        let uid = pod.file_name().into_string().unwrap_or_default();
        for user in entries(&layout.pod_images(&uid))? {
            used.insert(fs::read_to_string(user.path())?);
        }
    }
    Ok(used)
}

fn entries(directory: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.collect(),
    }
}

/// Mounts an image's layers, read-only and not to be executed, and notes in the file `user` which
/// image it is. A layer alone is joined by an empty one, since the kernel stacks two at least.
fn image(
    images: &ImageStore,
    layout: &Layout,
    reference: &str,
    (path, user): (&Path, &Path),
) -> io::Result<()> {
    if path.exists() && is_mount_point(path)? {
        return Ok(());
    }
    let found = images.find(reference)?;
    let missing = || io::Error::other(format!("image {reference:?} is not present"));
    let Image { id, layers, .. } = found.ok_or_else(missing)?;
    fs::create_dir_all(user.parent().unwrap_or(user))?;
    fs::write(user, id)?;
    let directory = layout.layers();
    fs::create_dir_all(directory.join(EMPTY_LAYER))?;
    fs::create_dir_all(path)?;
    let lower: Vec<&str> = layers.iter().rev().map(String::as_str).collect();
    let options = format!("lowerdir={}:{EMPTY_LAYER}", lower.join(":"));
    let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // Relative names keep the option string within the kernel's page; the working directory
    // they start from is a thread's of its own.
    let mount = || {
        sys::unshare(libc::CLONE_FS)?;
        std::env::set_current_dir(&directory)?;
        sys::mount("overlay", path, "overlay", flags, &options)
    };
    let mounted = thread::scope(|scope| scope.spawn(mount).join());
    mounted.unwrap_or_else(|_| Err(io::Error::other("the mounting thread panicked")))
}

fn directory(path: &Path, group: Option<u32>) -> io::Result<()> {
    if !path.exists() {
        fs::create_dir_all(path)?;
        set_mode(path, SCRATCH_MODE)?;
    }
    match group {
        Some(group) if fs::metadata(path)?.gid() != group => give_to_group(path, group),
        _ => Ok(()),
    }
}

/// Hands a tree to a group; links are not followed.
fn give_to_group(path: &Path, group: u32) -> io::Result<()> {
    lchown(path, None, Some(group))?;
    let data = fs::symlink_metadata(path)?;
    if data.is_symlink() {
        return Ok(());
    }
    if !data.is_dir() {
        return set_mode(path, data.mode() | GROUP_ALL & !0o010);
    }
    set_mode(path, data.mode() | GROUP_ALL | SET_GROUP_ID)?;
    fs::read_dir(path)?.try_for_each(|entry| give_to_group(&entry?.path(), group))
}

fn host_path(path: &Path, kind: &str) -> RuntimeResult<()> {
    const CREATED_DIRECTORY: u32 = 0o755;
    let wrong = |what: &str| {
        failed(format!(
            "hostPath type check failed: {} is not {what}",
            path.display()
        ))
    };
    if !path.exists() {
        match kind {
            "DirectoryOrCreate" => {
                fs::create_dir_all(path).map_err(failed)?;
                set_mode(path, CREATED_DIRECTORY).map_err(failed)?;
            }
            "FileOrCreate" => drop(fs::File::create(path).map_err(failed)?),
            _ => {}
        }
    }
    let found = fs::metadata(path).ok().map(|data| data.file_type());
    let holds = |check: fn(&fs::FileType) -> bool| found.as_ref().is_some_and(check);
    match kind {
        "" => Ok(()),
        "Directory" | "DirectoryOrCreate" => holds(fs::FileType::is_dir)
            .then_some(())
            .ok_or_else(|| wrong("a directory")),
        "File" | "FileOrCreate" => holds(fs::FileType::is_file)
            .then_some(())
            .ok_or_else(|| wrong("a file")),
        "Socket" => holds(FileTypeExt::is_socket)
            .then_some(())
            .ok_or_else(|| wrong("a socket file")),
        "CharDevice" => holds(FileTypeExt::is_char_device)
            .then_some(())
            .ok_or_else(|| wrong("a character device")),
        "BlockDevice" => holds(FileTypeExt::is_block_device)
            .then_some(())
            .ok_or_else(|| wrong("a block device")),
        other => Err(failed(format!("{other:?} is an invalid volume type"))),
    }
}

/// Writes all files into a fresh directory and swaps one link, so that a reader sees either all
/// old or all new content.
fn write_files(path: &Path, files: &Files, group: Option<u32>) -> io::Result<()> {
    files.keys().try_for_each(check_name)?;
    fs::create_dir_all(path)?;
    set_mode(path, FILES_MODE)?;
    let old = fs::read_link(path.join(DATA)).ok();
    if let Some(old) = &old
        && holds_exactly(&path.join(old), files)
    {
        return Ok(());
    }
    let number = old
        .as_ref()
        .and_then(|old| old.to_str()?.strip_prefix("..v")?.parse::<u64>().ok());
    let version = format!("..v{}", number.map_or(1, |number| number + 1));
    let directory = path.join(&version);
    // Left by a writer that was interrupted.
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory)?;
    for (name, (content, mode)) in files {
        write_file(&directory, name, (content, *mode), group)?;
    }
    let swap = path.join("..data_new");
    let _ = fs::remove_file(&swap);
    symlink(&version, &swap)?;
    fs::rename(&swap, path.join(DATA))?;
    link_names(path, files)?;
    old.map_or(Ok(()), |old| fs::remove_dir_all(path.join(old)))
}

fn check_name(name: &String) -> io::Result<()> {
    let plain = |part| matches!(part, std::path::Component::Normal(_));
    if name.is_empty() || name.starts_with("..") || !Path::new(name).components().all(plain) {
        let text = format!("{name:?} is no relative path");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(())
}

fn write_file(
    directory: &Path,
    name: &str,
    (content, mode): (&[u8], u32),
    group: Option<u32>,
) -> io::Result<()> {
    let target = directory.join(name);
    fs::create_dir_all(target.parent().unwrap_or(directory))?;
    fs::write(&target, content)?;
    lchown(&target, None, group)?;
    set_mode(
        &target,
        if group.is_some() {
            mode | GROUP_READ
        } else {
            mode
        },
    )
}

fn first_part(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

/// Keeps one link per visible name, each through `..data`.
fn link_names(path: &Path, files: &Files) -> io::Result<()> {
    let wanted: BTreeSet<&str> = files.keys().map(|name| first_part(name)).collect();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !wanted.contains(name.as_ref()) {
            fs::remove_file(entry.path())?;
        }
    }
    let mut missing = wanted
        .into_iter()
        .filter(|name| fs::symlink_metadata(path.join(name)).is_err());
    missing.try_for_each(|name| symlink(format!("{DATA}/{name}"), path.join(name)))
}

fn holds_exactly(directory: &Path, files: &Files) -> bool {
    let same = |(name, (content, _)): (&String, &(Vec<u8>, u32))| {
        fs::read(directory.join(name)).is_ok_and(|found| found == *content)
    };
    files.iter().all(same) && count_files(directory) == files.len()
}

fn count_files(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let count = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => count_files(&entry.path()),
        _ => 1,
    };
    entries.map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        let entry = |(name, content): &(&str, &str)| {
            (name.to_string(), (content.as_bytes().to_vec(), 0o644))
        };
        list.iter().map(entry).collect()
    }

    #[test]
    fn files_are_swapped_as_one() {
        let root = std::env::temp_dir().join(format!("xebec-files-{}", std::process::id()));
        write_files(&root, &files(&[("a", "1"), ("d/b", "2")]), None).expect("written");
        assert_eq!(fs::read_to_string(root.join("d/b")).expect("there"), "2");
        let before = fs::read_link(root.join(DATA)).expect("link");
        write_files(&root, &files(&[("a", "1"), ("d/b", "2")]), None).expect("unchanged");
        assert_eq!(fs::read_link(root.join(DATA)).expect("link"), before);
        write_files(&root, &files(&[("a", "3")]), None).expect("updated");
        assert_eq!(fs::read_to_string(root.join("a")).expect("there"), "3");
        assert!(!root.join("d").exists() && !root.join(before).exists());
        assert!(write_files(&root, &files(&[("../a", "3")]), None).is_err());
        fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn host_path_types() {
        let cases = [
            ("/etc", "Directory", true),
            ("/etc", "File", false),
            ("/no/such", "", true),
            ("/no/such", "Directory", false),
            ("/dev/null", "CharDevice", true),
            ("/etc", "X", false),
        ];
        for (path, kind, good) in cases {
            assert_eq!(
                host_path(Path::new(path), kind).is_ok(),
                good,
                "{path} {kind}"
            );
        }
    }
}
