//! Discovery and OpenAPI endpoints: documents made from the catalogue, kept until it changes.
//!
//! Upstream counterpart: `endpoints/discovery`, `kube-openapi/pkg/handler{,3}`.

use crate::{
    answer::{HttpResponse, whole},
    health::{MINOR, VERSION},
};
use bytes::Bytes;
use codec::{ApiGroup, ApiResource, ApiSubresource, Encoding, Offer, Transform, base_path};
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, StatusCode, header};
use kinds::{Catalogue, Kind};
use machinery::{GroupVersion, SmolStr, Status, Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// Documents by path and form, made for one catalogue.
#[derive(Default)]
pub struct Documents {
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    catalogue: Catalogue,
    resources: Arc<Vec<ApiResource>>,
    documents: BTreeMap<String, Document>,
}

#[derive(Clone)]
struct Document {
    bytes: Bytes,
    etag: String,
}

/// What the protobuf form of OpenAPI v2 is called in answers: clients ask with an `@` where
/// this has a dot, but no parser of media types takes one.
const OPENAPI_V2_PROTOBUF_ANSWER: &str =
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

const DISCOVERY: Offer<'static> = Offer {
    encodings: &[Encoding::Json, Encoding::Yaml],
    transforms: &[Transform::DiscoveryV2, Transform::DiscoveryV2Beta1],
};

impl Documents {
    /// Whether a path is one of discovery or OpenAPI.
    pub fn knows(path: &str) -> bool {
        let words: Vec<&str> = path.trim_matches('/').split('/').collect();
        matches!(
            words.as_slice(),
            ["api" | "apis"]
                | ["api", _]
                | ["apis", _]
                | ["apis", _, _]
                | ["openapi", "v2" | "v3"]
                | ["openapi", "v3", "api", _]
                | ["openapi", "v3", "apis", _, _]
        ) || plain(path).is_some()
    }

    /// Answers a discovery or OpenAPI path; `None` for any other path.
    pub fn respond(
        &self,
        catalogue: &Catalogue,
        path: &str,
        headers: &HeaderMap,
    ) -> Option<Result<HttpResponse, Status>> {
        let path = path.trim_end_matches('/');
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        Self::knows(path).then(|| self.document(catalogue, path, &words, headers))
    }

    fn document(
        &self,
        catalogue: &Catalogue,
        path: &str,
        words: &[&str],
        headers: &HeaderMap,
    ) -> Result<HttpResponse, Status> {
        let accept = headers
            .get(header::ACCEPT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if words == ["openapi", "v2"] && accept.contains(codec::OPENAPI_V2_PROTOBUF) {
            let key = format!("{path} protobuf");
            let document = self.cached(catalogue, key, |resources| {
                let document = codec::openapi_v2(resources.iter(), schema::builtin(), MINOR);
                Ok(codec::openapi_v2_protobuf(&document))
            })?;
            return Ok(conditional(&document, OPENAPI_V2_PROTOBUF_ANSWER, headers));
        }
        let (transform, content_type) = form(words, accept)?;
        let key = format!("{path} {transform:?}");
        let document = self.cached(catalogue, key, |resources| {
            let value = make(catalogue, resources, words, transform)?;
            Ok(codec::encode_json_value(&value))
        })?;
        Ok(conditional(&document, &content_type, headers))
    }

    fn cached(
        &self,
        catalogue: &Catalogue,
        key: String,
        make: impl FnOnce(&[ApiResource]) -> Result<Vec<u8>, Status>,
    ) -> Result<Document, Status> {
        let mut made = self.made.lock().expect("making documents does not panic");
        if !made.catalogue.is_same(catalogue) {
            *made = Made {
                catalogue: catalogue.clone(),
                resources: Arc::new(catalogue.iter().map(|kind| resource(kind)).collect()),
                documents: BTreeMap::new(),
            };
        }
        if let Some(document) = made.documents.get(&key) {
            return Ok(document.clone());
        }
        let resources = made.resources.clone();
        let bytes = make(&resources)?;
        let document = Document {
            etag: format!("\"{}\"", codec::document_hash(&bytes)),
            bytes: bytes.into(),
        };
        made.documents.insert(key, document.clone());
        Ok(document)
    }
}

/// The form of a document, by what the client accepts.
fn form(words: &[&str], accept: &str) -> Result<(Transform, String), Status> {
    match words {
        ["api"] | ["apis"] => {
            let choice = codec::negotiate(accept, &DISCOVERY)?;
            Ok((choice.transform, choice.content_type(false)))
        }
        _ => Ok((Transform::None, "application/json".into())),
    }
}

fn conditional(document: &Document, content_type: &str, headers: &HeaderMap) -> HttpResponse {
    let matches = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value
                .split(',')
                .any(|one| one.trim().trim_start_matches("W/") == document.etag)
        });
    let mut response = whole(200, content_type, Vec::new());
    if matches {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        *response.body_mut() = Full::new(document.bytes.clone()).boxed_unsync();
    }
    if let Ok(etag) = document.etag.parse() {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
        .headers_mut()
        .insert(header::VARY, header::HeaderValue::from_static("Accept"));
    response
}

