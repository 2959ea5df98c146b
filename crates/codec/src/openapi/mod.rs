//! OpenAPI v3 and v2 documents, made from resources and their types.
//!
//! Making one takes milliseconds; the caller keeps them until the resources change.
//! Knows no kind by name. Upstream counterparts: `kube-openapi`, `apiserver/pkg/server/routes/openapi.go`.

mod custom;
mod gnostic;
mod parameters;
mod paths;
mod plain;
mod stated;
mod types;

pub use gnostic::*;

use crate::{ApiResource, ApiSubresource, base_path};
use machinery::{GroupVersion, GroupVersionKind, Map, SmolStr, Value, format_smolstr, json};
use paths::{
    DELETE_OPTIONS, Names, RESOURCES, STATUS, WATCH_EVENT, add_paths, group_words, index_entry,
};
use plain::add_plain;
pub use plain::{PLAIN_DOCUMENTS, openapi_v3_plain};
use schema::Schema;
use std::{collections::BTreeMap, sync::Arc};
use types::{Definitions, Dialect};

const TITLE: &str = "Kubernetes";
/// What documents of custom kinds alone say of themselves.
const CUSTOM_TITLE: &str = "Kubernetes CRD Swagger";
const CUSTOM_VERSION: &str = "v0.1.0";

/// `/openapi/v3/apis/GROUP/VERSION` for the resources of one version. `shared` is the schema
/// of the built-in types, from which custom kinds take their metadata.
pub fn openapi_v3<'a>(
    resources: impl Iterator<Item = &'a ApiResource>,
    shared: &Arc<Schema>,
    server_version: &str,
) -> Value {
    let resources: Vec<&ApiResource> = resources.collect();
    let custom = resources.iter().all(|one| one.is_custom());
    let (paths, definitions) = build(resources.into_iter(), shared, Dialect::V3);
    let mut components = json!({"schemas": definitions});
    let info = match custom {
        true => json!({"title": CUSTOM_TITLE, "version": CUSTOM_VERSION}),
        false => json!({"title": TITLE, "version": server_version}),
    };
    if !custom {
        components["securitySchemes"] = security();
    }
    json!({"openapi": "3.0.0", "info": info, "paths": paths, "components": components})
}

/// How clients say who they are.
fn security() -> Value {
    json!({"BearerToken": {"type": "apiKey", "in": "header", "name": "authorization", "description": "Bearer Token authentication"}})
}

/// `/openapi/v2` for all resources.
pub fn openapi_v2<'a>(
    resources: impl Iterator<Item = &'a ApiResource>,
    shared: &Arc<Schema>,
    server_version: &str,
) -> Value {
    let (paths, definitions) = build(resources, shared, Dialect::V2);
    json!({
        "swagger": "2.0", "info": {"title": TITLE, "version": server_version}, "paths": paths,
        "definitions": definitions,
        "securityDefinitions": security(),
        "security": [{"BearerToken": []}],
    })
}

/// `/openapi/v3`: where each version's document is found, from the documents' bytes.
pub fn openapi_v3_index<'a>(documents: impl Iterator<Item = (GroupVersion, &'a [u8])>) -> Value {
    let paths: Map = documents
        .map(|(gv, document)| {
            let base = base_path(&gv);
            (
                base.trim_start_matches('/').to_owned(),
                index_entry(&base, document),
            )
        })
        .collect();
    json!({"paths": paths})
}

