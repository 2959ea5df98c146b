//! A claim's way to its volume.

use super::*;
use crate::names::NODES;
use env::Time;
use machinery::{Value, json};
use reconcile::{Action, Controller};

fn claim(extra: Value) -> (&'static str, Value) {
    let mut made = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c", "namespace": "n", "uid": "c1", "annotations": extra},
        "spec": {"storageClassName": "dir", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}, "status": {"phase": "Pending"}});
    made.metadata_mut()
        .insert("finalizers", vec!["kubernetes.io/pvc-protection"]);
    (PVCS, made)
}

fn class() -> (&'static str, Value) {
    (
        STORAGE_CLASSES,
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "dir", "uid": "sc"},
        "provisioner": DIRECTORY, "volumeBindingMode": "WaitForFirstConsumer"}),
    )
}

fn volume(size: &str, name: &str) -> (&'static str, Value) {
    (
        PVS,
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name, "uid": name},
        "spec": {"storageClassName": "dir", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}}, "status": {"phase": "Available"}}),
    )
}

fn key() -> Target {
    Target::new(PVCS, "n", "c")
}

#[test]
fn waits_then_provisions_where_the_scheduler_says() {
    let provisioner = DirectoryProvisioner {
        directory: "/data".into(),
    };
    let node = (
        NODES,
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a", "uid": "a"}}),
    );
    let view = View::of([claim(json!({})), class(), node.clone()], &[BY_CLAIM]);
    assert!(
        provisioner
            .reconcile(&view, &key(), Time(0))
            .actions
            .is_empty()
    );
    let told = Binder.reconcile(&view, &key(), Time(0));
    assert!(
        matches!(&told.actions[0], Action::Event(event) if event.reason == "WaitForFirstConsumer")
    );
    let view = View::of(
        [claim(json!({(SELECTED_NODE): "a"})), class(), node],
        &[BY_CLAIM],
    );
    let plan = provisioner.reconcile(&view, &key(), Time(0));
    let Action::Create { object, .. } = &plan.actions[0] else {
        panic!()
    };
    assert_eq!(object.at(&["spec", "local", "path"]).str(), "/data/pvc-c1");
    let view = View::of(
        [
            claim(json!({(SELECTED_NODE): "a"})),
            class(),
            (PVS, object.clone()),
        ],
        &[BY_CLAIM],
    );
    assert!(
        provisioner
            .reconcile(&view, &key(), Time(0))
            .actions
            .is_empty()
    );
    let bound = Binder.reconcile(&view, &key(), Time(0));
    assert!(
        matches!(&bound.actions[0], Action::Patch { patch, .. } if patch["spec"]["volumeName"].str() == "pvc-c1")
    );
}

#[test]
fn the_smallest_sufficient_volume_is_taken() {
    let view = View::of(
        [
            claim(json!({(SELECTED_NODE): "a"})),
            class(),
            volume("5Gi", "big"),
            volume("2Gi", "fit"),
            volume("1Mi", "tiny"),
        ],
        &[BY_CLAIM],
    );
    let plan = Binder.reconcile(&view, &key(), Time(0));
    assert!(matches!(&plan.actions[0], Action::Patch { target, .. } if target.name == "fit"));
    assert_eq!(plan.actions.len(), 2);
}

#[test]
fn a_volume_without_its_claim_is_released_and_deleted() {
    let (_, mut gone) = volume("1Gi", "v");
    gone.set_at(
        &["spec", "claimRef"],
        json!({"namespace": "n", "name": "c", "uid": "old"}),
    );
    gone.set_at(&["spec", "persistentVolumeReclaimPolicy"], "Delete");
    gone.set_at(
        &["metadata", "annotations", "pv.kubernetes.io/provisioned-by"],
        DIRECTORY,
    );
    let key = Target::new(PVS, "", "v");
    let view = View::of([(PVS, gone.clone())], &[BY_CLAIM]);
    let plan = Binder.reconcile(&view, &key, Time(0));
    assert!(
        matches!(&plan.actions[0], Action::Update { object, .. } if object["status"]["phase"].str() == "Released")
    );
    gone.set_at(&["status", "phase"], "Released");
    let view = View::of([(PVS, gone)], &[BY_CLAIM]);
    let provisioner = DirectoryProvisioner {
        directory: String::new(),
    };
    assert!(matches!(
        provisioner.reconcile(&view, &key, Time(0)).actions[0],
        Action::Delete { .. }
    ));
}
