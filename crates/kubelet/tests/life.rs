//! Pods on one node, from creation to removal, in virtual time.

mod support;

use kubelet::KubeletConfig;
use machinery::{Value, json};
use support::{Node, config};

fn node() -> Node {
    Node::start(KubeletConfig {
        zone: "z".into(),
        cluster_dns: vec!["10.96.0.10".parse().unwrap()],
        ..config("4", "8Gi")
    })
}

/// What these tests do with a node.
trait Living {
    fn create(&self, name: &str, spec: Value);
    fn status(&self, name: &str) -> Value;
    fn said(&self, name: &str, kind: &str) -> String;
    fn delete(&self, name: &str, grace: i64);
}

impl Living for Node {
    fn create(&self, name: &str, spec: Value) {
        self.put(name, spec);
    }

    fn status(&self, name: &str) -> Value {
        self.pod(name)["status"].clone()
    }

    fn said(&self, name: &str, kind: &str) -> String {
        self.condition(name, kind)["status"].str().to_owned()
    }

    fn delete(&self, name: &str, grace: i64) {
        let mut pod = self.api.read("pods", "d", name).unwrap();
        let at = machinery::format_time(self.sim.now().0 + grace as u64 * 1_000_000);
        pod.set_at(&["metadata", "deletionTimestamp"], at);
        pod.set_at(&["metadata", "deletionGracePeriodSeconds"], grace);
        pod.set_at(&["metadata", "generation"], 2);
        self.api.put("pods", pod);
    }
}

fn container(name: &str) -> Value {
    json!({"name": name, "image": format!("{name}:1")})
}

/// Pulls of this image fail from now on.
fn fail_image(node: &Node, image: &str) {
    let mut state = node.runtime.state.lock().unwrap();
    state.failing_images.push(image.into());
}

#[test]
fn a_node_registers_and_keeps_its_lease() {
    let node = node();
    let object = node.api.read("nodes", "", "n").unwrap();
    assert_eq!(
        object["metadata"]["labels"]["topology.kubernetes.io/zone"].str(),
        "z"
    );
    assert_eq!(object["status"]["allocatable"]["cpu"].str(), "4");
    let renewed = |node: &Node| {
        let lease = node
            .api
            .read("leases.coordination.k8s.io", "kube-node-lease", "n")
            .unwrap();
        lease["spec"]["renewTime"].str().to_owned()
    };
    let first = renewed(&node);
    node.pass(10_500);
    let second = renewed(&node);
    assert!(second > first);
    // What another says of the lease stays, and costs no renewal.
    let (leases, namespace) = ("leases.coordination.k8s.io", "kube-node-lease");
    let mut lease = node.api.read(leases, namespace, "n").unwrap();
    lease.set_at(&["metadata", "labels", "by"], "another");
    node.api.put(leases, lease);
    node.pass(10_500);
    assert!(renewed(&node) > second);
    let lease = node.api.read(leases, namespace, "n").unwrap();
    assert_eq!(lease.at(&["metadata", "labels", "by"]).str(), "another");
    node.api.remove(leases, namespace, "n");
    node.pass(10_500);
    assert!(renewed(&node) > second);
}

#[test]
fn a_pod_runs_is_ready_and_goes() {
    let node = node();
    node.create("p", json!({"containers": [container("c")]}));
    node.pass(50);
    let status = node.status("p");
    assert_eq!(
        (status["phase"].str(), status["podIP"].str()),
        ("Running", "10.1.0.9")
    );
    assert_eq!(node.said("p", "Ready"), "True");
    assert_eq!(
        status["containerStatuses"][0]["containerID"].str(),
        "xebec://p-c-0"
    );
    for event in [
        "Pulling:",
        "Pulled: Successfully pulled image \"c:1\"",
        "Created:",
        "Started:",
    ] {
        assert!(node.saw(event), "{event}");
    }
    node.delete("p", 30);
    node.pass(50);
    assert!(node.api.read("pods", "d", "p").is_none());
    let last = node.api.gone.lock().unwrap()[0].clone();
    assert_eq!(
        (
            last.at("status.phase").str(),
            last.at("status.observedGeneration").i64()
        ),
        ("Failed", 2),
        "watchers hear how it ended before it goes"
    );
    assert!(node.saw("Killing: Stopping container c"));
    assert!(node.runtime.state.lock().unwrap().sandboxes.is_empty());
    assert_eq!(node.kubelet.node_name(), "n");
}

