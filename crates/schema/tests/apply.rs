//! Server-side apply and update tracking, as scenarios of several managers.

use machinery::{Object, Reason, Status, Value};
use schema::{
    FieldSet, Manager, TypeRef, Version, Versions, apply, builtin_type, decode, update_managed,
};
use std::sync::Arc;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect(text)
}

/// One object and the managers that write it.
struct Desk {
    of: TypeRef,
    version: &'static str,
    live: Option<Value>,
    now: String,
}

impl Desk {
    fn new(name: &str, version: &'static str) -> Self {
        let of = builtin_type(&format!("io.k8s.api.{name}")).expect(name);
        Desk {
            of,
            version,
            live: None,
            now: "2026-01-01T00:00:00Z".into(),
        }
    }

    fn manager<'a>(&'a self, name: &'a str) -> Manager<'a> {
        Manager {
            name,
            api_version: self.version,
            subresource: "",
            now: &self.now,
            reset: None,
            versions: Versions::ONE,
        }
    }

    fn store(&mut self, mut value: Value) {
        decode(&mut value, &self.of).expect("a good object");
        value.set_at(&["metadata", "creationTimestamp"], "2026-01-01T00:00:00Z");
        // As the door finds it: read from the store.
        self.live = Some(Arc::new(Object::new(&value, 1)).tree());
    }

    fn try_apply(&mut self, name: &str, config: &str, force: bool) -> Result<(), Status> {
        let config = json(config);
        let merged = apply(
            self.live.as_ref(),
            &config,
            &self.of,
            &self.manager(name),
            force,
        )?;
        self.store(merged);
        Ok(())
    }

    fn apply(&mut self, name: &str, config: &str) {
        self.try_apply(name, config, false).expect(config);
    }

    fn update(&mut self, name: &str, new: Value) {
        let mut new = new;
        decode(&mut new, &self.of).expect("a good object");
        update_managed(self.live.as_ref(), &mut new, &self.of, &self.manager(name));
        self.store(new);
    }

    fn change(&mut self, name: &str, path: &[&str], value: impl Into<Value>) {
        let mut new = self.live.clone().expect("a live object");
        new.set_at(path, value);
        self.update(name, new);
    }

    fn at(&self, path: &[&str]) -> &Value {
        self.live.as_ref().expect("a live object").at(path)
    }

    fn owner(&self, name: &str) -> Option<Value> {
        let entries = self.at(&["metadata", "managedFields"]).items();
        entries
            .iter()
            .find(|entry| entry["manager"].str() == name)
            .map(|entry| entry["fieldsV1"].clone())
    }
}

const DEPLOYMENT: &str = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","labels":{"app":"web"}},
  "spec":{"replicas":3,"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},
  "spec":{"containers":[{"name":"c","image":"nginx:1"}]}}}}"#;

