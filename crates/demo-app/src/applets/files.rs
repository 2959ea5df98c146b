//! Commands on files and directories.

use super::flags;
use crate::{
    errors::{at, usage},
    time::format,
};
use std::{
    env, fs,
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Sources and where each goes: into a directory, or onto a name.
fn moves(names: &[String]) -> io::Result<Vec<(&Path, PathBuf)>> {
    let Some((target, sources)) = names
        .split_last()
        .filter(|(_, sources)| !sources.is_empty())
    else {
        return Err(usage("needs a source and a target"));
    };
    let directory = Path::new(target).is_dir();
    if sources.len() > 1 && !directory {
        return Err(usage(format!("target '{target}' is not a directory")));
    }
    let pairs = sources.iter().map(|source| {
        let source = Path::new(source);
        let name = source.file_name().unwrap_or_default();
        (
            source,
            if directory {
                Path::new(target).join(name)
            } else {
                target.into()
            },
        )
    });
    Ok(pairs.collect())
}

pub fn cp(args: &[String]) -> io::Result<i32> {
    let (flags, names) = flags(args, "rRapf")?;
    let deep = flags.contains(['r', 'R', 'a']);
    for (source, target) in moves(names)? {
        copy(source, &target, deep)?;
    }
    Ok(0)
}

fn copy(source: &Path, target: &Path, deep: bool) -> io::Result<()> {
    if !source.is_dir() {
        fs::copy(source, target).map_err(at(source))?;
        return Ok(());
    }
    if !deep {
        return Err(usage(format!(
            "-r not specified; omitting directory '{}'",
            source.display()
        )));
    }
    if target.starts_with(source) {
        return Err(usage(format!(
            "cannot copy '{}' into itself",
            source.display()
        )));
    }
    fs::create_dir_all(target).map_err(at(target))?;
    for entry in fs::read_dir(source).map_err(at(source))? {
        let entry = entry?;
        copy(&entry.path(), &target.join(entry.file_name()), true)?;
    }
    Ok(())
}

pub fn mv(args: &[String]) -> io::Result<i32> {
    let (_, names) = flags(args, "f")?;
    for (source, target) in moves(names)? {
        match fs::rename(source, &target) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                copy(source, &target, true)?;
                remove(source)?;
            }
            other => other.map_err(at(source))?,
        }
    }
    Ok(0)
}

fn remove(path: &Path) -> io::Result<()> {
    let directory = fs::symlink_metadata(path)?.is_dir();
    if directory {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

pub fn rm(args: &[String]) -> io::Result<i32> {
    let (flags, names) = flags(args, "rRf")?;
    for name in names {
        let path = Path::new(name);
        if path.is_dir() && !path.is_symlink() && !flags.contains(['r', 'R']) {
            return Err(usage(format!("'{name}' is a directory")));
        }
        match remove(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && flags.contains('f') => {}
            other => other.map_err(at(name))?,
        }
    }
    Ok(0)
}

pub fn mkdir(args: &[String]) -> io::Result<i32> {
    let (flags, names) = flags(args, "p")?;
    let make = if flags.contains('p') {
        fs::create_dir_all::<&String>
    } else {
        fs::create_dir
    };
    names
        .iter()
        .try_for_each(|name| make(name).map_err(at(name)))?;
    Ok(0)
}

pub fn rmdir(args: &[String]) -> io::Result<i32> {
    args.iter()
        .try_for_each(|name| fs::remove_dir(name).map_err(at(name)))?;
    Ok(0)
}

pub fn touch(args: &[String]) -> io::Result<i32> {
    for name in args {
        let file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(name)
            .map_err(at(name))?;
        file.set_modified(SystemTime::now()).map_err(at(name))?;
    }
    Ok(0)
}

pub fn ln(args: &[String]) -> io::Result<i32> {
    let (flags, names) = flags(args, "sf")?;
    let [source, target] = names else {
        return Err(usage("usage: ln [-sf] SOURCE TARGET"));
    };
    if flags.contains('f') && fs::symlink_metadata(target).is_ok() {
        fs::remove_file(target).map_err(at(target))?;
    }
    let made = if flags.contains('s') {
        symlink(source, target)
    } else {
        fs::hard_link(source, target)
    };
    made.map_err(at(target))?;
    Ok(0)
}

pub fn pwd(_: &[String]) -> io::Result<i32> {
    writeln!(io::stdout(), "{}", env::current_dir()?.display())?;
    Ok(0)
}

pub fn readlink(args: &[String]) -> io::Result<i32> {
    let (flags, names) = flags(args, "f")?;
    for name in names {
        let target = if flags.contains('f') {
            fs::canonicalize(name)
        } else {
            fs::read_link(name)
        };
        writeln!(io::stdout(), "{}", target.map_err(at(name))?.display())?;
    }
    Ok(0)
}

pub fn stat(args: &[String]) -> io::Result<i32> {
    for name in args {
        let file = fs::symlink_metadata(name).map_err(at(name))?;
        let (mode, size) = (file.permissions().mode() & 0o7777, file.len());
        writeln!(
            io::stdout(),
            "  File: {name}\n  Size: {size}\nAccess: ({mode:04o}/{})  Uid: {}  Gid: {}",
            permissions(&file),
            file.uid(),
            file.gid()
        )?;
    }
    Ok(0)
}

fn permissions(file: &fs::Metadata) -> String {
    let kind = match file.file_type() {
        kind if kind.is_dir() => 'd',
        kind if kind.is_symlink() => 'l',
        _ => '-',
    };
    let mode = file.permissions().mode();
    let bits = (0..9).map(|bit| {
        if mode & (0o400 >> bit) == 0 {
            '-'
        } else {
            ['r', 'w', 'x'][bit % 3]
        }
    });
    std::iter::once(kind).chain(bits).collect()
}

pub fn ls(args: &[String]) -> io::Result<i32> {
    let (flags, names) = flags(args, "la1Ah")?;
    let here = [".".to_owned()];
    let names = if names.is_empty() { &here[..] } else { names };
    for name in names {
        let path = Path::new(name);
        let mut entries = match path.is_dir() {
            true => fs::read_dir(path)
                .map_err(at(path))?
                .map(|entry| Ok(entry?.path()))
                .collect::<io::Result<Vec<_>>>()?,
            false => vec![path.to_owned()],
        };
        entries.sort();
        if names.len() > 1 && path.is_dir() {
            writeln!(io::stdout(), "{name}:")?;
        }
        for entry in entries {
            list(&entry, path.is_dir(), &flags)?;
        }
    }
    Ok(0)
}

fn list(entry: &Path, inside: bool, flags: &str) -> io::Result<()> {
    let name = if inside {
        entry.file_name().unwrap_or_default()
    } else {
        entry.as_os_str()
    }
    .to_string_lossy();
    if inside && name.starts_with('.') && !flags.contains(['a', 'A']) {
        return Ok(());
    }
    let file = fs::symlink_metadata(entry).map_err(at(entry))?;
    if !flags.contains('l') {
        return writeln!(io::stdout(), "{name}");
    }
    let modified = Duration::from_secs(u64::try_from(file.mtime()).unwrap_or(0));
    let link = fs::read_link(entry)
        .map(|target| format!(" -> {}", target.display()))
        .unwrap_or_default();
    let (links, user, group, size) = (file.nlink(), file.uid(), file.gid(), file.len());
    let mode = permissions(&file);
    writeln!(
        io::stdout(),
        "{mode} {links:>3} {user:<5} {group:<5} {size:>10} {} {name}{link}",
        format(modified, "%b %e %H:%M")
    )
}
