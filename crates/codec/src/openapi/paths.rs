//! Paths and operations of resources.
//!
//! They carry what clients look for: actions, kinds, and the parameters `dryRun`,
//! `fieldManager` and `fieldValidation`. What all operations of a path take stands beside them.
//! Upstream counterparts: `apiserver/pkg/endpoints/installer.go`, `kube-openapi/pkg/builder3`.

use super::{
    parameters::{Parameter, of_streams, of_verb},
    types::{Dialect, gvk_value},
};
use crate::{ApiResource, ApiSubresource, document_hash};
use machinery::{GroupVersionKind, Map, SmolStr, Value, json};

/// Definitions that operations refer to.
pub(super) const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
pub(super) const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
pub(super) const WATCH_EVENT: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent";
pub(super) const RESOURCES: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList";

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
/// Methods that streams are opened with, and those that proxies take.
const OPENING: [&str; 2] = ["get", "post"];
const PROXIED: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];

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

/// Forms of answers.
pub(super) const TYPES: [&str; 3] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];
const WATCHED_TYPES: [&str; 5] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
const CUSTOM_TYPES: [&str; 2] = ["application/json", "application/yaml"];
const LOG_TYPES: [&str; 4] = [
    "text/plain",
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];
const ANY: [&str; 1] = ["*/*"];

/// What an operation says of its request and answers.
struct Said<'a> {
    /// Method.
    method: &'a str,
    id: String,
    action: &'a str,
    gvk: &'a GroupVersionKind,
    query: Vec<Parameter>,
    /// Definition of the body, with its types.
    body: Option<(&'a str, &'a [&'a str])>,
    /// Definition of the answer: plain text where there is none.
    answer: Option<&'a str>,
    /// Codes besides 200.
    codes: &'a [(&'a str, &'a str)],
    types: &'a [&'a str],
}

/// Names of the definitions of a resource's kind and list.
pub(super) struct Names {
    pub(super) kind: SmolStr,
    pub(super) list: SmolStr,
    /// Of each subresource's kind, where it has a definition.
    pub(super) subs: Vec<Option<SmolStr>>,
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
            let said = writer.lists(&["list"], "");
            writer.path(paths, format!("{base}/{plural}"), &[], said);
            writer.watch(paths, plural, &[], "");
        }
        let root = format!("namespaces/{{namespace}}/{plural}");
        writer.object_paths(paths, &root, &["namespace"]);
    } else {
        writer.object_paths(paths, plural, &[]);
    }
    if !resource.is_custom() {
        let id = format!("get{}APIResources", words_of(&resource.gvk));
        let answer = dialect.reference(RESOURCES);
        let said = discovery(dialect, &tag(&resource.gvk), &id, (answer, &TYPES));
        paths.insert(format!("{base}/"), said);
    }
}

/// The operation that tells what there is at a path of no resource.
pub(super) fn discovery(
    dialect: Dialect,
    tag: &str,
    id: &str,
    (schema, types): (Value, &[&str]),
) -> Value {
    let mut operation = json!({"operationId": id, "tags": [tag]});
    put_answers(dialect, &mut operation, (&schema, types), &[]);
    // Upstream reads nothing here but what has a kind.
    if dialect == Dialect::V2 && types.len() > 1 {
        operation["consumes"] = types.to_vec().into();
    }
    json!({"get": operation})
}

struct Writer<'a> {
    resource: &'a ApiResource,
    names: &'a Names,
    dialect: Dialect,
}

