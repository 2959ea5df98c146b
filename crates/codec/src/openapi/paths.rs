//! Paths and operations of resources.
//!
//! They carry what clients look for: actions, kinds, and the parameters `dryRun`,
//! `fieldManager` and `fieldValidation`. Upstream counterpart: `apiserver/pkg/endpoints/installer.go`.

use super::types::{Dialect, gvk_value};
use crate::{ApiResource, ApiSubresource, document_hash};
use machinery::{GroupVersionKind, Map, SmolStr, Value, json};

/// Definitions that operations refer to.
pub(super) const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
pub(super) const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

/// Verb, HTTP method, `x-kubernetes-action`, whether it is about one object.
const OPERATIONS: [(&str, &str, &str, bool); 7] = [
    ("list", "get", "list", false),
    ("create", "post", "post", false),
    ("deletecollection", "delete", "deletecollection", false),
    ("get", "get", "get", true),
    ("update", "put", "put", true),
    ("patch", "patch", "patch", true),
    ("delete", "delete", "delete", true),
];

const PATCH_TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// Custom kinds have no patch strategies; kubectl picks its patch by what is listed here.
const CUSTOM_PATCH_TYPES: [&str; 3] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
];

/// Query parameters: name, type.
type Parameter = (&'static str, &'static str);