fn build<'a>(
    resources: impl Iterator<Item = &'a ApiResource>,
    shared: &Arc<Schema>,
    dialect: Dialect,
) -> (Map, Value) {
    let mut definitions = Definitions::new(dialect, shared);
    let mut kinds: BTreeMap<SmolStr, Vec<GroupVersionKind>> = BTreeMap::new();
    let mut paths = Map::new();
    let core = GroupVersionKind::new("", "v1", "");
    for (definition, kind) in [
        (DELETE_OPTIONS, "DeleteOptions"),
        (WATCH_EVENT, "WatchEvent"),
        (STATUS, "Status"),
        (RESOURCES, "APIResourceList"),
    ] {
        add_kind(&mut kinds, definition, &core, kind);
    }
    for resource in resources {
        let names = names(resource, shared);
        definitions.kind(&resource.type_ref, &names.kind);
        add_kind(&mut kinds, &names.kind, &resource.gvk, &resource.gvk.kind);
        if resource.can("list") {
            definitions.list(&names.kind, &names.list, &resource.plural);
            add_kind(&mut kinds, &names.list, &resource.gvk, &resource.list_kind);
        }
        for (sub, name) in resource.subresources.iter().zip(&names.subs) {
            if let Some(name) = name {
                add_kind(&mut kinds, name, &sub.gvk, &sub.gvk.kind);
            }
        }
        add_kind(&mut kinds, DELETE_OPTIONS, &resource.gvk, "DeleteOptions");
        add_kind(&mut kinds, WATCH_EVENT, &resource.gvk, "WatchEvent");
        add_paths(&mut paths, resource, &names, dialect);
    }
    if dialect == Dialect::V2 {
        add_plain(&mut paths, dialect);
        kinds.extend(plain::kinds());
    }
    for (_, item) in paths.iter() {
        definitions.referred(item);
    }
    (paths, definitions.finish(&kinds))
}

fn add_kind(
    kinds: &mut BTreeMap<SmolStr, Vec<GroupVersionKind>>,
    definition: &str,
    gvk: &GroupVersionKind,
    kind: &str,
) {
    let gvk = GroupVersionKind::new(&gvk.group, &gvk.version, kind);
    let known = kinds.entry(definition.into()).or_default();
    if !known.contains(&gvk) {
        known.push(gvk);
    }
}