impl<'a> Writer<'a> {
    fn object_paths(&self, paths: &mut Map, root: &str, in_path: &[&str]) {
        let base = self.resource.base_path();
        let verbs: Vec<&str> = self.resource.verbs.iter().map(SmolStr::as_str).collect();
        let scope = if in_path.is_empty() { "" } else { "Namespaced" };
        let named = [in_path, &["name"]].concat();
        let many = self.lists(&verbs, scope);
        self.path(paths, format!("{base}/{root}"), in_path, many);
        let single = OPERATIONS
            .iter()
            .filter(|known| known.3 && verbs.contains(&known.0));
        let single = single.map(|known| self.said(known, scope, None)).collect();
        self.path(paths, format!("{base}/{root}/{{name}}"), &named, single);
        if self.resource.can("list") {
            self.watch(paths, root, in_path, scope);
            self.watch(paths, &format!("{root}/{{name}}"), &named, scope);
        }
        for (sub, kind) in self.resource.subresources.iter().zip(&self.names.subs) {
            let path = format!("{base}/{root}/{{name}}/{}", sub.name);
            if let Some(query) = of_streams(&sub.name) {
                self.streams(paths, path, (&named, scope), (sub, query));
                continue;
            }
            let served = |known: &&(&str, &str, &str, bool)| {
                (known.3 || known.0 == "create") && sub.verbs.iter().any(|verb| verb == known.0)
            };
            let said = OPERATIONS.iter().filter(served);
            let said = said.map(|known| self.said(known, scope, Some((sub, kind.as_ref()))));
            self.path(paths, path, &named, said.collect());
        }
    }

    /// Operations on many objects.
    fn lists(&self, verbs: &[&str], scope: &'a str) -> Vec<Said<'a>> {
        let many = OPERATIONS
            .iter()
            .filter(|known| !known.3 && verbs.contains(&known.0));
        many.map(|known| self.said(known, scope, None)).collect()
    }

    /// The older way to watch what is at a path.
    fn watch(&self, paths: &mut Map, root: &str, in_path: &[&str], scope: &str) {
        if !self.resource.can("watch") || self.resource.is_custom() {
            return;
        }
        let (single, gvk) = (in_path.contains(&"name"), &self.resource.gvk);
        let list = if single { "" } else { "List" };
        let all = match self.resource.namespaced && scope.is_empty() {
            true => "ForAllNamespaces",
            false => "",
        };
        let said = Said {
            method: "get",
            id: format!("watch{}{scope}{}{list}{all}", words_of(gvk), gvk.kind),
            action: if single { "watch" } else { "watchlist" },
            gvk,
            query: [of_verb("list", false), vec![("pretty", "string")]].concat(),
            body: None,
            answer: Some(WATCH_EVENT),
            codes: &[],
            types: &WATCHED_TYPES,
        };
        let path = format!("{}/watch/{root}", self.resource.base_path());
        self.path(paths, path, in_path, vec![said]);
    }

    /// A subresource that is a stream, or leads elsewhere.
    fn streams(
        &self,
        paths: &mut Map,
        path: String,
        (named, scope): (&[&str], &str),
        (sub, query): (&ApiSubresource, Vec<Parameter>),
    ) {
        let leads_on = query.iter().any(|(name, _)| *name == "path");
        let methods: &[&str] = if leads_on { &PROXIED } else { &OPENING };
        for (ending, more) in [("", ""), ("/{path}", "WithPath")] {
            if !leads_on && !more.is_empty() {
                continue;
            }
            let said = methods.iter().map(|method| Said {
                method,
                id: format!(
                    "connect{}{}{scope}{}{}{more}",
                    words_of(&self.resource.gvk),
                    camel(method),
                    self.resource.gvk.kind,
                    camel(&sub.name)
                ),
                action: "connect",
                gvk: &sub.gvk,
                query: query.clone(),
                body: None,
                answer: None,
                codes: &[],
                types: &ANY,
            });
            let placed = match more.is_empty() {
                true => named.to_vec(),
                false => [named, &["path"]].concat(),
            };
            self.path(paths, format!("{path}{ending}"), &placed, said.collect());
        }
    }

    fn said(
        &self,
        (verb, method, action, _): &(&'a str, &'a str, &'a str, bool),
        scope: &str,
        sub: Option<(&'a ApiSubresource, Option<&'a SmolStr>)>,
    ) -> Said<'a> {
        let custom = self.resource.is_custom();
        let name = sub.map_or("", |(sub, _)| &sub.name);
        let logs = name == "log";
        let own = match sub {
            Some((_, kind)) => kind.map(SmolStr::as_str).filter(|_| !logs),
            None => Some(self.names.kind.as_str()),
        };
        let (body, answer) = self.bodies(verb, own);
        let types: &[&str] = match *verb {
            "list" if !custom => &WATCHED_TYPES,
            _ if logs => &LOG_TYPES,
            _ if custom => &CUSTOM_TYPES,
            _ => &TYPES,
        };
        let mut query = of_verb(if logs { name } else { verb }, custom);
        query.push(("pretty", "string"));
        Said {
            method,
            id: operation_id(verb, self.resource, scope, name),
            action,
            gvk: match sub {
                Some((sub, _)) if !custom => &sub.gvk,
                _ => &self.resource.gvk,
            },
            query,
            body,
            answer,
            codes: codes(verb, custom),
            types,
        }
    }

    /// Forms of bodies that are no patches.
    fn read(&self) -> &'static [&'static str] {
        match self.resource.is_custom() {
            true => &CUSTOM_TYPES,
            false => &ANY,
        }
    }