const WRITE: [Parameter; 3] = [
    ("dryRun", "string"),
    ("fieldManager", "string"),
    ("fieldValidation", "string"),
];
const LIST: [Parameter; 10] = [
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const DELETE: [Parameter; 4] = [
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

fn parameters(verb: &str) -> Vec<Parameter> {
    match verb {
        "list" => LIST.to_vec(),
        "create" | "update" => WRITE.to_vec(),
        "patch" => [&WRITE[..], &[("force", "boolean")]].concat(),
        "delete" => DELETE.to_vec(),
        "deletecollection" => {
            let list = LIST
                .iter()
                .filter(|(name, _)| *name != "watch" && *name != "allowWatchBookmarks");
            DELETE.iter().chain(list).copied().collect()
        }
        _ => Vec::new(),
    }
}

/// Names of the definitions of a resource's kind and list.
pub(super) struct Names {
    pub(super) kind: SmolStr,
    pub(super) list: SmolStr,
}

/// Adds the paths of a resource.
pub(super) fn add_paths(paths: &mut Map, resource: &ApiResource, names: &Names, dialect: Dialect) {
    let writer = Writer {
        resource,
        names,
        dialect,
    };
    let base = resource.base_path();
    let plural = &resource.plural;
    if resource.namespaced {
        if resource.can("list") {
            let all = format!("{base}/{plural}");
            paths.insert(all, writer.item(&["list"], false, "", None));
        }
        let root = format!("{base}/namespaces/{{namespace}}/{plural}");
        writer.object_paths(paths, &root, &["namespace"]);
    } else {
        writer.object_paths(paths, &format!("{base}/{plural}"), &[]);
    }
}

struct Writer<'a> {
    resource: &'a ApiResource,
    names: &'a Names,
    dialect: Dialect,
}

impl Writer<'_> {
    fn object_paths(&self, paths: &mut Map, root: &str, in_path: &[&str]) {
        let verbs: Vec<&str> = self.resource.verbs.iter().map(SmolStr::as_str).collect();
        let scope = if in_path.is_empty() { "" } else { "Namespaced" };
        for single in [false, true] {
            let mut item = self.item(&verbs, single, scope, None);
            if item.as_object().is_some_and(Map::is_empty) {
                continue;
            }
            let named = [in_path, &["name"]].concat();
            self.path_parameters(&mut item, if single { &named } else { in_path });
            let path = if single {
                format!("{root}/{{name}}")
            } else {
                root.to_owned()
            };
            paths.insert(path, item);
        }
        for sub in &self.resource.subresources {
            let verbs: Vec<&str> = sub.verbs.iter().map(SmolStr::as_str).collect();
            let mut item = self.item(&verbs, true, scope, Some(sub));
            if sub.verbs.iter().any(|verb| verb == "create") {
                let create = self.item(&["create"], false, scope, Some(sub));
                create.entries().for_each(|(method, operation)| {
                    item.make_object().insert(method.clone(), operation);
                });
            }
            self.path_parameters(&mut item, &[in_path, &["name"]].concat());
            paths.insert(format!("{root}/{{name}}/{}", sub.name), item);
        }
    }

    fn path_parameters(&self, item: &mut Value, names: &[&str]) {
        let parameter = |name: &&str| {
            let mut value =
                json!({"name": *name, "in": "path", "required": true, "uniqueItems": true});
            self.parameter_type(&mut value, "string");
            value
        };
        if !names.is_empty() {
            let parameters: Vec<Value> = names.iter().map(parameter).collect();
            item["parameters"] = parameters.into();
        }
    }

    fn parameter_type(&self, parameter: &mut Value, kind: &str) {
        parameter["uniqueItems"] = true.into();
        match self.dialect {
            Dialect::V2 => parameter["type"] = kind.into(),
            Dialect::V3 => {
                parameter.make_object().remove("uniqueItems");
                parameter["schema"] = json!({"type": kind, "uniqueItems": true});
            }
        }
    }

    /// The operations of one path: those of `verbs` that are about one object, or about all.
    fn item(
        &self,
        verbs: &[&str],
        single: bool,
        scope: &str,
        sub: Option<&ApiSubresource>,
    ) -> Value {
        let mut item = Map::new();
        for operation in OPERATIONS {
            if operation.3 == single && verbs.contains(&operation.0) {
                item.insert(operation.1, self.operation(operation, scope, sub));
            }
        }
        Value::Object(item)
    }

    fn operation(
        &self,
        (verb, _, action, _): (&str, &str, &str, bool),
        scope: &str,
        sub: Option<&ApiSubresource>,
    ) -> Value {
        let gvk = sub.map_or(&self.resource.gvk, |sub| &sub.gvk);
        let query = parameters(verb).into_iter().map(|(name, kind)| {
            let mut value = json!({"name": name, "in": "query"});
            self.parameter_type(&mut value, kind);
            value
        });
        let mut operation = json!({
            "operationId": operation_id(verb, self.resource, scope, sub.map_or("", |sub| &sub.name)),
            "tags": [tag(&self.resource.gvk)],
            "parameters": query.collect::<Vec<Value>>(),
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk_value(gvk),
        });
        let (body, answer) = self.bodies(verb, sub);
        self.put_body(&mut operation, verb, body);
        self.put_answer(&mut operation, answer);
        operation
    }

    /// Definitions of an operation's request and answer; `None`: no body, or one without a definition.
    fn bodies(&self, verb: &str, sub: Option<&ApiSubresource>) -> (Option<&str>, Option<&str>) {
        let own = match sub {
            Some(sub) if sub.gvk != self.resource.gvk => None,
            _ => Some(self.names.kind.as_str()),
        };
        match verb {
            "list" => (None, Some(&self.names.list)),
            "delete" | "deletecollection" => (Some(DELETE_OPTIONS), Some(STATUS)),
            "patch" => (Some(PATCH), own),
            "get" => (None, own),
            _ => (own, own),
        }
    }

    fn put_body(&self, operation: &mut Value, verb: &str, body: Option<&str>) {
        let types: &[&str] = match verb {
            "patch" if self.resource.has_patch_strategies() => &PATCH_TYPES,
            "patch" => &CUSTOM_PATCH_TYPES,
            _ => &["*/*"],
        };
        let Some(body) = body else {
            return;
        };
        let reference = self.dialect.reference(body);
        let required = verb != "delete" && verb != "deletecollection";
        match self.dialect {
            Dialect::V2 => {
                let parameter = json!({"name": "body", "in": "body", "required": required, "schema": reference});
                operation["consumes"] = types.to_vec().into();
                if let Some(list) = operation["parameters"].as_array_mut() {
                    list.push(parameter);
                }
            }
            Dialect::V3 => {
                let content: Map = types
                    .iter()
                    .map(|name| (*name, json!({"schema": &reference})))
                    .collect();
                operation["requestBody"] = json!({"content": content, "required": required});
            }
        }
    }

    fn put_answer(&self, operation: &mut Value, answer: Option<&str>) {
        const TYPES: [&str; 3] = [
            "application/json",
            "application/vnd.kubernetes.protobuf",
            "application/yaml",
        ];
        let mut ok = json!({"description": "OK"});
        let reference = answer.map(|name| self.dialect.reference(name));
        match (self.dialect, reference) {
            (Dialect::V2, Some(reference)) => ok["schema"] = reference,
            (Dialect::V3, Some(reference)) => {
                let content: Map = TYPES
                    .iter()
                    .map(|name| (*name, json!({"schema": &reference})))
                    .collect();
                ok["content"] = content.into();
            }
            (_, None) => {}
        }
        if self.dialect == Dialect::V2 {
            operation["produces"] = TYPES.to_vec().into();
            operation["schemes"] = json!(["https"]);
        }
        operation["responses"] = json!({"200": ok, "401": {"description": "Unauthorized"}});
    }
}

