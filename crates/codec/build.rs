//! Collects the descriptions of built-in types for `kubectl explain` and the OpenAPI documents.
//!
//! They are the doc comments of the pinned crate `k8s-openapi`, whose source cargo holds but
//! never compiles. Without that source (an offline build without a cache) explain shows no
//! descriptions; nothing else depends on them.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const CRATE: &str = "k8s-openapi";
const VERSION_FOLDER: &str = "src/v1_36";
const COMPRESSION: u8 = 6;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=Cargo.toml");
    let mut lines = Vec::new();
    match source() {
        Some(folder) => collect(&folder.join(VERSION_FOLDER), &mut lines),
        None => println!(
            "cargo:warning=the source of {CRATE} was not found: explain will show no descriptions"
        ),
    }
    lines.sort();
    let packed = miniz_oxide::deflate::compress_to_vec(lines.join("\n").as_bytes(), COMPRESSION);
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    fs::write(Path::new(&out).join("descriptions.deflate"), packed).expect("OUT_DIR takes a file");
}

/// The crate's folder, asked of cargo without the network first.
fn source() -> Option<PathBuf> {
    ask_cargo(&["--offline"])
        .or_else(|| ask_cargo(&[]))
        .or_else(in_cargo_home)
}

/// Where cargo unpacks crates today. Not promised, so only asked last: cargo refuses to
/// answer while the lock file is being changed.
fn in_cargo_home() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))?;
    let registries = fs::read_dir(home.join("registry/src")).ok()?;
    registries
        .flatten()
        .filter_map(|registry| fs::read_dir(registry.path()).ok())
        .flat_map(|crates| crates.flatten())
        .map(|entry| entry.path())
        .filter(|path| path.join(VERSION_FOLDER).is_dir())
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(CRATE))
        })
}

fn ask_cargo(more: &[&str]) -> Option<PathBuf> {
    let output = Command::new(env::var_os("CARGO")?)
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(more)
        .current_dir(env::var_os("CARGO_MANIFEST_DIR")?)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let ending = "/Cargo.toml\"";
    // Paths stand in JSON strings; the crate's own manifest is the one whose folder names it.
    text.split("\"manifest_path\":\"")
        .filter_map(|rest| rest.split_inclusive(ending).next())
        .filter_map(|path| path.strip_suffix(ending))
        .find(|path| {
            path.rsplit('/')
                .next()
                .is_some_and(|name| name.starts_with(CRATE) && !name.contains("codegen"))
        })
        .map(PathBuf::from)
        .filter(|folder| folder.join(VERSION_FOLDER).is_dir())
}

fn collect(folder: &Path, lines: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, lines);
        } else if let Ok(text) = fs::read_to_string(&path) {
            describe(&text, lines);
        }
    }
}

/// One source file: its definition's text, and its fields' under their JSON names.
fn describe(text: &str, lines: &mut Vec<String>) {
    let Some(definition) = text
        .lines()
        .find_map(|line| line.strip_prefix("// Generated from definition "))
    else {
        return;
    };
    let names = json_names(text);
    let mut comment = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(more) = line.strip_prefix("///") {
            if !comment.is_empty() {
                comment.push('\n');
            }
            comment.push_str(more.strip_prefix(' ').unwrap_or(more));
        } else if line.starts_with("pub struct ") || line.starts_with("pub enum ") {
            put(lines, definition, "", &mut comment);
        } else if let Some((field, _)) = line
            .strip_prefix("pub ")
            .and_then(|rest| rest.split_once(':'))
        {
            let name = names.get(field).copied().unwrap_or(field);
            put(lines, definition, name, &mut comment);
        } else if line.starts_with("impl") {
            return;
        }
    }
}

/// Rust field name to JSON name, out of the generated deserializer.
fn json_names(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.trim().split_once("\" => Field::Key_"))
        .filter_map(|(json, rust)| Some((rust.strip_suffix(',')?, json.strip_prefix('"')?)))
        .collect()
}

fn put(lines: &mut Vec<String>, definition: &str, field: &str, comment: &mut String) {
    let text = unescape(&std::mem::take(comment));
    if !text.is_empty() {
        let text = text.replace('\\', "\\\\").replace('\n', "\\n");
        lines.push(format!("{definition}\t{field}\t{text}"));
    }
}

/// Undoes the crate's Markdown escapes (a backslash before punctuation).
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let escapes = letters
            .peek()
            .is_some_and(|next| "<>[]*_`\\#".contains(*next));
        if letter == '\\' && escapes {
            out.extend(letters.next());
        } else {
            out.push(letter);
        }
    }
    out
}
