//! `tar`, as much as copying files in and out of a container needs.

use crate::errors::{at, usage};
use std::{
    env,
    fs::File,
    io::{self, Read, Write},
    path::{Component, Path, PathBuf},
};

#[derive(Default)]
struct Options {
    letters: String,
    file: Option<String>,
    directory: PathBuf,
    members: Vec<String>,
}

fn parse(args: &[String]) -> io::Result<Options> {
    let mut options = Options {
        directory: env::current_dir()?,
        ..Options::default()
    };
    let mut words = args.iter().enumerate();
    while let Some((index, word)) = words.next() {
        let mut next = || {
            words
                .next()
                .map(|(_, value)| value.clone())
                .ok_or_else(|| usage(format!("{word} needs a value")))
        };
        match word.as_str() {
            "-C" => options.directory = next()?.into(),
            flag if flag.starts_with("--no-same") || flag == "--" => {}
            flag if flag.starts_with("--") => {
                return Err(usage(format!("unrecognized option '{flag}'")));
            }
            flag if index == 0 || flag.starts_with('-') && flag.len() > 1 => {
                let letters = flag.trim_start_matches('-');
                options.letters.push_str(letters);
                if letters.contains('f') {
                    options.file = Some(next()?).filter(|name| name != "-");
                }
            }
            member => options.members.push(member.to_owned()),
        }
    }
    match options
        .letters
        .chars()
        .find(|letter| !"cxtfvmpho".contains(*letter))
    {
        Some(unknown) => Err(usage(format!(
            "option -{unknown} is not supported by this small tar"
        ))),
        None => Ok(options),
    }
}

/// The program `tar`: `c`, `x` or `t`, with `f`, `v`, `m`, `p` and `-C`.
pub fn tar(args: &[String]) -> io::Result<i32> {
    let options = parse(args)?;
    let mode = |letter| options.letters.contains(letter);
    match (mode('c'), mode('x'), mode('t')) {
        (true, false, false) => create(&options)?,
        (false, true, false) => extract(&options)?,
        (false, false, true) => list(&options)?,
        _ => return Err(usage("give one of c, x and t")),
    }
    Ok(0)
}

fn create(options: &Options) -> io::Result<()> {
    let to: Box<dyn Write> = match &options.file {
        Some(name) => Box::new(File::create(name).map_err(at(name))?),
        None => Box::new(io::stdout()),
    };
    let mut archive = tar::Builder::new(to);
    archive.follow_symlinks(options.letters.contains('h'));
    for member in &options.members {
        let path = options.directory.join(member);
        let inside = relative(Path::new(member));
        let added = match path.is_dir() && !path.is_symlink() {
            true if inside.as_os_str().is_empty() => archive.append_dir_all(".", &path),
            true => archive.append_dir_all(&inside, &path),
            false => archive.append_path_with_name(&path, &inside),
        };
        added.map_err(at(member))?;
    }
    archive.into_inner()?.flush()
}

/// A path without its root and without steps upwards, as archives hold them.
fn relative(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect()
}

fn input(options: &Options) -> io::Result<tar::Archive<Box<dyn Read>>> {
    let from: Box<dyn Read> = match &options.file {
        Some(name) => Box::new(File::open(name).map_err(at(name))?),
        None => Box::new(io::stdin()),
    };
    Ok(tar::Archive::new(from))
}

fn extract(options: &Options) -> io::Result<()> {
    let mut archive = input(options)?;
    archive.set_preserve_mtime(!options.letters.contains('m'));
    archive.unpack(&options.directory)
}

fn list(options: &Options) -> io::Result<()> {
    for entry in input(options)?.entries()? {
        writeln!(io::stdout(), "{}", entry?.path()?.display())?;
    }
    Ok(())
}
