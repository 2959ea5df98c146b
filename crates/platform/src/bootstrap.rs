//! The objects every cluster begins with: created at the first start; at later ones the roles and
//! bindings among them get back what they lack, unless their annotation says otherwise.
//!
//! Must not know what stands in them. Upstream counterpart: `rbac/rest/storage_rbac.go`,
//! `component-helpers/auth/rbac/reconciliation`.

use crate::AssembleError;
use auth::{Rule, User, missing_rights};
use futures::future::try_join_all;
use machinery::{Object, Value};
use registry::{Door, Key, Verb};
use std::sync::Arc;

/// Says of a role or binding that a start may add what it lacks.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// Creates them; those that exist keep what they are and get what they lack.
pub(crate) async fn bootstrap(
    door: &Door,
    config: admission::bootstrap::Config,
) -> Result<(), AssembleError> {
    let user = Arc::new(User::component("system:apiserver"));
    let (namespaces, others): (Vec<_>, Vec<_>) = admission::bootstrap::objects(&config)
        .into_iter()
        .partition(|(resource, _)| *resource == kinds::NAMESPACES);
    // Together, so that they share syncs of the disk; but nothing is created in a namespace that
    // is not there yet.
    for objects in [namespaces, others] {
        let ensured = objects
            .into_iter()
            .map(|object| ensure(door, &user, object));
        try_join_all(ensured).await?;
    }
    Ok(())
}

async fn ensure(
    door: &Door,
    user: &Arc<User>,
    (resource, wanted): (&str, Value),
) -> Result<(), AssembleError> {
    let label = format!("{resource} {}", wanted.name());
    let (namespace, name) = (wanted.namespace().to_owned(), wanted.name().to_owned());
    let key = Key::new(&namespace, &name);
    let (verb, name, object) = match door.snapshot().get(resource, &key) {
        None => (Verb::Create, "", wanted),
        Some(stored) => match completed(stored, &wanted) {
            Some(object) => (Verb::Update, name.as_str(), object),
            None => return Ok(()),
        },
    };
    let refuse = |status| AssembleError::Bootstrap {
        object: label.clone(),
        status,
    };
    let mut call = door
        .component_call(user, verb, resource, &namespace, name)
        .map_err(refuse)?
        .with_object(object);
    call.options.field_manager = "kube-apiserver".into();
    match door.call(call).await {
        // A webhook whose pods are down may refuse to complete what is there; they would never
        // come up if that kept the cluster from starting. The next start tries again.
        Err(_) if verb == Verb::Update => Ok(()),
        Err(status) if !status.is_already_exists() => Err(refuse(status)),
        _ => Ok(()),
    }
}

/// A stored role or binding with what it lacks; `None` if that is nothing or it is to stay as it is.
fn completed(stored: &Arc<Object>, wanted: &Value) -> Option<Value> {
    if stored.annotation(AUTOUPDATE) != Some("true") {
        return None;
    }
    let before = stored.shown();
    let mut made = before.clone();
    for field in ["labels", "annotations"] {
        for (key, value) in wanted.at(&["metadata", field]).entries() {
            if before.at(&["metadata", field, key]).is_null() {
                made.set_at(&["metadata", field, key], value.clone());
            }
        }
    }
    let held = Rule::of_role(&before["rules"]);
    let lacks = |rule: &Value| {
        let rule = Rule::of_role(&Value::Array(vec![rule.clone()]));
        !missing_rights(&held, &rule).is_empty()
    };
    let knows = |one: &Value| {
        let same = |other: &Value| {
            ["kind", "namespace", "name"]
                .iter()
                .all(|key| one[*key] == other[*key])
        };
        before["subjects"].items().iter().any(same)
    };
    add(&mut made, "rules", wanted, lacks);
    add(&mut made, "subjects", wanted, |one| !knows(one));
    (made != before).then_some(made)
}

/// Appends the items of `wanted` that are missing.
fn add(made: &mut Value, field: &str, wanted: &Value, is_missing: impl Fn(&Value) -> bool) {
    let missing = wanted[field].items().iter().filter(|one| is_missing(one));
    let mut all = made[field].items().to_vec();
    let before = all.len();
    all.extend(missing.cloned());
    if all.len() > before {
        made[field] = all.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    fn role(update: &str, rules: Value) -> Value {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "rules": rules,
            "metadata": {"name": "r", "annotations": {"rbac.authorization.kubernetes.io/autoupdate": update}}})
    }

    #[test]
    fn roles_get_back_what_they_lack() {
        let reads = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]});
        let logs = json!({"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]});
        let wide = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["get"]});
        let wanted = role("true", json!([&reads, &logs]));
        for (update, rules, made) in [
            ("true", json!([&reads]), Some(json!([&reads, &logs]))),
            ("true", json!([&logs, &reads]), None),
            ("true", json!([&wide]), Some(json!([&wide, &reads]))),
            ("false", json!([&reads]), None),
        ] {
            let stored = Arc::new(Object::new(&role(update, rules), 3));
            let completed = completed(&stored, &wanted);
            assert_eq!(completed.map(|role| role["rules"].clone()), made);
        }
    }

    #[test]
    fn bindings_get_back_their_subjects() {
        let binding = |subjects: Value| {
            json!({"kind": "ClusterRoleBinding", "subjects": subjects,
                "metadata": {"name": "b", "labels": {"own": "1"}, "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"}}})
        };
        let group = |name: &str| json!({"kind": "Group", "name": name, "apiGroup": "rbac.authorization.k8s.io"});
        let stored = Arc::new(Object::new(&binding(json!([group("a")])), 3));
        let mut wanted = binding(json!([{"kind": "Group", "name": "a"}, group("b")]));
        wanted.set_at(&["metadata", "labels"], json!({"own": "2", "new": "3"}));
        let mut made = completed(&stored, &wanted).unwrap();
        made.remove_at(&["metadata", "resourceVersion"]);
        assert_eq!(made["subjects"], json!([group("a"), group("b")]));
        assert_eq!(
            made.at(&["metadata", "labels"]),
            &json!({"own": "1", "new": "3"})
        );
        let stored = Arc::new(Object::new(&made, 4));
        assert_eq!(
            completed(&stored, &wanted),
            None,
            "a second start changes nothing"
        );
    }
}