#[test]
fn init_containers_come_first_and_a_job_succeeds() {
    let node = node();
    node.create("p", json!({"restartPolicy": "Never",
        "initContainers": [container("i"), {"name": "s", "image": "s:1", "restartPolicy": "Always"}],
        "containers": [container("c")]}));
    node.pass(50);
    let status = node.status("p");
    assert_eq!(status["phase"].str(), "Pending");
    assert_eq!(
        status["containerStatuses"][0]["state"]["waiting"]["reason"].str(),
        "PodInitializing"
    );
    node.runtime.end("i", 0);
    node.pass(50);
    assert_eq!(node.status("p")["phase"].str(), "Running");
    node.runtime.end("c", 0);
    node.pass(50);
    let status = node.status("p");
    assert_eq!(status["phase"].str(), "Succeeded");
    assert_eq!(
        status["containerStatuses"][0]["state"]["terminated"]["reason"].str(),
        "Completed"
    );
    let running = node
        .runtime
        .state
        .lock()
        .unwrap()
        .containers
        .iter()
        .filter(|one| matches!(one.state, env::ContainerState::Running { .. }))
        .count();
    assert_eq!(running, 0, "the sidecar ends with the job");
}

#[test]
fn a_crash_loop_backs_off() {
    let node = node();
    node.create("p", json!({"containers": [container("c")]}));
    node.pass(50);
    node.runtime.end("c", 1);
    node.pass(50);
    assert_eq!(
        node.status("p")["containerStatuses"][0]["restartCount"].as_i64(),
        Some(1)
    );
    node.runtime.end("c", 1);
    node.pass(50);
    let status = node.status("p")["containerStatuses"][0].clone();
    assert_eq!(
        status["state"]["waiting"]["reason"].str(),
        "CrashLoopBackOff"
    );
    assert_eq!(
        status["state"]["waiting"]["message"].str(),
        "back-off 10s restarting failed container=c pod=p_d(p)"
    );
    assert_eq!(
        status["lastState"]["terminated"]["exitCode"].as_i64(),
        Some(1)
    );
    assert!(node.saw("BackOff: Back-off restarting failed container c in pod p_d(p)"));
    node.pass(10_100);
    let status = node.status("p")["containerStatuses"][0].clone();
    assert_eq!(
        (
            status["restartCount"].as_i64(),
            status["state"]["running"].is_null()
        ),
        (Some(2), false)
    );
}

#[test]
fn images_that_fail_are_tried_again() {
    let node = node();
    fail_image(&node, "c:1");
    node.create(
        "p",
        json!({"containers": [container("c"), {"name": "bad", "image": "Bad!"}]}),
    );
    node.pass(50);
    let reason = |node: &Node, at: usize| {
        node.status("p")["containerStatuses"][at]["state"]["waiting"]["reason"]
            .str()
            .to_owned()
    };
    assert_eq!(reason(&node, 1), "InvalidImageName");
    assert!(["ErrImagePull", "ImagePullBackOff"].contains(&reason(&node, 0).as_str()));
    node.runtime.state.lock().unwrap().failing_images.clear();
    node.pass(11_000);
    assert!(!node.status("p")["containerStatuses"][0]["state"]["running"].is_null());
}

#[test]
fn another_image_replaces_a_container() {
    let node = node();
    let sidecar = json!({"name": "s", "image": "s:1", "restartPolicy": "Always"});
    node.create("p", json!({"restartPolicy": "Never", "initContainers": [sidecar], "containers": [container("c"), container("d")]}));
    node.pass(100);
    let change = |list: &str, image: &str| {
        let mut pod = node.pod("p");
        pod["spec"][list].as_array_mut().unwrap()[0]["image"] = image.into();
        node.api.put("pods", pod);
        for _ in 0..100 {
            node.pass(1);
            let status = node.status("p");
            let ready = |one: &&Value| one["type"].str() == "Ready";
            let ready = status["conditions"].items().iter().find(ready).cloned();
            assert_eq!(
                ready.unwrap()["status"].str(),
                "True",
                "its successor is nearly there"
            );
        }
    };
    let shown = |list: &str, at: usize| {
        let one = node.status("p")[list][at].clone();
        let running = !one["state"]["running"].is_null();
        (
            one["image"].str().to_owned(),
            one["restartCount"].as_i64(),
            running,
        )
    };
    change("containers", "c:2");
    assert!(node.saw("Killing: Container c definition changed, will be restarted"));
    assert_eq!(shown("containerStatuses", 0), ("c:2".into(), Some(1), true));
    assert_eq!(shown("containerStatuses", 1), ("d:1".into(), Some(0), true));
    change("initContainers", "s:2");
    assert!(node.saw("Killing: Init container s definition changed"));
    assert_eq!(
        shown("initContainerStatuses", 0),
        ("s:2".into(), Some(1), true)
    );
    assert_eq!(node.status("p")["phase"].str(), "Running");
}

