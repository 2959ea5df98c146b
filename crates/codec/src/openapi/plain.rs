//! Documents about paths of no resource: groups, versions, keys.
//!
//! Upstream counterpart: `endpoints/discovery`, `server/routes`, as `kube-openapi` shows them.

use super::{
    TITLE,
    paths::{TYPES, camel, discovery, group_words},
    security,
    types::{Definitions, Dialect},
};
use machinery::{GroupVersionKind, Map, SmolStr, Value, format_smolstr, json};
use schema::Schema;
use std::{collections::BTreeMap, sync::Arc};

/// Paths with a document of their own, without the slash before; those of groups come beside them.
pub const PLAIN_DOCUMENTS: [&str; 5] = [
    ".well-known/openid-configuration",
    "api",
    "apis",
    "openid/v1/jwks",
    "version",
];

/// Of the answers, those that are kinds.
const KINDS: [&str; 3] = ["APIGroup", "APIGroupList", "APIVersions"];
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// What v2 says of `/version` besides: that it reads JSON.
fn reading(dialect: Dialect, mut item: Value) -> Value {
    if dialect == Dialect::V2 {
        item["get"]["consumes"] = json!(["application/json"]);
    }
    item
}

/// The operation at a path of no resource, if it is one that documents tell of.
fn operation(path: &str, dialect: Dialect) -> Option<Value> {
    let meta = |kind: &str| dialect.reference(&format!("{META}.{kind}"));
    let text = || json!({"type": "string"});
    let json = "application/json";
    Some(match path {
        "api" => discovery(
            dialect,
            "core",
            "getCoreAPIVersions",
            (meta("APIVersions"), &TYPES),
        ),
        "apis" => discovery(
            dialect,
            "apis",
            "getAPIVersions",
            (meta("APIGroupList"), &TYPES),
        ),
        "version" => {
            let info = dialect.reference("io.k8s.apimachinery.pkg.version.Info");
            reading(
                dialect,
                discovery(dialect, "version", "getCodeVersion", (info, &[json])),
            )
        }
        ".well-known/openid-configuration" => {
            let id = "getServiceAccountIssuerOpenIDConfiguration";
            discovery(dialect, "WellKnown", id, (text(), &[json]))
        }
        "openid/v1/jwks" => {
            let id = "getServiceAccountIssuerOpenIDKeyset";
            discovery(
                dialect,
                "openid",
                id,
                (text(), &["application/jwk-set+json"]),
            )
        }
        group => {
            let words = group_words(group.strip_prefix("apis/")?);
            let name: String = words.iter().map(|word| camel(word)).collect();
            let tag = words[0].to_owned() + &name[words[0].len()..];
            let id = format!("get{name}APIGroup");
            discovery(dialect, &tag, &id, (meta("APIGroup"), &TYPES))
        }
    })
}

/// `/openapi/v3/PATH` for a path of [`PLAIN_DOCUMENTS`] or `apis/GROUP`.
pub fn openapi_v3_plain(path: &str, shared: &Arc<Schema>, server_version: &str) -> Option<Value> {
    let item = operation(path, Dialect::V3)?;
    let mut definitions = Definitions::new(Dialect::V3, shared);
    definitions.referred(&item);
    let paths: Map = [(format!("/{path}/"), item)].into_iter().collect();
    let mut components = json!({"securitySchemes": security()});
    let schemas = definitions.finish(&kinds());
    if schemas.entries().next().is_some() {
        components["schemas"] = schemas;
    }
    Some(json!({
        "openapi": "3.0.0", "info": {"title": TITLE, "version": server_version},
        "paths": paths, "components": components,
    }))
}

/// Which kinds the answers are.
pub(super) fn kinds() -> BTreeMap<SmolStr, Vec<GroupVersionKind>> {
    let core = |kind| vec![GroupVersionKind::new("", "v1", kind)];
    let kinds = KINDS.map(|kind| (format_smolstr!("{META}.{kind}"), core(kind)));
    BTreeMap::from(kinds)
}

/// Adds the paths of no resource, with those of the groups of what is there already.
pub(super) fn add_plain(paths: &mut Map, dialect: Dialect) {
    let groups = paths.keys().filter_map(|path| {
        let (group, _) = path
            .strip_prefix("/apis/")?
            .strip_suffix('/')?
            .split_once('/')?;
        Some(format!("apis/{group}"))
    });
    let groups: Vec<String> = groups.collect();
    let plain = PLAIN_DOCUMENTS.into_iter().map(str::to_owned);
    for path in plain.chain(groups) {
        if let Some(item) = operation(&path, dialect) {
            paths.insert(format!("/{path}/"), item);
        }
    }
}
