//! Pods that are given other resources while they run, in virtual time.

mod support;

use machinery::{Value, json};
use support::{Node, config};

fn container(name: &str, cpu: &str) -> Value {
    json!({"name": name, "image": format!("{name}:1"), "resources": {
        "requests": {"cpu": cpu, "memory": "32Mi"}, "limits": {"cpu": cpu, "memory": "32Mi"}}})
}

fn node() -> Node {
    Node::start(config("1", "1Gi"))
}

/// What these tests do with a node.
trait Resizing {
    fn create(&self, name: &str, containers: Value);
    fn resize(&self, name: &str, containers: Value);
    fn shown(&self, name: &str) -> (String, String, i64);
    fn changes(&self) -> Vec<String>;
}

impl Resizing for Node {
    fn create(&self, name: &str, containers: Value) {
        self.put(
            name,
            json!({"containers": containers, "restartPolicy": "OnFailure"}),
        );
        self.pass(50);
    }

    /// Asks for other resources, as the door does.
    fn resize(&self, name: &str, containers: Value) {
        let mut pod = self.pod(name);
        let generation = pod["metadata"]["generation"].as_i64().unwrap();
        pod["metadata"]["generation"] = (generation + 1).into();
        pod["spec"]["containers"] = containers;
        self.api.put("pods", pod);
        self.pass(50);
    }

    /// What the status of the first container says: allocated CPU, its limit, restarts.
    fn shown(&self, name: &str) -> (String, String, i64) {
        let one = self.pod(name)["status"]["containerStatuses"][0].clone();
        (
            one["allocatedResources"]["cpu"].str().into(),
            one["resources"]["limits"]["cpu"].str().into(),
            one["restartCount"].as_i64().unwrap(),
        )
    }

    fn changes(&self) -> Vec<String> {
        std::mem::take(&mut self.runtime.state.lock().unwrap().resizes)
    }
}

#[test]
fn limits_change_in_place_and_the_pod_has_room_first() {
    let node = node();
    node.create("p", json!([container("a", "100m"), container("b", "200m")]));
    assert_eq!(node.changes(), Vec::<String>::new());
    node.resize("p", json!([container("a", "300m"), container("b", "200m")]));
    assert_eq!(node.changes(), ["pod Some(500)", "p-a-0 Some(300)"]);
    assert_eq!(node.shown("p"), ("300m".into(), "300m".into(), 0));
    assert!(node.condition("p", "PodResizeInProgress").is_null());
    assert!(node.saw("ResizeStarted: Pod resize started: {\"containers\":[{\"name\":\"a\""));
    assert!(node.saw("ResizeCompleted: Pod resize completed: "));
    assert_eq!(
        node.pod("p")["status"]["observedGeneration"].as_i64(),
        Some(2)
    );
    node.resize("p", json!([container("a", "50m"), container("b", "200m")]));
    assert_eq!(node.changes(), ["p-a-0 Some(50)", "pod Some(250)"]);
}

#[test]
fn what_does_not_fit_waits_or_never_will() {
    let node = node();
    node.create("p", json!([container("a", "400m")]));
    node.create("q", json!([container("b", "400m")]));
    node.resize("p", json!([container("a", "700m")]));
    let pending = node.condition("p", "PodResizePending");
    assert_eq!(
        (
            pending["reason"].str(),
            pending["observedGeneration"].as_i64()
        ),
        ("Deferred", Some(2))
    );
    assert_eq!(
        pending["message"].str(),
        "Node didn't have enough resource: cpu, requested: 700, used: 400, capacity: 1000"
    );
    assert_eq!(node.shown("p"), ("400m".into(), "400m".into(), 0));
    node.resize("p", json!([container("a", "2")]));
    let pending = node.condition("p", "PodResizePending");
    assert_eq!(pending["reason"].str(), "Infeasible");
    assert!(node.saw("ResizeInfeasible: Pod resize Infeasible: "));
    node.resize("p", json!([container("a", "700m")]));
    node.api.remove("pods", "d", "q");
    node.pass(50);
    assert!(node.condition("p", "PodResizePending").is_null());
    assert_eq!(node.shown("p"), ("700m".into(), "700m".into(), 0));
}

