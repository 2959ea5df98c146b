//! Custom objects of several versions behind a real door: each version gives and keeps what its
//! own schema says, and what is stored follows the schema it is stored in.

use admission::AdmissionConfig;
use auth::{TokenKey, User};
use env::Time;
use machinery::{GroupVersionResource, Object, Value, json};
use registry::{Call, Door, DoorConfig, PatchKind, Verb};
use sim_env::{DiskImage, DiskSpeed, Sim, SimDisk};
use std::{sync::Arc, time::Duration};
use store::{Store, StoreOptions};

const SPEED: DiskSpeed = DiskSpeed {
    latency: Duration::from_micros(20),
    sync_latency: Duration::from_micros(100),
};
const GROUP: &str = "two.example.org";

struct Cluster {
    sim: Sim,
    door: Door,
    user: Arc<User>,
}

impl Cluster {
    /// A cluster that serves the definition.
    fn start(definition: Value) -> Self {
        let sim = Sim::new(7, Time::from_unix_seconds(1_800_000_000));
        let disk = SimDisk::new(sim.fork("disk"), SPEED, DiskImage::default());
        let store = sim
            .block_on(Store::open(&sim.world(), disk, StoreOptions::default()))
            .unwrap();
        let tokens = TokenKey::generate(&*sim.world().entropy, "https://kubernetes.default.svc");
        let door = Door::new(DoorConfig {
            world: sim.world(),
            store,
            catalogue: kinds::Catalogue::builtin(),
            admission: admission::chain(AdmissionConfig::default()),
            webhooks: None,
            tokens: Arc::new(tokens),
        });
        let user = Arc::new(User::component("test"));
        let cluster = Self { sim, door, user };
        cluster.define(Verb::Create, definition);
        cluster
    }

    fn define(&self, verb: Verb, definition: Value) {
        let name = match verb {
            Verb::Create => "",
            _ => definition.name(),
        };
        let storage = "customresourcedefinitions.apiextensions.k8s.io";
        let call = self
            .door
            .component_call(&self.user, verb, storage, "", name);
        let made = self.run(call.unwrap().with_object(definition.clone()));
        let kinds = kinds::kinds_of_definition(&made).unwrap();
        let catalogue = kinds::Catalogue::builtin().with_custom(kinds);
        self.door.set_catalogue(catalogue);
    }

    fn definition(&self) -> Value {
        let (storage, name) = (
            "customresourcedefinitions.apiextensions.k8s.io",
            format!("twos.{GROUP}"),
        );
        let call = self
            .door
            .component_call(&self.user, Verb::Get, storage, "", &name);
        self.run(call.unwrap()).to_value()
    }

    fn on(&self, verb: Verb, version: &str, name: &str) -> Call {
        let resource = GroupVersionResource::new(GROUP, version, "twos");
        Call::new(self.user.clone(), verb, resource, "", name)
    }

    fn run(&self, call: Call) -> Arc<Object> {
        let reply = self.sim.block_on(self.door.call(call)).unwrap();
        reply.object().unwrap().clone()
    }

    fn create(&self, version: &str, name: &str, spec: Value) -> Value {
        let call = self.on(Verb::Create, version, "");
        spec_of(&self.run(call.with_object(two(version, name, spec))))
    }

    fn get(&self, version: &str, name: &str) -> Value {
        let object = self.run(self.on(Verb::Get, version, name));
        assert_eq!(object.at("apiVersion").str(), format!("{GROUP}/{version}"));
        spec_of(&object)
    }

    fn patch(&self, kind: PatchKind, version: &str, name: &str, patch: Value) -> Arc<Object> {
        let mut call = self.on(Verb::Patch, version, name).with_patch(kind, patch);
        call.options.field_manager = "test".into();
        self.run(call)
    }
}

fn spec_of(object: &Object) -> Value {
    object.at("spec").to_value()
}

fn two(version: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("{GROUP}/{version}"), "kind": "Two", "metadata": {"name": name}, "spec": spec})
}

/// A text that defaults to `default`.
fn or(default: &str) -> Value {
    json!({"type": "string", "default": default})
}