fn make(
    catalogue: &Catalogue,
    resources: &[ApiResource],
    words: &[&str],
    transform: Transform,
) -> Result<Value, Status> {
    let groups = groups(catalogue);
    let version = |group: &str, version: &str| GroupVersion::new(group, version);
    match words {
        ["api" | "apis"] if transform != Transform::None => {
            Ok(aggregated(groups, resources, words[0] == "api", transform))
        }
        ["api"] => Ok(codec::api_versions(&[SmolStr::new_static("v1")], "")),
        ["apis"] => Ok(codec::api_group_list(&groups)),
        ["apis", name] => {
            let found = groups
                .iter()
                .find(|group| group.name == *name && !name.is_empty());
            found.map(codec::api_group).ok_or_else(Status::no_such_path)
        }
        ["api", one] => resource_list(resources, version("", one)),
        ["apis", group, one] => resource_list(resources, version(group, one)),
        ["openapi", "v2"] => Ok(codec::openapi_v2(
            resources.iter(),
            schema::builtin(),
            MINOR,
        )),
        ["openapi", "v3"] => Ok(index(catalogue)),
        ["openapi", "v3", "api", one] => openapi(resources, version("", one)),
        ["openapi", "v3", "apis", group, one] => openapi(resources, version(group, one)),
        ["openapi", "v3", "apis", group] if group.is_empty() || !catalogue.is_builtin(group) => {
            Err(Status::no_such_path())
        }
        ["openapi", "v3", path @ ..] => {
            let document = codec::openapi_v3_plain(&path.join("/"), schema::builtin(), MINOR);
            document.ok_or_else(Status::no_such_path)
        }
        _ => Err(Status::no_such_path()),
    }
}

fn groups(catalogue: &Catalogue) -> Vec<ApiGroup> {
    let group = |group: &kinds::Group| ApiGroup {
        name: group.name.clone(),
        versions: group.versions.clone(),
    };
    catalogue.groups().iter().map(group).collect()
}

/// `/api` shows the core group, `/apis` the others.
fn aggregated(
    mut groups: Vec<ApiGroup>,
    resources: &[ApiResource],
    core: bool,
    transform: Transform,
) -> Value {
    groups.retain(|group| group.name.is_empty() == core);
    let version = if transform == Transform::DiscoveryV2 {
        "v2"
    } else {
        "v2beta1"
    };
    codec::aggregated_discovery(version, &groups, resources.iter())
}

/// The resources of one version; 404 if there are none.
fn within(resources: &[ApiResource], gv: &GroupVersion) -> Result<Vec<ApiResource>, Status> {
    let found: Vec<_> = resources
        .iter()
        .filter(|one| one.gvk.group_version() == *gv)
        .cloned()
        .collect();
    if found.is_empty() {
        Err(Status::no_such_path())
    } else {
        Ok(found)
    }
}

