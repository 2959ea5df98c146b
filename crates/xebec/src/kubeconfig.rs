//! Merges a cluster's context into a kubeconfig without harming what else is there.

use crate::{home::Home, pki::Pki};
use base64::{Engine, prelude::BASE64_STANDARD};
use machinery::{Value, json};
use std::{
    env, fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The file a user means: the flag, the first of `$KUBECONFIG`, or the default.
pub fn path(flag: Option<&Path>) -> PathBuf {
    if let Some(path) = flag {
        return path.to_owned();
    }
    let listed = env::var_os("KUBECONFIG")
        .and_then(|list| env::split_paths(&list).find(|path| !path.as_os_str().is_empty()));
    listed.unwrap_or_else(|| {
        PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".kube/config")
    })
}

/// Name of the context.
fn context(home: &Home) -> String {
    format!("xebec-{}", home.name())
}

/// Adds (or replaces) the cluster's context and makes it the current one.
pub fn merge(file: &Path, home: &Home, server: &str, pki: &Pki) -> io::Result<()> {
    let mut config = read(file)?;
    let name = context(home);
    let encoded = |text: &str| BASE64_STANDARD.encode(text);
    put(
        &mut config,
        "clusters",
        &name,
        "cluster",
        json!({"server": server, "certificate-authority-data": encoded(&pki.trust())}),
    );
    put(
        &mut config,
        "users",
        &name,
        "user",
        json!({"client-certificate-data": encoded(&pki.admin.certificate), "client-key-data": encoded(&pki.admin.key)}),
    );
    put(
        &mut config,
        "contexts",
        &name,
        "context",
        json!({"cluster": &name, "user": &name}),
    );
    config["current-context"] = name.into();
    write(file, &config)
}

/// Takes the cluster's context away again.
pub fn forget(file: &Path, home: &Home) -> io::Result<()> {
    if !file.exists() {
        return Ok(());
    }
    let mut config = read(file)?;
    let name = context(home);
    for list in ["clusters", "users", "contexts"] {
        if let Some(items) = config.get_mut(list).and_then(Value::as_array_mut) {
            items.retain(|item| item["name"].str() != name);
        }
    }
    if config["current-context"].str() == name {
        config["current-context"] = "".into();
    }
    write(file, &config)
}

fn read(file: &Path) -> io::Result<Value> {
    let invalid = |why: &dyn std::fmt::Display| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{} is no kubeconfig, it is left as it is: {why}",
                file.display()
            ),
        )
    };
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(why) if why.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(why) => return Err(why),
    };
    let mut config = codec::decode_yaml(&text, codec::Limits::default())
        .map_err(|why| invalid(&why))?
        .value;
    if config.is_null() {
        config = json!({"apiVersion": "v1", "kind": "Config", "preferences": {}});
    }
    if config["kind"].str() != "Config" {
        return Err(invalid(&"kind is not Config"));
    }
    Ok(config)
}

fn put(config: &mut Value, list: &str, name: &str, key: &str, content: Value) {
    let mut entry = json!({"name": name});
    entry[key] = content;
    if !matches!(config[list], Value::Array(_)) {
        config[list] = Value::Array(Vec::new());
    }
    let items = config[list].as_array_mut().expect("just made an array");
    match items.iter_mut().find(|item| item["name"].str() == name) {
        Some(item) => *item = entry,
        None => items.push(entry),
    }
}

fn write(file: &Path, config: &Value) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    let temporary = file.with_extension("xebec-new");
    let mut out = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    io::Write::write_all(&mut out, codec::encode_yaml(config).as_bytes())?;
    fs::rename(temporary, file)
}
