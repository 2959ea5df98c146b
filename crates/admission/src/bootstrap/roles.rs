//! Reads the table of bootstrap roles into objects.
//!
//! Upstream counterpart: `plugin/pkg/auth/authorizer/rbac/bootstrappolicy`.

use machinery::{Value, json};

const TABLE: &str = include_str!("roles.txt");
const GROUP: &str = "rbac.authorization.k8s.io";
const API_VERSION: &str = "rbac.authorization.k8s.io/v1";

/// Roles and role bindings, of the cluster and of namespaces.
pub(super) fn read() -> (Vec<Value>, Vec<Value>) {
    let (mut roles, mut bindings) = (Vec::new(), Vec::new());
    let lines = TABLE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["role", name, ref flags @ ..] => roles.push(role(name, flags)),
            ["bind", name, ref subjects @ ..] => bindings.push(binding(name, subjects)),
            [kind @ ("controller" | "extra"), name] => {
                let role_name = match kind {
                    "extra" => format!("system:xebec:controller:{name}"),
                    _ => format!("system:controller:{name}"),
                };
                roles.push(role(&role_name, &[]));
                bindings.push(binding(&role_name, &[&format!("ServiceAccount:{name}")]));
            }
            ["nsrole", namespace, name] => roles.push(into_namespace(role(name, &[]), namespace)),
            ["nsbind", namespace, name, role, ref subjects @ ..] => {
                let mut made = into_namespace(binding(role, subjects), namespace);
                made["metadata"]["name"] = name.into();
                bindings.push(made);
            }
            _ => add_rule(roles.last_mut().expect("rules follow their role"), &words),
        }
    }
    (roles, bindings)
}

/// Metadata of everything the server keeps up to date by itself.
fn metadata(name: &str) -> Value {
    json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"}
    })
}

/// The same role or binding for one namespace.
fn into_namespace(mut made: Value, namespace: &str) -> Value {
    let kind = made["kind"].str().replace("Cluster", "");
    made["kind"] = kind.into();
    made["metadata"]["namespace"] = namespace.into();
    if !made["roleRef"].is_null() {
        made["roleRef"]["kind"] = "Role".into();
    }
    made
}

fn role(name: &str, flags: &[&str]) -> Value {
    let mut role = json!({"apiVersion": API_VERSION, "kind": "ClusterRole", "metadata": metadata(name), "rules": []});
    for flag in flags {
        if let Some(to) = flag.strip_prefix('+') {
            let label = format!("{GROUP}/aggregate-to-{to}");
            role.set_at(&["metadata", "labels", &label], "true");
        } else if let Some(from) = flag.strip_prefix("aggregates=") {
            let label = format!("{GROUP}/aggregate-to-{from}");
            role["aggregationRule"] =
                json!({"clusterRoleSelectors": [{"matchLabels": {(label): "true"}}]});
        } else {
            panic!("a role of the table has an unknown flag: {flag}");
        }
    }
    role
}

fn add_rule(role: &mut Value, words: &[&str]) {
    let rule = match *words {
        ["url", paths, verb_list] => {
            json!({"nonResourceURLs": list(paths), "verbs": verbs(verb_list)})
        }
        [groups, resources, verb_list] => resource_rule(groups, resources, verb_list),
        [groups, resources, verb_list, names] => {
            let mut rule = resource_rule(groups, resources, verb_list);
            rule["resourceNames"] = list(names).into();
            rule
        }
        _ => panic!("a rule of the table has three or four words: {words:?}"),
    };
    let rules = role.at_mut(&["rules"]).and_then(Value::as_array_mut);
    rules.expect("roles begin with rules").push(rule);
}

fn resource_rule(groups: &str, resources: &str, verb_list: &str) -> Value {
    let groups: Vec<&str> = groups
        .split(',')
        .map(|group| if group == "core" { "" } else { group })
        .collect();
    json!({"apiGroups": groups, "resources": list(resources), "verbs": verbs(verb_list)})
}

fn list(text: &str) -> Vec<&str> {
    text.split(',').collect()
}

fn verbs(text: &str) -> Vec<&str> {
    let mut all: Vec<&str> = text
        .split(',')
        .flat_map(|verb| match verb {
            "R" => vec!["get", "list", "watch"],
            "W" => vec!["create", "delete", "deletecollection", "patch", "update"],
            one => vec![one],
        })
        .collect();
    all.sort_unstable();
    all
}

fn binding(name: &str, subjects: &[&str]) -> Value {
    let mut binding = json!({
        "apiVersion": API_VERSION,
        "kind": "ClusterRoleBinding",
        "metadata": metadata(name),
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": name}
    });
    let subjects: Vec<Value> = subjects.iter().map(|text| subject(text)).collect();
    if !subjects.is_empty() {
        binding["subjects"] = Value::Array(subjects);
    }
    binding
}

fn subject(text: &str) -> Value {
    match text.split_once(':') {
        Some(("ServiceAccount", name)) => {
            json!({"kind": "ServiceAccount", "name": name, "namespace": "kube-system"})
        }
        Some((kind, name)) => json!({"apiGroup": GROUP, "kind": kind, "name": name}),
        None => panic!("a subject of the table is KIND:NAME: {text}"),
    }
}