fn resource_list(resources: &[ApiResource], gv: GroupVersion) -> Result<Value, Status> {
    Ok(codec::api_resource_list(
        &gv,
        within(resources, &gv)?.iter(),
    ))
}

/// A path of OpenAPI documents that is about no version, without what stands before.
fn plain(path: &str) -> Option<&str> {
    let rest = path.trim_end_matches('/').strip_prefix("/openapi/v3/")?;
    let group = rest.strip_prefix("apis/");
    let known = codec::PLAIN_DOCUMENTS.contains(&rest);
    (known || group.is_some_and(|group| !group.contains('/'))).then_some(rest)
}

fn openapi(resources: &[ApiResource], gv: GroupVersion) -> Result<Value, Status> {
    let found = within(resources, &gv)?;
    Ok(codec::openapi_v3(found.iter(), schema::builtin(), MINOR))
}

/// The index of OpenAPI documents. A document is a function of this binary's version and of the
/// definitions in it, so its hash needs no document.
fn index(catalogue: &Catalogue) -> Value {
    let mut paths = machinery::Map::new();
    let hash = codec::document_hash(env!("CARGO_PKG_VERSION").as_bytes());
    let mut plain = |path: &str| {
        let entry = json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")});
        paths.insert(path, entry);
    };
    codec::PLAIN_DOCUMENTS.into_iter().for_each(&mut plain);
    let groups = catalogue.groups().iter();
    let named = groups.filter(|group| !group.name.is_empty());
    // Groups of custom kinds alone have no document of their own.
    for group in named.filter(|group| catalogue.is_builtin(&group.name)) {
        plain(&format!("apis/{}", group.name));
    }
    for group in catalogue.groups() {
        for version in &group.versions {
            let gv = GroupVersion {
                group: group.name.clone(),
                version: version.clone(),
            };
            let mut made_of = format!("{}{VERSION}{gv}", env!("CARGO_PKG_VERSION"));
            let kinds = catalogue.of_version(&gv.group, &gv.version);
            kinds.for_each(|kind| made_of.push_str(&definition(kind)));
            let hash = codec::document_hash(made_of.as_bytes());
            let base = base_path(&gv);
            let entry = json!({"serverRelativeURL": format!("/openapi/v3{base}?hash={hash}")});
            paths.insert(base.trim_start_matches('/'), entry);
        }
    }
    json!({"paths": paths})
}

/// Which generation of which definition a kind is from; empty for a built-in kind.
fn definition(kind: &Kind) -> String {
    let source = kind.type_ref.schema.source.as_ref();
    let metadata = source.map(|source| source.definition.root().get("metadata"));
    metadata.map_or_else(String::new, |metadata| {
        let generation = metadata.get("generation").as_i64().unwrap_or_default();
        format!(" {}/{generation}", metadata.get("uid").str())
    })
}

fn resource(kind: &Kind) -> ApiResource {
    let names = |verbs: kinds::Verbs| verbs.iter().map(SmolStr::new_static).collect();
    let subresource = |one: &kinds::Subresource| ApiSubresource {
        name: one.name.clone(),
        gvk: one.gvk.clone(),
        verbs: names(one.verbs),
    };
    ApiResource {
        gvk: kind.gvk.clone(),
        plural: kind.plural.clone(),
        singular: kind.singular.clone(),
        list_kind: kind.list_kind.clone(),
        namespaced: kind.namespaced,
        verbs: names(kind.verbs),
        short_names: kind.short_names.clone(),
        categories: kind.categories.clone(),
        subresources: kind.subresources.iter().map(subresource).collect(),
        type_ref: kind.type_ref.clone(),
        shows_deleted: kind.strategy.shows_deleted,
        storage_version_hash: kind.storage_version_hash.clone(),
    }
}