/// `v1`, which is stored and served or not, and `v2`, with the properties of their specs.
fn definition(served: bool, v1: Value, v2: Value) -> Value {
    let version = |name: &str, served: bool, properties: Value| {
        json!({"name": name, "served": served, "storage": name == "v1", "schema": {"openAPIV3Schema": {
            "type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}}})
    };
    let versions = vec![version("v1", served, v1), version("v2", true, v2)];
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("twos.{GROUP}")},
        "spec": {"group": GROUP, "scope": "Cluster", "names": {"plural": "twos", "kind": "Two"}, "versions": versions}})
}

fn stored_properties() -> Value {
    let inner = json!({"x": or("x1"), "y": {"type": "string"}});
    json!({"both": or("b1"), "other": or("o1"), "late": {"type": "string"}, "old": or("old"),
        "nest": {"type": "object", "default": {}, "properties": inner}})
}

fn shown_properties() -> Value {
    let inner = json!({"x": {"type": "string"}, "y": or("y2")});
    json!({"both": or("b2"), "other": {"type": "string"}, "late": or("l2"), "new": or("new"),
        "nest": {"type": "object", "properties": inner}})
}

#[test]
fn a_write_gets_the_defaults_of_its_version_and_of_the_stored_one() {
    for served in [true, false] {
        let cluster = Cluster::start(definition(served, stored_properties(), shown_properties()));
        let spec = json!({"both": "b2", "late": "l2", "nest": {"x": "x1"}, "other": "o1"});
        let mut call = cluster.on(Verb::Create, "v2", "");
        call.options.dry_run = true;
        let given = two("v2", "a", json!({"new": "n", "unknown": 1_i64}));
        let dry = cluster.run(call.with_object(given.clone()));
        assert_eq!(spec_of(&dry), spec, "nothing is stored, and all the same");
        assert_eq!(cluster.create("v2", "a", given["spec"].clone()), spec);
        assert_eq!(cluster.get("v2", "a"), spec);
        if served {
            let stored = json!({"both": "b2", "late": "l2", "nest": {"x": "x1"}, "old": "old", "other": "o1"});
            assert_eq!(cluster.get("v1", "a"), stored);
        }
    }
}

#[test]
fn a_read_adds_no_defaults_of_its_own_version() {
    let cluster = Cluster::start(definition(true, stored_properties(), shown_properties()));
    cluster.create("v1", "a", json!({}));
    let shown = json!({"both": "b1", "nest": {"x": "x1"}, "other": "o1"});
    assert_eq!(cluster.get("v2", "a"), shown);
    // A change that is made in that version has them.
    let changed = json!({"both": "z", "late": "l2", "nest": {"x": "x1", "y": "y2"}, "other": "o1"});
    let patch = json!({"spec": {"both": "z"}});
    let patched = cluster.patch(PatchKind::Merge, "v2", "a", patch);
    assert_eq!(spec_of(&patched), changed);
    let stored = json!({"both": "z", "late": "l2", "nest": {"x": "x1", "y": "y2"}, "old": "old", "other": "o1"});
    assert_eq!(cluster.get("v1", "a"), stored, "nothing that only v2 knows");
}

#[test]
fn who_applies_twice_in_another_version_writes_once() {
    let cluster = Cluster::start(definition(true, stored_properties(), shown_properties()));
    let apply = || cluster.patch(PatchKind::Apply, "v2", "a", two("v2", "a", json!({})));
    let (first, second) = (apply(), apply());
    assert_eq!(first.at("spec.nest.x").str(), "x1");
    assert_eq!(first.revision(), second.revision());
    assert_eq!(first.to_value(), second.to_value());
}

#[test]
fn what_a_schema_no_longer_knows_is_no_longer_shown() {
    let properties = |kept: bool| {
        let mut inner = json!({"x": {"type": "string"}});
        if kept {
            inner["y"] = json!({"type": "string"});
        }
        json!({"list": {"type": "array", "items": {"type": "object", "properties": inner}},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}})
    };
    let cluster = Cluster::start(definition(true, properties(true), properties(true)));
    let any = json!({"y": 1_i64});
    cluster.create(
        "v1",
        "a",
        json!({"list": [{"x": "1", "y": "2"}], "any": any.clone()}),
    );
    let mut narrowed = cluster.definition();
    narrowed["spec"] = definition(true, properties(false), properties(true))["spec"].clone();
    narrowed["spec"]["names"]["listKind"] = "TwoList".into();
    narrowed["spec"]["names"]["singular"] = "two".into();
    cluster.define(Verb::Update, narrowed);
    let shown = json!({"any": any, "list": [{"x": "1"}]});
    assert_eq!(cluster.get("v1", "a"), shown);
    assert_eq!(cluster.get("v2", "a"), shown, "what is stored is of v1");
}

#[test]
fn appliers_of_two_versions_know_of_each_other() {
    let properties = || json!({"a": {"type": "string"}, "b": {"type": "string"}});
    let cluster = Cluster::start(definition(true, properties(), properties()));
    let apply = |version: &str, manager: &str, spec: Value| {
        let config = two(version, "x", spec);
        let mut call = cluster.on(Verb::Patch, version, "x");
        call = call.with_patch(PatchKind::Apply, config);
        call.options.field_manager = manager.into();
        let reply = cluster.sim.block_on(cluster.door.call(call))?;
        Ok::<_, machinery::Status>(spec_of(reply.object().unwrap()))
    };
    apply("v1", "one", json!({"a": "1"})).unwrap();
    let refused = apply("v2", "two", json!({"a": "2"})).unwrap_err();
    assert_eq!(
        refused.message(),
        "Apply failed with 1 conflict: conflict with \"one\": .spec.a"
    );
    apply("v2", "two", json!({"b": "2"})).unwrap();
    let left = apply("v1", "one", json!({})).unwrap();
    assert_eq!(left, json!({"b": "2"}), "what it applied before goes");
}

#[test]
fn who_writes_what_is_there_moves_it_to_the_stored_version() {
    let properties = || json!({"a": {"type": "string"}});
    let cluster = Cluster::start(definition(true, properties(), properties()));
    cluster.create("v1", "x", json!({"a": "1"}));
    let mut moved = cluster.definition();
    let mut versions = moved["spec"]["versions"].items().to_vec();
    for version in &mut versions {
        version["storage"] = (version["name"].str() == "v2").into();
    }
    moved["spec"]["versions"] = versions.into();
    cluster.define(Verb::Update, moved);
    let key = registry::Key::new("", "x");
    let stored = || {
        let snapshot = cluster.door.snapshot();
        snapshot
            .get(&format!("twos.{GROUP}"), &key)
            .cloned()
            .unwrap()
    };
    assert_eq!(stored().at("apiVersion").str(), format!("{GROUP}/v1"));
    let got = cluster.run(cluster.on(Verb::Get, "v1", "x")).to_value();
    cluster.run(cluster.on(Verb::Update, "v1", "x").with_object(got));
    let after = stored();
    assert_eq!(after.at("apiVersion").str(), format!("{GROUP}/v2"));
    assert_eq!(after.generation(), 1);
    let patch = json!({"spec": {"a": "1"}});
    cluster.patch(PatchKind::Merge, "v1", "x", patch);
    assert_eq!(stored().revision(), after.revision(), "once is enough");
}