fn camel(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn group_words(group: &str) -> Vec<&str> {
    match group.strip_suffix(".k8s.io").unwrap_or(group) {
        "" => vec!["core"],
        name => name.split('.').collect(),
    }
}

/// `appsV1`, `core_v1` in the form generators group by: `core_v1`.
fn tag(gvk: &GroupVersionKind) -> String {
    let words = group_words(&gvk.group);
    let group = words[0].to_owned()
        + &words[1..]
            .iter()
            .map(|word| camel(word))
            .collect::<String>();
    format!("{group}_{}", gvk.version)
}

/// `listCoreV1NamespacedPod`, `listCoreV1PodForAllNamespaces`,
/// `deleteCoreV1CollectionNamespacedPod`, `replaceAppsV1NamespacedDeploymentScale`.
fn operation_id(verb: &str, resource: &ApiResource, scope: &str, sub: &str) -> String {
    let gvk = &resource.gvk;
    let (verb, many) = match verb {
        "get" => ("read", ""),
        "update" => ("replace", ""),
        "deletecollection" => ("delete", "Collection"),
        other => (other, ""),
    };
    let everywhere = verb == "list" && resource.namespaced && scope.is_empty();
    let group: String = group_words(&gvk.group).into_iter().map(camel).collect();
    format!(
        "{verb}{group}{}{many}{scope}{}{}{}",
        camel(&gvk.version),
        gvk.kind,
        camel(sub),
        if everywhere { "ForAllNamespaces" } else { "" }
    )
}

/// Where a version's document is found, with its hash so that clients may keep it.
pub(super) fn index_entry(base: &str, document: &[u8]) -> Value {
    json!({"serverRelativeURL": format!("/openapi/v3{base}?hash={}", document_hash(document))})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::box_resource;

    #[test]
    fn operations_have_upstreams_names() {
        let boxes = box_resource();
        for (verb, scope, sub, wanted) in [
            ("list", "Namespaced", "", "listExampleComV1NamespacedBox"),
            ("list", "", "", "listExampleComV1BoxForAllNamespaces"),
            (
                "deletecollection",
                "Namespaced",
                "",
                "deleteExampleComV1CollectionNamespacedBox",
            ),
            (
                "update",
                "Namespaced",
                "status",
                "replaceExampleComV1NamespacedBoxStatus",
            ),
        ] {
            assert_eq!(operation_id(verb, &boxes, scope, sub), wanted);
        }
    }
}
