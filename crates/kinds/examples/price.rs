//! What creating a pod costs in validation and defaults, in microseconds.
//!
//! `cargo run --release -p kinds --example price`

use kinds::Catalogue;
use machinery::{GroupVersionKind, Value, json};
use std::{hint::black_box, time::Instant};

/// Rounds, after as many to warm up.
const ROUNDS: u32 = 20_000;

fn pod() -> Value {
    let container = |name: &str| {
        json!({"name": name, "image": "registry.example.com/app:1", "env": [{"name": "A", "value": "b"}, {"name": "C", "value": "d"}],
            "ports": [{"containerPort": 80, "name": "http"}], "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}], "readinessProbe": {"httpGet": {"path": "/", "port": "http"}}})
    };
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
        "spec": {"containers": [container("main"), container("side")], "volumes": [{"name": "data", "emptyDir": {}}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]}})
}

fn measure(name: &str, mut step: impl FnMut()) {
    for _ in 0..ROUNDS {
        step();
    }
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        step();
    }
    let each = begin.elapsed().as_secs_f64() / f64::from(ROUNDS) * 1e6;
    println!("{name}: {each:.2} us");
}

fn main() {
    let catalogue = Catalogue::builtin();
    let kind = catalogue
        .kind(&GroupVersionKind::new("", "v1", "Pod"))
        .expect("a built-in kind")
        .clone();
    let bare = pod();
    let mut whole = bare.clone();
    schema::decode(&mut whole, &kind.type_ref).expect("types fit");
    kind.apply_defaults(&mut whole);
    assert_eq!(kind.validate(&whole), []);
    measure("clone", || drop(black_box(bare.clone())));
    measure("clone, decode", || {
        let mut object = bare.clone();
        let _unknown = black_box(schema::decode(&mut object, &kind.type_ref));
    });
    measure("clone, defaults", || {
        let mut object = bare.clone();
        kind.apply_defaults(&mut object);
        black_box(object);
    });
    measure("validate", || drop(black_box(kind.validate(&whole))));
    measure("warnings", || drop(black_box(kind.warnings(&whole, None))));
}