#[test]
fn a_policy_restarts_its_container_alone() {
    let node = node();
    let mut first = container("a", "100m");
    first["resizePolicy"] = json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]);
    node.create("p", json!([first.clone(), container("b", "100m")]));
    first["resources"]["requests"]["cpu"] = "300m".into();
    first["resources"]["limits"]["cpu"] = "300m".into();
    node.resize("p", json!([first, container("b", "100m")]));
    node.pass(50);
    assert_eq!(node.shown("p"), ("300m".into(), "300m".into(), 1));
    assert!(node.saw("Killing: Container a resize requires restart"));
    let status = node.pod("p")["status"].clone();
    assert_eq!(
        status["containerStatuses"][1]["restartCount"].as_i64(),
        Some(0)
    );
    assert_eq!(status["phase"].str(), "Running");
    assert!(node.condition("p", "PodResizeInProgress").is_null());
    assert_eq!(node.changes(), ["pod Some(400)"]);
}

#[test]
fn limits_of_the_pod_are_those_of_containers_without() {
    let node = node();
    let mut free = container("a", "100m");
    free["resources"] = json!({});
    free["resizePolicy"] = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    let whole = |cpu: &str, memory: &str| json!({"limits": {"cpu": cpu, "memory": memory}, "requests": {"cpu": cpu, "memory": memory}});
    node.create("p", json!([free]));
    let resize = |resources: Value| {
        let mut pod = node.pod("p");
        pod["spec"]["resources"] = resources;
        node.api.put("pods", pod);
        node.pass(100);
    };
    resize(whole("200m", "64Mi"));
    assert!(node.changes().contains(&"pod Some(200)".to_owned()));
    let restarts = || node.pod("p")["status"]["containerStatuses"][0]["restartCount"].as_i64();
    let before = restarts();
    resize(whole("300m", "64Mi"));
    assert_eq!(node.changes(), ["pod Some(300)", "p-a-1 Some(300)"]);
    assert_eq!(restarts(), before);
    resize(whole("300m", "96Mi"));
    assert_eq!(restarts(), before.map(|count| count + 1));
    let status = node.pod("p")["status"].clone();
    assert_eq!(status["resources"]["limits"]["memory"].str(), "96Mi");
    assert_eq!(status["allocatedResources"]["cpu"].str(), "300m");
}

#[test]
fn a_limit_below_use_is_tried_again() {
    let node = node();
    node.create("p", json!([container("a", "100m")]));
    node.runtime.state.lock().unwrap().memory_used = 30 << 20;
    let mut less = container("a", "100m");
    less["resources"]["limits"]["memory"] = "16Mi".into();
    less["resources"]["requests"]["memory"] = "16Mi".into();
    node.resize("p", json!([less]));
    let condition = node.condition("p", "PodResizeInProgress");
    assert_eq!(
        (condition["reason"].str(), condition["message"].str()),
        ("Error", "container \"a\": below current usage")
    );
    assert!(node.saw("ResizeError: Pod resize error: "));
    let status = node.pod("p")["status"]["containerStatuses"][0].clone();
    assert_eq!(status["resources"]["limits"]["memory"].str(), "32Mi");
    assert_eq!(status["resources"]["requests"]["memory"].str(), "32Mi");
    assert_eq!(status["allocatedResources"]["memory"].str(), "16Mi");
    node.runtime.state.lock().unwrap().memory_used = 0;
    node.pass(10_100);
    assert!(node.condition("p", "PodResizeInProgress").is_null());
    let status = node.pod("p")["status"]["containerStatuses"][0].clone();
    assert_eq!(status["resources"]["limits"]["memory"].str(), "16Mi");
}

#[test]
fn a_new_agent_goes_on_where_the_last_one_stopped() {
    let mut node = node();
    node.create("p", json!([container("a", "400m")]));
    node.create("q", json!([container("b", "400m")]));
    node.resize("p", json!([container("a", "700m")]));
    node.stop();
    node.start_again();
    assert_eq!(
        node.condition("p", "PodResizePending")["reason"].str(),
        "Deferred"
    );
    assert_eq!(node.changes(), Vec::<String>::new());
    node.api.remove("pods", "d", "q");
    node.pass(50);
    assert_eq!(node.changes(), ["pod Some(700)", "p-a-0 Some(700)"]);
}