    /// Definitions of an operation's request and answer.
    fn bodies(
        &self,
        verb: &str,
        own: Option<&'a str>,
    ) -> (Option<(&'a str, &'a [&'a str])>, Option<&'a str>) {
        let patches: &[&str] = match self.resource.is_custom() {
            true => &CUSTOM_PATCH_TYPES,
            false => &PATCH_TYPES,
        };
        let mut subs = self.resource.subresources.iter();
        let finalized = subs.any(|sub| sub.name == "finalize");
        let custom = self.resource.is_custom();
        let deletion = Some((DELETE_OPTIONS, self.read()));
        match verb {
            "list" => (None, Some(&self.names.list)),
            // What is finalized on its own says so of no deletion, though it is shown.
            "delete" if self.resource.shows_deleted && !finalized => (deletion, own),
            "deletecollection" if custom => (None, Some(STATUS)),
            "delete" | "deletecollection" => (deletion, Some(STATUS)),
            "patch" => (Some((PATCH, patches)), own),
            "get" => (None, own),
            _ => (own.map(|own| (own, self.read())), own),
        }
    }

    /// Writes a path: what all its operations take stands once.
    fn path(&self, paths: &mut Map, path: String, in_path: &[&str], said: Vec<Said<'_>>) {
        if said.is_empty() {
            return;
        }
        let given: Vec<Vec<Value>> = said.iter().map(|one| self.given(one)).collect();
        let everywhere =
            |one: &&Value| one["in"].str() != "body" && given.iter().all(|all| all.contains(one));
        let mut common: Vec<Value> = given[0].iter().filter(everywhere).cloned().collect();
        let mut item = Map::new();
        for (one, given) in said.iter().zip(&given) {
            let own = given.iter().filter(|given| !common.contains(given));
            let own: Vec<Value> = own.cloned().collect();
            item.insert(one.method, self.operation(one, own));
        }
        common.extend(in_path.iter().map(|name| self.placed(name)));
        if !common.is_empty() {
            let key = |one: &Value| (one["name"].str().to_owned(), one["in"].str().to_owned());
            common.sort_by_key(key);
            item.insert("parameters", common);
        }
        paths.insert(path, Value::Object(item));
    }

    /// Parameters of an operation by name; v2 counts the body among them.
    fn given(&self, said: &Said<'_>) -> Vec<Value> {
        let query = said.query.iter().map(|(name, kind)| {
            let mut value = json!({"name": *name, "in": "query"});
            self.parameter_type(&mut value, kind);
            value
        });
        let mut all: Vec<Value> = query.collect();
        if let (Dialect::V2, Some((body, _))) = (self.dialect, said.body) {
            let mut parameter =
                json!({"name": "body", "in": "body", "schema": self.dialect.reference(body)});
            if body != DELETE_OPTIONS {
                parameter["required"] = true.into();
            }
            all.push(parameter);
        }
        all.sort_by(|a, b| a["name"].str().cmp(b["name"].str()));
        all
    }

    fn placed(&self, name: &str) -> Value {
        let mut value = json!({"name": name, "in": "path", "required": true});
        self.parameter_type(&mut value, "string");
        value
    }

    fn parameter_type(&self, parameter: &mut Value, kind: &str) {
        match self.dialect {
            Dialect::V2 => {
                parameter["uniqueItems"] = true.into();
                parameter["type"] = kind.into();
            }
            Dialect::V3 => parameter["schema"] = json!({"type": kind, "uniqueItems": true}),
        }
    }

    fn operation(&self, said: &Said<'_>, own: Vec<Value>) -> Value {
        let mut operation = json!({
            "operationId": &said.id,
            "tags": [tag(&self.resource.gvk)],
            "x-kubernetes-action": said.action,
            "x-kubernetes-group-version-kind": gvk_value(said.gvk),
        });
        if !own.is_empty() {
            operation["parameters"] = own.into();
        }
        match (self.dialect, said.body) {
            (Dialect::V2, body) => {
                let types = body.map_or(self.read(), |(_, types)| types);
                operation["consumes"] = types.to_vec().into();
            }
            (Dialect::V3, Some((body, types))) => {
                let reference = self.dialect.reference(body);
                operation["requestBody"] = json!({"content": content(types, &reference)});
                if body != DELETE_OPTIONS {
                    operation["requestBody"]["required"] = true.into();
                }
            }
            (Dialect::V3, None) => {}
        }
        let schema = match said.answer {
            Some(name) => self.dialect.reference(name),
            None => json!({"type": "string"}),
        };
        put_answers(
            self.dialect,
            &mut operation,
            (&schema, said.types),
            said.codes,
        );
        operation
    }
}

fn content(types: &[&str], schema: &Value) -> Value {
    let all: Map = types
        .iter()
        .map(|name| (*name, json!({"schema": schema})))
        .collect();
    Value::Object(all)
}

/// Codes of success besides 200.
fn codes(verb: &str, custom: bool) -> &'static [(&'static str, &'static str)] {
    const MADE: (&str, &str) = ("201", "Created");
    const TAKEN: (&str, &str) = ("202", "Accepted");
    match verb {
        "create" => &[MADE, TAKEN],
        "update" => &[MADE],
        "patch" if !custom => &[MADE],
        "delete" => &[TAKEN],
        _ => &[],
    }
}

fn put_answers(
    dialect: Dialect,
    operation: &mut Value,
    (schema, types): (&Value, &[&str]),
    codes: &[(&str, &str)],
) {
    let mut responses = Map::new();
    for (code, text) in [("200", "OK")].iter().chain(codes) {
        let mut answer = json!({"description": *text});
        match dialect {
            Dialect::V2 => answer["schema"] = schema.clone(),
            Dialect::V3 => answer["content"] = content(types, schema),
        }
        responses.insert(*code, answer);
    }
    responses.insert("401", json!({"description": "Unauthorized"}));
    operation["responses"] = responses.into();
    if dialect == Dialect::V2 {
        operation["produces"] = types.to_vec().into();
        operation["schemes"] = json!(["https"]);
    }
}

pub(super) fn camel(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

pub(super) fn group_words(group: &str) -> Vec<&str> {
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

/// `AppsV1`.
fn words_of(gvk: &GroupVersionKind) -> String {
    let group: String = group_words(&gvk.group).into_iter().map(camel).collect();
    format!("{group}{}", camel(&gvk.version))
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
    format!(
        "{verb}{}{many}{scope}{}{}{}",
        words_of(gvk),
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