/// Built-in types have names; custom ones get theirs from the group turned round.
fn names(resource: &ApiResource, shared: &Schema) -> Names {
    let named = &resource.type_ref.node().name;
    let package = match named.rsplit_once('.') {
        Some((package, _)) => SmolStr::new(package),
        None => {
            let words: Vec<&str> = resource.gvk.group.rsplit('.').collect();
            format_smolstr!("{}.{}", words.join("."), resource.gvk.version)
        }
    };
    let kind = if named.is_empty() {
        format_smolstr!("{package}.{}", resource.gvk.kind)
    } else {
        named.clone()
    };
    let list = if named.is_empty() {
        format_smolstr!("{package}.{}", resource.list_kind)
    } else {
        format_smolstr!("{named}List")
    };
    let sub = |sub: &ApiSubresource| {
        if sub.gvk == resource.gvk {
            return Some(kind.clone());
        }
        let group = group_words(&sub.gvk.group).join(".");
        let name = format_smolstr!("io.k8s.api.{group}.{}.{}", sub.gvk.version, sub.gvk.kind);
        shared.named(&name).map(|_| name)
    };
    let subs = resource.subresources.iter().map(sub).collect();
    Names { kind, list, subs }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{encode_json_value, testing::box_resource};
    use schema::{builtin, builtin_type};

    fn deployment() -> ApiResource {
        let gvk = GroupVersionKind::new("apps", "v1", "Deployment");
        ApiResource {
            type_ref: builtin_type("io.k8s.api.apps.v1.Deployment").unwrap(),
            gvk: gvk.clone(),
            plural: "deployments".into(),
            list_kind: "DeploymentList".into(),
            verbs: [
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch",
            ]
            .map(Into::into)
            .into(),
            subresources: vec![ApiSubresource {
                name: "status".into(),
                gvk,
                verbs: vec!["get".into(), "patch".into()],
            }],
            ..box_resource()
        }
    }

    /// Every reference must lead somewhere: clients give up on the whole document otherwise.
    fn check_references(value: &Value, definitions: &Value) {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            let name = reference.rsplit('/').next().unwrap();
            assert!(definitions.get(name).is_some(), "{reference} leads nowhere");
        }
        value
            .entries()
            .for_each(|(_, inner)| check_references(inner, definitions));
        value
            .items()
            .iter()
            .for_each(|inner| check_references(inner, definitions));
    }

    #[test]
    fn v3_has_what_kubectl_looks_for() {
        let document = openapi_v3([&deployment()].into_iter(), builtin(), "v1.36.1");
        let schemas = document.at(&["components", "schemas"]);
        check_references(&document, schemas);
        let kind = &schemas["io.k8s.api.apps.v1.Deployment"];
        let gvk = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
        assert_eq!(
            kind["x-kubernetes-group-version-kind"],
            json!([gvk.clone()])
        );
        let containers = schemas["io.k8s.api.core.v1.PodSpec"].at(&["properties", "containers"]);
        assert_eq!(containers["x-kubernetes-patch-merge-key"].str(), "name");
        assert_eq!(containers["x-kubernetes-patch-strategy"].str(), "merge");
        assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
        let ports = schemas["io.k8s.api.core.v1.ContainerPort"].at(&["properties", "protocol"]);
        assert_eq!(ports["default"].str(), "TCP");
        let path = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
        let patch = &path["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"], gvk);
        assert_eq!(
            patch["operationId"].str(),
            "patchAppsV1NamespacedDeployment"
        );
        let names: Vec<&str> = patch["parameters"]
            .items()
            .iter()
            .map(|parameter| parameter["name"].str())
            .collect();
        assert_eq!(
            names,
            ["dryRun", "fieldManager", "fieldValidation", "force"]
        );
        let common = path["parameters"]
            .items()
            .iter()
            .map(|one| one["name"].str());
        assert_eq!(Vec::from_iter(common), ["name", "namespace", "pretty"]);
        let all = &document["paths"]["/apis/apps/v1/deployments"];
        assert_eq!(all["parameters"][0]["name"].str(), "allowWatchBookmarks");
        assert!(all["get"].get("parameters").is_none(), "they stand once");
        let watch = &document["paths"]["/apis/apps/v1/watch/deployments"]["get"];
        assert_eq!(
            watch["operationId"].str(),
            "watchAppsV1DeploymentListForAllNamespaces"
        );
        let root = &document["paths"]["/apis/apps/v1/"]["get"];
        assert_eq!(root["operationId"].str(), "getAppsV1APIResources");
        let made = path["put"]["responses"]
            .entries()
            .map(|(code, _)| code.as_str());
        assert_eq!(Vec::from_iter(made), ["200", "201", "401"]);
        assert!(
            document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/status"]
                .get("get")
                .is_some()
        );
        assert!(schemas.get("io.k8s.api.apps.v1.DeploymentList").is_some());
    }

    #[test]
    fn custom_kinds_stand_beside_built_in_ones() {
        let resources = [deployment(), box_resource()];
        let document = openapi_v2(resources.iter(), builtin(), "v1.36.1");
        let definitions = &document["definitions"];
        check_references(&document, definitions);
        let kind = &definitions["com.example.v1.Box"];
        assert_eq!(kind["description"].str(), "Box holds things.");
        assert_eq!(
            kind.at(&["properties", "spec", "properties", "size", "type"])
                .str(),
            "integer"
        );
        assert_eq!(
            kind.at(&["properties", "metadata", "$ref"]).str(),
            "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
        );
        let list = &definitions["com.example.v1.BoxList"];
        assert_eq!(
            list["x-kubernetes-group-version-kind"][0]["kind"].str(),
            "BoxList"
        );
        let create =
            &document["paths"]["/apis/example.com/v1/namespaces/{namespace}/boxes"]["post"];
        assert_eq!(create["parameters"][0]["in"].str(), "body");
        assert_eq!(
            create["operationId"].str(),
            "createExampleComV1NamespacedBox"
        );
    }

    #[test]
    fn paths_of_no_resource_have_documents() {
        for (path, id) in [
            ("version", "getCodeVersion"),
            (
                "apis/rbac.authorization.k8s.io",
                "getRbacAuthorizationAPIGroup",
            ),
            ("api", "getCoreAPIVersions"),
        ] {
            let document = openapi_v3_plain(path, builtin(), "1.36").unwrap();
            check_references(&document, document.at(&["components", "schemas"]));
            let item = &document["paths"][format!("/{path}/").as_str()];
            assert_eq!(item["get"]["operationId"].str(), id);
        }
        assert_eq!(openapi_v3_plain("healthz", builtin(), "1.36"), None);
    }

    #[test]
    fn the_index_points_at_documents() {
        let document = encode_json_value(&json!({}));
        let index = openapi_v3_index(
            [
                (GroupVersion::new("", "v1"), &document[..]),
                (GroupVersion::new("apps", "v1"), &document[..]),
            ]
            .into_iter(),
        );
        let url = index.at(&["paths", "api/v1", "serverRelativeURL"]).str();
        assert!(url.starts_with("/openapi/v3/api/v1?hash="), "{url}");
        assert!(index["paths"].get("apis/apps/v1").is_some());
    }
}
