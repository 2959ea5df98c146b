//! Who may ask how much at once, as every cluster begins: upstream's mandatory and suggested
//! flow schemas and priority levels.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap`.

use machinery::{Value, json};

const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";

/// How a level lets requests wait.
enum Wait {
    /// Not at all: what is too much is refused.
    Refuse,
    /// In so many queues, of which a flow is dealt so many.
    Queue(i64, i64),
}

/// Requests that wait in one queue at most.
const QUEUE_LENGTH: i64 = 50;

/// Name, shares, percent that others may borrow, how requests wait.
const LEVELS: [(&str, i64, i64, Wait); 7] = [
    ("catch-all", 5, 0, Wait::Refuse),
    ("global-default", 20, 50, Wait::Queue(128, 6)),
    ("leader-election", 10, 0, Wait::Queue(16, 4)),
    ("node-high", 40, 25, Wait::Queue(64, 6)),
    ("system", 30, 33, Wait::Queue(64, 6)),
    ("workload-high", 40, 50, Wait::Queue(128, 6)),
    ("workload-low", 100, 90, Wait::Queue(128, 6)),
];

/// All priority levels.
pub(super) fn levels() -> Vec<Value> {
    let exempt =
        json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    let mut made = vec![object("PriorityLevelConfiguration", "exempt", exempt)];
    made.extend(LEVELS.iter().map(|(name, shares, lendable, wait)| {
        let response = match wait {
            Wait::Refuse => json!({"type": "Reject"}),
            Wait::Queue(queues, hand) => json!({
                "type": "Queue",
                "queuing": {"queues": *queues, "handSize": *hand, "queueLengthLimit": QUEUE_LENGTH}
            }),
        };
        let limited = json!({
            "nominalConcurrencyShares": *shares, "lendablePercent": *lendable, "limitResponse": response
        });
        let spec = json!({"type": "Limited", "limited": limited});
        object("PriorityLevelConfiguration", name, spec)
    }));
    made
}

/// All flow schemas.
pub(super) fn schemas() -> Vec<Value> {
    let all = |subjects: Vec<Value>| json!([{"subjects": subjects, "resourceRules": [every_resource()], "nonResourceRules": [paths(&["*"], "*")]}]);
    let managers = [
        user("system:kube-controller-manager"),
        user("system:kube-scheduler"),
    ];
    let [controllers, scheduler] = managers.clone();
    let [first, second] = managers;
    let (by_user, by_namespace) = (Some("ByUser"), Some("ByNamespace"));
    let probes = json!([{"subjects": everybody(), "nonResourceRules": [paths(&["/healthz", "/readyz", "/livez"], "get")]}]);
    let elections = json!([{
        "subjects": [first, second, account("kube-system", "*")],
        "resourceRules": [leases(&["get", "create", "update"])]
    }]);
    let nodes = json!([{"subjects": [group("system:nodes")], "resourceRules": [own_nodes(), leases(&["*"])]}]);
    let system_accounts = vec![account("kube-system", "*")];
    let accounts = vec![group("system:serviceaccounts")];
    vec![
        schema(
            "exempt",
            ("exempt", 1, None),
            all(vec![group("system:masters")]),
        ),
        schema("probes", ("exempt", 2, None), probes),
        schema(
            "system-leader-election",
            ("leader-election", 100, by_user),
            elections,
        ),
        schema("system-node-high", ("node-high", 400, by_user), nodes),
        schema(
            "system-nodes",
            ("system", 500, by_user),
            all(vec![group("system:nodes")]),
        ),
        schema(
            "kube-controller-manager",
            ("workload-high", 800, by_namespace),
            all(vec![controllers]),
        ),
        schema(
            "kube-scheduler",
            ("workload-high", 800, by_namespace),
            all(vec![scheduler]),
        ),
        schema(
            "kube-system-service-accounts",
            ("workload-high", 900, by_namespace),
            all(system_accounts),
        ),
        schema(
            "service-accounts",
            ("workload-low", 9_000, by_user),
            all(accounts),
        ),
        schema(
            "global-default",
            ("global-default", 9_900, by_user),
            all(everybody()),
        ),
        schema(
            "catch-all",
            ("catch-all", 10_000, by_user),
            all(everybody()),
        ),
    ]
}

fn everybody() -> Vec<Value> {
    vec![
        group("system:unauthenticated"),
        group("system:authenticated"),
    ]
}

/// An object that a newer version of the platform may bring up to date.
fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": kind,
        "metadata": {"name": name, "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}},
        "spec": spec
    })
}

fn schema(
    name: &str,
    (level, precedence, flows): (&str, i64, Option<&str>),
    rules: Value,
) -> Value {
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": rules
    });
    if let Some(flows) = flows {
        spec["distinguisherMethod"] = json!({"type": flows});
    }
    object("FlowSchema", name, spec)
}

fn group(name: &str) -> Value {
    json!({"kind": "Group", "group": {"name": name}})
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "user": {"name": name}})
}

fn account(namespace: &str, name: &str) -> Value {
    json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}})
}

fn every_resource() -> Value {
    json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true})
}

fn paths(paths: &[&str], verb: &str) -> Value {
    let paths: Vec<Value> = paths.iter().map(|path| (*path).into()).collect();
    json!({"verbs": [verb], "nonResourceURLs": paths})
}

fn leases(verbs: &[&str]) -> Value {
    let verbs: Vec<Value> = verbs.iter().map(|verb| (*verb).into()).collect();
    json!({"verbs": verbs, "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "namespaces": ["*"]})
}

fn own_nodes() -> Value {
    json!({"verbs": ["*"], "apiGroups": [""], "resources": ["nodes", "nodes/status"], "namespaces": ["*"], "clusterScope": true})
}
