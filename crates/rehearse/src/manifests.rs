//! Manifests from files: YAML streams, folders with a `kustomization.yaml`.
//!
//! Of kustomize the parts that only collect are understood; a field that would change
//! objects is refused by name, never ignored. Upstream counterpart: `kubectl apply -f/-k`.

use crate::Error;
use machinery::Value;
use serde::Deserialize;
use std::path::Path;

/// Name of the file that makes a folder a kustomization.
const KUSTOMIZATION: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
/// Kustomizations that name each other go no deeper than this.
const DEPTH_MAX: usize = 16;

/// The understood part of a kustomization.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Kustomization {
    #[serde(default, rename = "apiVersion")]
    _api_version: String,
    #[serde(default, rename = "kind")]
    _kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: Option<Value>,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    resources: Vec<String>,
}

/// Reads `file` as text.
pub(crate) fn read_file(file: &Path) -> Result<String, Error> {
    std::fs::read_to_string(file).map_err(|why| Error::File {
        path: file.to_owned(),
        why: why.to_string(),
    })
}

/// All documents of a YAML file.
pub(crate) fn documents(file: &Path) -> Result<Vec<Value>, Error> {
    let text = read_file(file)?;
    codec::yaml_documents(text.as_bytes()).map_err(|why| Error::File {
        path: file.to_owned(),
        why: why.message().to_owned(),
    })
}

/// A struct of ours from a tree; the error names the field.
pub(crate) fn read<'a, T: Deserialize<'a>>(value: &'a Value, file: &Path) -> Result<T, Error> {
    serde_path_to_error::deserialize(value).map_err(|why| {
        let path = match why.path().to_string() {
            path if path == "." => String::new(),
            path => format!("{path}: "),
        };
        Error::File {
            path: file.to_owned(),
            why: format!("{path}{}", why.inner()),
        }
    })
}

/// The objects that a file or a folder holds, in the order to create them in.
pub fn load(path: &Path) -> Result<Vec<Value>, Error> {
    let mut objects = Vec::new();
    collect(path, 0, &mut objects)?;
    // A stable sort: within a rank the author's order holds.
    objects.sort_by_key(rank);
    Ok(objects)
}

/// What others need comes first, as kustomize and Helm order it.
fn rank(object: &Value) -> usize {
    const FIRST: [&str; 11] = [
        "Namespace",
        "CustomResourceDefinition",
        "ResourceQuota",
        "LimitRange",
        "StorageClass",
        "PriorityClass",
        "ServiceAccount",
        "Role",
        "ClusterRole",
        "ConfigMap",
        "Secret",
    ];
    let kind = object["kind"].str();
    FIRST
        .iter()
        .position(|first| *first == kind)
        .unwrap_or(FIRST.len())
}

fn collect(path: &Path, depth: usize, objects: &mut Vec<Value>) -> Result<(), Error> {
    let refuse = |why: String| Error::File {
        path: path.to_owned(),
        why,
    };
    if depth > DEPTH_MAX {
        return Err(refuse(format!("more than {DEPTH_MAX} kustomizations deep")));
    }
    if !path.is_dir() {
        for document in documents(path)? {
            take(document, path, objects)?;
        }
        return Ok(());
    }
    let names = KUSTOMIZATION.map(|name| path.join(name));
    let file = names.iter().find(|file| file.is_file());
    let file = file.ok_or_else(|| refuse("the folder has no kustomization.yaml".into()))?;
    kustomize(path, file, depth, objects)
}

fn kustomize(
    folder: &Path,
    file: &Path,
    depth: usize,
    objects: &mut Vec<Value>,
) -> Result<(), Error> {
    let mut documents = documents(file)?;
    let only = documents.pop().unwrap_or_default();
    let kustomization: Kustomization = read(&only, file)?;
    let first = objects.len();
    for resource in &kustomization.resources {
        collect(&folder.join(resource), depth + 1, objects)?;
    }
    if !kustomization.namespace.is_empty() {
        for object in &mut objects[first..] {
            place(object, &kustomization.namespace);
        }
    }
    Ok(())
}

/// Kinds of the built-in groups that have no namespace, as kustomize knows them.
const CLUSTER_SCOPED: [&str; 9] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "IngressClass",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "RuntimeClass",
    "StorageClass",
];

fn place(object: &mut Value, namespace: &str) {
    let kind = object["kind"].str();
    if kind == "Namespace" {
        object.metadata_mut().insert("name", namespace);
    } else if !CLUSTER_SCOPED.contains(&kind) {
        object.metadata_mut().insert("namespace", namespace);
    }
}

fn take(document: Value, path: &Path, objects: &mut Vec<Value>) -> Result<(), Error> {
    let refuse = |why: &str| Error::File {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    if document["kind"].str() == "List" {
        for item in document["items"].items() {
            take(item.clone(), path, objects)?;
        }
        return Ok(());
    }
    if document["kind"].str().is_empty() || document["apiVersion"].str().is_empty() {
        return Err(refuse("a document without apiVersion and kind"));
    }
    if document.name().is_empty() {
        return Err(refuse("an object without metadata.name"));
    }
    objects.push(document);
    Ok(())
}