#[test]
fn an_update_owns_what_it_made_in_upstreams_form() {
    let mut desk = Desk::new("apps.v1.Deployment", "apps/v1");
    desk.update("kubectl-create", json(DEPLOYMENT));
    let wanted = json(
        r#"{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:replicas":{},"f:selector":{},
            "f:template":{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:containers":{
            "k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{},"f:resources":{}}}}}}}"#,
    );
    assert_eq!(desk.owner("kubectl-create"), Some(wanted));
}

#[test]
fn an_update_of_own_fields_renews_nothing_but_the_time() {
    let mut desk = Desk::new("apps.v1.Deployment", "apps/v1");
    desk.update("a", json(DEPLOYMENT));
    desk.now = "2026-01-01T00:00:01Z".into();
    desk.change("b", &["spec", "paused"], true);
    let before = desk.at(&["metadata", "managedFields"]).clone();
    desk.now = "2026-01-01T00:00:02Z".into();
    desk.change("a", &["spec", "replicas"], 5);
    let after = desk.at(&["metadata", "managedFields"]).clone();
    let mut renewed = before[0].clone();
    assert_eq!(renewed["manager"].str(), "a");
    renewed["time"] = "2026-01-01T00:00:02Z".into();
    assert_eq!(after.items(), [before[1].clone(), renewed]);
    desk.change("b", &["spec", "replicas"], 6);
    assert_eq!(
        desk.owner("a").expect("an entry")["f:spec"]["f:replicas"],
        Value::Null
    );
    assert_eq!(
        desk.owner("b").expect("an entry")["f:spec"]["f:replicas"],
        json("{}")
    );
    desk.change("b", &["spec", "paused"], false);
    assert!(desk.owner("b").expect("an entry")["f:spec"]["f:paused"].is_null());
}

#[test]
fn an_applier_owns_what_it_says() {
    let mut desk = Desk::new("apps.v1.Deployment", "apps/v1");
    desk.apply("kubectl", DEPLOYMENT);
    let wanted = json(
        r#"{"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:replicas":{},"f:selector":{},
            "f:template":{"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:containers":{
            "k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{}}}}}}}"#,
    );
    assert_eq!(desk.owner("kubectl"), Some(wanted));
    let entry = &desk.at(&["metadata", "managedFields"])[0];
    assert_eq!(
        (entry["operation"].str(), entry["fieldsType"].str()),
        ("Apply", "FieldsV1")
    );
}

#[test]
fn conflicts_name_manager_and_field() {
    let mut desk = Desk::new("apps.v1.Deployment", "apps/v1");
    desk.update("kubectl-client-side-apply", json(DEPLOYMENT));
    let other = DEPLOYMENT.replace("\"replicas\":3", "\"replicas\":5");
    let status = desk.try_apply("kubectl", &other, false).unwrap_err();
    assert_eq!(status.reason(), Reason::Conflict);
    assert_eq!(
        status.message(),
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using apps/v1: .spec.replicas"
    );
    let cause = &status.causes()[0];
    assert_eq!(cause.reason, "FieldManagerConflict");
    assert_eq!(
        cause.message,
        "conflict with \"kubectl-client-side-apply\" using apps/v1"
    );
    assert_eq!(cause.field, ".spec.replicas");
    let image = other.replace("nginx:1", "nginx:2");
    let status = desk.try_apply("kubectl", &image, false).unwrap_err();
    assert_eq!(
        status.message(),
        "Apply failed with 2 conflicts: conflicts with \"kubectl-client-side-apply\" using apps/v1:\n\
         - .spec.replicas\n- .spec.template.spec.containers[name=\"c\"].image"
    );
    desk.try_apply("kubectl", &image, true).unwrap();
    assert_eq!(desk.at(&["spec", "replicas"]).as_i64(), Some(5));
    let lost = desk.owner("kubectl-client-side-apply").unwrap();
    assert!(lost.at(&["f:spec", "f:replicas"]).is_null());
    assert!(!lost.at(&["f:spec", "f:selector"]).is_null());
}

#[test]
fn equal_values_are_shared_and_disjoint_managers_coexist() {
    let mut desk = Desk::new("core.v1.ConfigMap", "v1");
    desk.apply(
        "one",
        r#"{"metadata":{"name":"m"},"data":{"a":"1","shared":"x"}}"#,
    );
    desk.apply(
        "two",
        r#"{"metadata":{"name":"m"},"data":{"b":"2","shared":"x"}}"#,
    );
    assert_eq!(
        desk.at(&["data"]),
        &json(r#"{"a":"1","b":"2","shared":"x"}"#)
    );
    // What one manager drops stays while another holds it.
    desk.apply("one", r#"{"metadata":{"name":"m"},"data":{"a":"1"}}"#);
    assert_eq!(
        desk.at(&["data"]),
        &json(r#"{"a":"1","b":"2","shared":"x"}"#)
    );
    desk.apply("two", r#"{"metadata":{"name":"m"}}"#);
    assert_eq!(desk.at(&["data"]), &json(r#"{"a":"1"}"#));
    assert_eq!(desk.owner("two"), None);
}

#[test]
fn items_no_longer_applied_go() {
    let mut desk = Desk::new("core.v1.Pod", "v1");
    let pod = |containers: &str| format!(r#"{{"spec":{{"containers":[{containers}]}}}}"#);
    desk.apply(
        "one",
        &pod(
            r#"{"name":"a","image":"1"},{"name":"b","image":"1","env":[{"name":"X","value":"1"}]}"#,
        ),
    );
    desk.apply("two", &pod(r#"{"name":"c","image":"1"}"#));
    desk.apply("one", &pod(r#"{"name":"b","image":"1"}"#));
    let names: Vec<_> = desk
        .at(&["spec", "containers"])
        .items()
        .iter()
        .map(|item| item["name"].str())
        .collect();
    assert_eq!(names, ["b", "c"]);
    assert!(desk.at(&["spec", "containers"])[0]["env"].is_null());
}

#[test]
fn list_keys_take_their_default() {
    let mut desk = Desk::new("core.v1.Service", "v1");
    desk.apply(
        "one",
        r#"{"spec":{"ports":[{"port":53,"protocol":"UDP"},{"port":53}]}}"#,
    );
    let owned = desk.owner("one").unwrap();
    let ports = owned.at(&["f:spec", "f:ports"]);
    assert!(ports.get(r#"k:{"port":53,"protocol":"UDP"}"#).is_some());
    assert!(ports.get(r#"k:{"port":53,"protocol":"TCP"}"#).is_some());
    desk.apply(
        "one",
        r#"{"spec":{"ports":[{"port":53,"protocol":"TCP","name":"t"}]}}"#,
    );
    assert_eq!(desk.at(&["spec", "ports"]).items().len(), 1);
    assert_eq!(desk.at(&["spec", "ports"])[0]["name"].str(), "t");
}

#[test]
fn a_no_op_apply_changes_nothing() {
    let mut desk = Desk::new("apps.v1.Deployment", "apps/v1");
    desk.apply("kubectl", DEPLOYMENT);
    let before = desk.live.clone();
    desk.now = "2026-02-02T00:00:00Z".into();
    desk.apply("kubectl", DEPLOYMENT);
    assert_eq!(desk.live, before);
    desk.apply(
        "kubectl",
        &DEPLOYMENT.replace("\"replicas\":3", "\"replicas\":4"),
    );
    assert_eq!(
        desk.at(&["metadata", "managedFields"])[0]["time"].str(),
        "2026-02-02T00:00:00Z"
    );
}

#[test]
fn an_update_takes_fields_from_appliers() {
    let mut desk = Desk::new("apps.v1.Deployment", "apps/v1");
    desk.apply("kubectl", DEPLOYMENT);
    desk.change("hpa", &["spec", "replicas"], 9);
    assert_eq!(
        desk.owner("hpa"),
        Some(json(r#"{"f:spec":{"f:replicas":{}}}"#))
    );
    assert!(
        desk.owner("kubectl")
            .unwrap()
            .at(&["f:spec", "f:replicas"])
            .is_null()
    );
    // Giving the field up leaves it to the other manager.
    let without = DEPLOYMENT.replace("\"replicas\":3,", "");
    desk.apply("kubectl", &without);
    assert_eq!(desk.at(&["spec", "replicas"]).as_i64(), Some(9));
    // An update that removes a field takes it from everybody.
    let mut new = desk.live.clone().unwrap();
    new.remove_at(&["metadata", "labels"]);
    desk.update("editor", new);
    assert!(desk.owner("kubectl").unwrap().at(&["f:metadata"]).is_null());
    assert_eq!(desk.owner("editor"), None);
}

#[test]
fn an_untracked_object_belongs_to_before_first_apply() {
    let mut desk = Desk::new("core.v1.ConfigMap", "v1");
    desk.store(json(r#"{"metadata":{"name":"m"},"data":{"a":"1"}}"#));
    desk.change("anyone", &["data", "b"], "2");
    assert_eq!(desk.owner("anyone"), None);
    let status = desk
        .try_apply("one", r#"{"data":{"a":"9"}}"#, false)
        .unwrap_err();
    assert_eq!(
        status.message(),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.a"
    );
    desk.apply("one", r#"{"data":{"a":"1"}}"#);
    assert!(desk.owner("before-first-apply").is_some());
}

#[test]
fn requests_may_rewrite_or_reset_the_record() {
    let mut desk = Desk::new("core.v1.ConfigMap", "v1");
    desk.apply("one", r#"{"metadata":{"name":"m"},"data":{"a":"1"}}"#);
    let mut kept = desk.live.clone().unwrap();
    kept.remove_at(&["metadata", "managedFields"]);
    desk.update("forgetful", kept);
    assert!(desk.owner("one").is_some());
    let mut reset = desk.live.clone().unwrap();
    reset.set_at(&["metadata", "managedFields"], json("[{}]"));
    // Decoding has filled in nothing here; the entry stays empty.
    update_managed(
        desk.live.as_ref(),
        &mut reset,
        &desk.of,
        &desk.manager("resetter"),
    );
    assert!(reset.at(&["metadata", "managedFields"]).is_null());
}

#[test]
fn old_updaters_fold_into_one() {
    let mut desk = Desk::new("core.v1.ConfigMap", "v1");
    desk.update(
        "maker",
        json(r#"{"metadata":{"name":"m"},"data":{"a":"1"}}"#),
    );
    for number in 0..15 {
        desk.now = format!("2026-01-01T00:00:{number:02}Z");
        let (name, key) = (format!("m{number}"), format!("k{number}"));
        desk.change(&name, &["data", &key], "x");
    }
    assert_eq!(desk.at(&["metadata", "managedFields"]).items().len(), 10);
    let ancient = desk.owner("ancient-changes").unwrap();
    assert!(ancient.at(&["f:data", "f:a"]).as_object().is_some());
    assert!(desk.owner("m14").is_some() && desk.owner("m1").is_none());
}

#[test]
fn managers_of_other_versions_hold_what_they_set() {
    // What `two` changes as `a`, in which version `one` wrote: what is refused, and what stays.
    type Case = (fn() -> Version, Option<&'static str>, Option<(bool, bool)>);
    let seen: [Case; 4] = [
        (|| Version::Alike, Some(".data.a"), Some((false, true))),
        (elsewhere, Some(".data.b"), Some((true, false))),
        (|| Version::Gone, None, None),
        (|| Version::Unknown, None, Some((true, true))),
    ];
    for (version, contested, left) in seen {
        let mut desk = Desk::new("core.v1.ConfigMap", "v1");
        desk.apply("one", r#"{"data":{"a":"1","b":"1"}}"#);
        let mut by = desk.manager("two");
        let versions = |asked: &str| {
            assert_eq!(asked, "v1");
            version()
        };
        (by.api_version, by.versions) = ("v2", Versions(&versions));
        let config = json(r#"{"data":{"a":"2"}}"#);
        let live = desk.live.as_ref();
        let refused = apply(live, &config, &desk.of, &by, false).err();
        let told = refused.map(|status| status.message().to_owned());
        let wanted = |path| format!("Apply failed with 1 conflict: conflict with \"one\": {path}");
        assert_eq!(told, contested.map(wanted));
        let mut applied = apply(live, &config, &desk.of, &by, true).unwrap();
        let mut updated = live.unwrap().clone();
        updated.set_at(&["data", "a"], "2");
        update_managed(live, &mut updated, &desk.of, &by);
        for made in [&mut applied, &mut updated] {
            let entries = made.at(&["metadata", "managedFields"]).items();
            let first = entries.iter().find(|one| one["manager"].str() == "one");
            let has = |one: &Value, key| !one.at(&["fieldsV1", "f:data", key]).is_null();
            assert_eq!(first.map(|one| (has(one, "f:a"), has(one, "f:b"))), left);
        }
    }
}

/// A version in which `b` is what `a` is here.
fn elsewhere() -> Version {
    let of = builtin_type("io.k8s.api.core.v1.ConfigMap").expect("a type");
    Version::Elsewhere(of, |object, from, to| {
        assert_eq!((from, to), ("v2", "v1"));
        let moved = object.remove_at(&["data", "a"]).unwrap_or_default();
        object.set_at(&["data", "b"], moved);
    })
}

#[test]
fn reset_fields_are_nobodys() {
    let mut desk = Desk::new("apps.v1.Deployment", "apps/v1");
    let reset = FieldSet::of_fields(&["status"]);
    let by = Manager {
        reset: Some(&reset),
        ..desk.manager("kubectl")
    };
    let config = json(r#"{"spec":{"replicas":1},"status":{"replicas":1}}"#);
    let merged = apply(None, &config, &desk.of, &by, false).unwrap();
    desk.store(merged);
    assert_eq!(
        desk.owner("kubectl"),
        Some(json(r#"{"f:spec":{"f:replicas":{}}}"#))
    );
}

#[test]
fn sets_keep_order_and_atomics_replace() {
    let mut desk = Desk::new("core.v1.Pod", "v1");
    desk.apply(
        "one",
        r#"{"metadata":{"finalizers":["a","b"]},"spec":{"nodeSelector":{"x":"1"}}}"#,
    );
    desk.apply("two", r#"{"metadata":{"finalizers":["c"]}}"#);
    desk.apply(
        "one",
        r#"{"metadata":{"finalizers":["b"]},"spec":{"nodeSelector":{"y":"1"}}}"#,
    );
    assert_eq!(desk.at(&["metadata", "finalizers"]), &json(r#"["b","c"]"#));
    assert_eq!(desk.at(&["spec", "nodeSelector"]), &json(r#"{"y":"1"}"#));
}

#[test]
fn kubectl_moves_over_from_client_side_apply() {
    const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let mut desk = Desk::new("core.v1.ConfigMap", "v1");
    let mut first = json(r#"{"metadata":{"name":"m"},"data":{"a":"1","b":"1"}}"#);
    let text = serde_json::to_string(&first).unwrap();
    first.set_at(&["metadata", "annotations", ANNOTATION], text);
    desk.update("kubectl-client-side-apply", first);
    let config = r#"{"metadata":{"name":"m"},"data":{"a":"2","b":"1"}}"#;
    assert!(desk.try_apply("other", config, false).is_err());
    desk.apply("kubectl", config);
    assert_eq!(desk.at(&["data", "a"]).str(), "2");
    let annotation = desk.at(&["metadata", "annotations", ANNOTATION]).str();
    assert_eq!(json(annotation), json(config));
    // A field changed since is contested.
    desk.change("editor", &["data", "b"], "9");
    assert!(desk.try_apply("kubectl", config, false).is_err());
}