#[test]
fn another_image_that_fails_is_told_of() {
    let node = node();
    node.create("p", json!({"containers": [container("c")]}));
    node.pass(100);
    fail_image(&node, "c:2");
    let mut pod = node.pod("p");
    pod["spec"]["containers"].as_array_mut().unwrap()[0]["image"] = "c:2".into();
    node.api.put("pods", pod);
    node.pass(100);
    let waiting = node.status("p")["containerStatuses"][0]["state"]["waiting"].clone();
    assert!(["ErrImagePull", "ImagePullBackOff"].contains(&waiting["reason"].str()));
}

#[test]
fn another_image_does_not_wait_for_the_last_ones_failures() {
    let node = node();
    fail_image(&node, "c:1");
    node.create("p", json!({"containers": [container("c")]}));
    node.pass(50);
    let mut pod = node.pod("p");
    pod["spec"]["containers"].as_array_mut().unwrap()[0]["image"] = "c:2".into();
    node.api.put("pods", pod);
    node.pass(100);
    let status = node.status("p")["containerStatuses"][0].clone();
    assert!(!status["state"]["running"].is_null(), "{status:?}");
}

#[test]
fn the_whole_pods_resources_are_told() {
    let node = node();
    let mut own = container("c");
    own["resources"] =
        json!({"requests": {"cpu": "200m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}});
    node.create("p", json!({"containers": [own.clone(), container("d")]}));
    node.create("q", json!({"containers": [own]}));
    node.create("r", json!({"containers": [container("e")]}));
    node.pass(200);
    let told = |name: &str| {
        let status = node.status(name);
        json!([
            status["resources"].clone(),
            status["allocatedResources"].clone()
        ])
    };
    let requests = json!({"cpu": "200m", "memory": "32Mi"});
    assert_eq!(
        told("p"),
        json!([{"requests": requests.clone()}, requests.clone()])
    );
    assert_eq!(
        told("q"),
        json!([{"requests": requests.clone(), "limits": {"memory": "64Mi"}}, requests.clone()])
    );
    assert_eq!(told("r"), json!([{}, null]));
    fail_image(&node, "c:1");
    node.create(
        "s",
        json!({"containers": [node.pod("p")["spec"]["containers"][0].clone(), container("d")]}),
    );
    node.pass(50);
    let shown = json!([{"requests": requests.clone(), "limits": {"memory": "64Mi"}}, requests]);
    assert_eq!(told("s"), shown);
}

#[test]
fn probes_hold_back_and_restart() {
    let node = node();
    let probe = |failures: i64| json!({"tcpSocket": {"port": 80}, "periodSeconds": 1, "failureThreshold": failures});
    let mut spec = container("c");
    spec["readinessProbe"] = probe(1);
    spec["livenessProbe"] = probe(3);
    node.create("p", json!({"containers": [spec]}));
    node.pass(50);
    assert_eq!(node.said("p", "Ready"), "True");
    node.runtime.state.lock().unwrap().failing_probes = true;
    node.pass(1_100);
    assert_eq!(node.said("p", "Ready"), "False");
    node.pass(2_100);
    assert!(node.saw("Unhealthy: Liveness probe failed: refused"));
    assert!(node.saw("Killing: Container c failed liveness probe, will be restarted"));
    node.runtime.state.lock().unwrap().failing_probes = false;
    node.pass(1_200);
    let status = node.status("p")["containerStatuses"][0].clone();
    assert_eq!(
        (status["restartCount"].as_i64(), status["ready"].as_bool()),
        (Some(1), Some(true))
    );
}

#[test]
fn environment_and_volumes() {
    let node = node();
    node.api.put("configmaps", json!({"kind": "ConfigMap", "metadata": {"name": "m", "namespace": "d"}, "data": {"k": "v"}}));
    node.api.put(
        "services",
        json!({"kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443}]}}),
    );
    let mut spec = container("c");
    spec["env"] = json!([
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}},
        {"name": "B", "value": "$(A)-$(KUBERNETES_SERVICE_HOST)"},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "MISSING", "valueFrom": {"secretKeyRef": {"name": "x", "key": "k", "optional": true}}},
    ]);
    spec["volumeMounts"] = json!([{"name": "v", "mountPath": "/v", "subPathExpr": "$(A)"}]);
    node.create("p", json!({"containers": [spec], "serviceAccountName": "robot", "volumes": [{"name": "v", "projected": {"sources": [
        {"configMap": {"name": "m"}}, {"serviceAccountToken": {"path": "token"}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]}}]}));
    node.pass(50);
    let state = node.runtime.state.lock().unwrap();
    let made = &state.configs["p-c-0"];
    let value = |name: &str| {
        made.env
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(value("B"), Some("v-10.96.0.1"));
    assert_eq!((value("IP"), value("MISSING")), (Some("10.1.0.9"), None));
    assert_eq!(value("KUBERNETES_SERVICE_PORT_HTTPS"), Some("443"));
    assert_eq!(made.mounts[0].sub_path, "v");
    let env::VolumeSource::Files { files } = &state.files["/volumes/p/v"] else {
        panic!("files")
    };
    assert_eq!(files["token"].0, b"token of robot");
    assert_eq!(files["labels"].0, b"app=\"p\"");
}

#[test]
fn images_are_volumes_once_they_are_here() {
    let node = node();
    let fail = |image: &str| {
        node.runtime
            .state
            .lock()
            .unwrap()
            .failing_images
            .push(image.into())
    };
    fail("files:1");
    let mut spec = container("c");
    spec["volumeMounts"] = json!([{"name": "v", "mountPath": "/v", "subPath": "dir"}]);
    spec["ports"] = json!([
        {"containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1", "protocol": "TCP"},
        {"containerPort": 53, "hostPort": 53, "hostIP": "0.0.0.0", "protocol": "UDP"}, {"containerPort": 81},
    ]);
    let volumes = json!([{"name": "v", "image": {"reference": "files:1", "pullPolicy": "Always"}}]);
    node.create(
        "p",
        json!({"containers": [spec, container("other")], "volumes": volumes}),
    );
    node.pass(50);
    let status = node.status("p");
    let waiting = status["containerStatuses"][0]["state"]["waiting"].clone();
    assert_eq!(
        waiting["message"].str(),
        "Back-off pulling image \"files:1\"",
        "{waiting:?}"
    );
    let other = &status["containerStatuses"][1]["state"]["running"];
    assert!(!other.is_null(), "who does not mount it does not wait");
    node.runtime.state.lock().unwrap().failing_images.clear();
    node.pass(11_000);
    assert!(node.saw("Pulled: Successfully pulled image \"files:1\""));
    let state = node.runtime.state.lock().unwrap();
    let mount = &state.configs["p-c-0"].mounts[0];
    assert_eq!((mount.read_only, mount.sub_path.as_str()), (true, "dir"));
    let reference = "files:1".to_owned();
    assert_eq!(
        state.files[&mount.host_path],
        env::VolumeSource::Image { reference }
    );
    let ports: Vec<_> = state
        .ports
        .iter()
        .map(|one| (one.address, one.port))
        .collect();
    let loopback = "127.0.0.1".parse().unwrap();
    assert_eq!(ports, [(Some(loopback), 8080), (None, 53)]);
}

#[test]
fn missing_configuration_is_waited_for() {
    let node = node();
    let mut spec = container("c");
    spec["envFrom"] = json!([{"secretRef": {"name": "later"}}]);
    node.create("p", json!({"containers": [spec]}));
    node.pass(50);
    let waiting = node.status("p")["containerStatuses"][0]["state"]["waiting"].clone();
    assert_eq!(
        (waiting["reason"].str(), waiting["message"].str()),
        ("CreateContainerConfigError", "secret \"later\" not found")
    );
    node.api.put("secrets", json!({"kind": "Secret", "metadata": {"name": "later", "namespace": "d"}, "data": {"A": "aGk="}}));
    node.pass(6_000);
    assert_eq!(node.status("p")["phase"].str(), "Running");
}

#[test]
fn too_big_pods_are_refused_and_deadlines_hold() {
    let node = node();
    let mut spec = container("c");
    spec["resources"] = json!({"requests": {"cpu": "5"}});
    node.create("big", json!({"containers": [spec]}));
    node.create(
        "late",
        json!({"activeDeadlineSeconds": 2, "containers": [container("c")]}),
    );
    node.pass(50);
    let status = node.status("big");
    assert_eq!(
        (status["phase"].str(), status["reason"].str()),
        ("Failed", "OutOfcpu")
    );
    node.pass(2_500);
    let status = node.status("late");
    assert_eq!(
        (status["phase"].str(), status["reason"].str()),
        ("Failed", "DeadlineExceeded")
    );
}

#[test]
fn a_new_agent_takes_over_what_runs() {
    let mut node = node();
    node.create("p", json!({"containers": [container("c")]}));
    node.create("q", json!({"containers": [container("c")]}));
    node.pass(50);
    node.stop();
    node.api.remove("pods", "d", "q");
    node.start_again();
    let status = node.status("p");
    assert_eq!(
        status["containerStatuses"][0]["restartCount"].as_i64(),
        Some(0)
    );
    assert_eq!(node.said("p", "Ready"), "True");
    let state = node.runtime.state.lock().unwrap();
    let left: Vec<_> = state
        .sandboxes
        .iter()
        .map(|one| one.pod_uid.as_str())
        .collect();
    assert_eq!(left, ["p"], "what belongs to a pod that is gone is removed");
}

#[test]
fn a_dead_sandbox_is_replaced_and_initialized_anew() {
    let node = node();
    node.create(
        "p",
        json!({"initContainers": [container("i")], "containers": [container("c")]}),
    );
    node.pass(50);
    node.runtime.end("i", 0);
    node.pass(50);
    assert_eq!(node.status("p")["phase"].str(), "Running");
    node.runtime.state.lock().unwrap().sandboxes[0].ready = false;
    node.runtime.end("c", 137);
    node.pass(50);
    let status = node.status("p");
    assert_eq!(
        status["initContainerStatuses"][0]["restartCount"].as_i64(),
        Some(1)
    );
    node.runtime.end("i", 0);
    node.pass(50);
    let status = node.status("p");
    assert_eq!(
        status["containerStatuses"][0]["restartCount"].as_i64(),
        Some(1)
    );
    assert_eq!(node.said("p", "Ready"), "True");
}

#[test]
fn a_status_written_by_others_is_put_right() {
    let node = node();
    node.create("p", json!({"containers": [container("c")]}));
    node.pass(50);
    let mut pod = node.api.read("pods", "d", "p").unwrap();
    for condition in pod
        .at_mut(&["status", "conditions"])
        .unwrap()
        .as_array_mut()
        .unwrap()
    {
        if condition["type"].str() == "Ready" {
            condition["status"] = "False".into();
        }
    }
    node.api.put("pods", pod);
    node.pass(50);
    assert_eq!(node.said("p", "Ready"), "True");
}

#[test]
fn conditions_set_by_others_meanwhile_stay() {
    let node = node();
    node.create("p", json!({"containers": [container("c")]}));
    node.pass(50);
    // Two writers come between reading and writing, one after the other.
    node.api.interposed.lock().unwrap().extend([
        json!({"type": "x/y", "status": "True"}),
        json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}),
    ]);
    node.runtime.end("c", 1);
    node.pass(50);
    assert!(node.api.interposed.lock().unwrap().is_empty());
    let set = |kind: &str| node.said("p", kind);
    assert_eq!(
        (set("DisruptionTarget"), set("x/y")),
        ("True".into(), "True".into())
    );
    assert!(*node.api.conflicts.lock().unwrap() > 0);
    // What was written is what is true now, too: no second of waiting after a conflict.
    let restarts = node.status("p")["containerStatuses"][0]["restartCount"].as_i64();
    assert_eq!((restarts, set("Ready")), (Some(1), "True".into()));
    let before = *node.api.conflicts.lock().unwrap();
    node.pass(5_000);
    assert_eq!(*node.api.conflicts.lock().unwrap(), before);
}

#[test]
fn readiness_gates_and_force_deletion() {
    let node = node();
    node.create(
        "p",
        json!({"readinessGates": [{"conditionType": "x/y"}], "containers": [container("c")]}),
    );
    node.pass(50);
    assert_eq!(
        (node.said("p", "ContainersReady"), node.said("p", "Ready")),
        ("True".into(), "False".into())
    );
    let mut pod = node.api.read("pods", "d", "p").unwrap();
    let conditions = pod
        .at_mut(&["status", "conditions"])
        .unwrap()
        .as_array_mut()
        .unwrap();
    conditions.push(json!({"type": "x/y", "status": "True"}));
    node.api.put("pods", pod);
    node.pass(50);
    assert_eq!(
        (node.said("p", "x/y"), node.said("p", "Ready")),
        ("True".into(), "True".into())
    );
    node.api.remove("pods", "d", "p");
    node.pass(50);
    let state = node.runtime.state.lock().unwrap();
    assert!(state.sandboxes.is_empty() && state.containers.is_empty());
}
