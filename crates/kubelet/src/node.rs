//! The Node object and its lease: registration, status, heartbeat.
//!
//! Upstream counterpart: `kubelet_node_status.go` and `component-helpers/lease`.

use crate::{KUBELET_VERSION, KubeletConfig, context::Context};
use env::Time;
use machinery::{Map, Object, Quantity, Status, Value, format_micro_time, format_time, json};
use reconcile::{Action, Preconditions, Target};
use std::sync::Arc;

const NODES: &str = "nodes";
const LEASES: &str = "leases.coordination.k8s.io";
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// Attempts at one renewal; each but the first finds out what has become of the lease.
const RENEWALS_MAX: usize = 5;
/// Images reported in the node's status at most.
const IMAGES_SHOWN: usize = 50;

/// Conditions a kubelet reports: type, status, reason, message.
const CONDITIONS: [(&str, &str, &str, &str); 4] = [
    (
        "MemoryPressure",
        "False",
        "KubeletHasSufficientMemory",
        "kubelet has sufficient memory available",
    ),
    (
        "DiskPressure",
        "False",
        "KubeletHasNoDiskPressure",
        "kubelet has no disk pressure",
    ),
    (
        "PIDPressure",
        "False",
        "KubeletHasSufficientPID",
        "kubelet has sufficient PID available",
    ),
    (
        "Ready",
        "True",
        "KubeletReady",
        "kubelet is posting ready status",
    ),
];

fn labels(config: &KubeletConfig) -> Map {
    let mut labels: Map = config.labels.iter().collect();
    for (key, value) in [
        ("kubernetes.io/hostname", &config.hostname),
        ("kubernetes.io/os", &"linux".to_owned()),
        ("beta.kubernetes.io/os", &"linux".to_owned()),
        ("kubernetes.io/arch", &config.architecture),
        ("beta.kubernetes.io/arch", &config.architecture),
        ("node.kubernetes.io/instance-type", &config.instance_type),
        ("beta.kubernetes.io/instance-type", &config.instance_type),
        ("topology.kubernetes.io/region", &config.region),
        ("failure-domain.beta.kubernetes.io/region", &config.region),
        ("topology.kubernetes.io/zone", &config.zone),
        ("failure-domain.beta.kubernetes.io/zone", &config.zone),
    ] {
        if !value.is_empty() {
            labels.insert(key, value);
        }
    }
    labels
}

/// Capacity, and what is left of it for pods.
fn amounts(config: &KubeletConfig) -> (Map, Map) {
    let (mut capacity, mut allocatable) = (Map::new(), Map::new());
    for (name, text) in &config.capacity {
        capacity.insert(name, text);
        let reserved = config
            .reserved
            .get(name)
            .and_then(|text| text.parse::<Quantity>().ok());
        match (text.parse::<Quantity>(), reserved) {
            (Ok(all), Some(reserved)) => allocatable.insert(name, (all - reserved).to_string()),
            _ => allocatable.insert(name, text),
        };
    }
    if !config.capacity.contains_key("pods") {
        capacity.insert("pods", config.max_pods.to_string());
        allocatable.insert("pods", config.max_pods.to_string());
    }
    (capacity, allocatable)
}

/// Amounts for pods, by name: what admission counts against.
pub fn allocatable(config: &KubeletConfig) -> Value {
    Value::Object(amounts(config).1)
}

/// The Node as first registered.
fn node(config: &KubeletConfig) -> Value {
    let mut spec = Map::new();
    if !config.provider_id.is_empty() {
        spec.insert("providerID", &config.provider_id);
    }
    if !config.taints.is_empty() {
        spec.insert("taints", config.taints.clone());
    }
    let mut annotations: Map = config.annotations.iter().collect();
    annotations.insert(
        "volumes.kubernetes.io/controller-managed-attach-detach",
        "true",
    );
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": &config.node_name, "labels": labels(config), "annotations": annotations},
        "spec": spec,
    })
}

/// The node's status; conditions keep their transition times and those of others.
async fn status(context: &Context, present: &Object, now: Time) -> Value {
    let config = &context.config;
    let (capacity, allocatable) = amounts(config);
    let mut addresses: Vec<Value> = Vec::new();
    for ip in &config.internal_ips {
        addresses.push(json!({"type": "InternalIP", "address": ip.to_string()}));
    }
    addresses.push(json!({"type": "Hostname", "address": &config.hostname}));
    for (kind, address) in &config.extra_addresses {
        addresses.push(json!({"type": kind, "address": address}));
    }
    let (runtime, version) = context.containers.version();
    let mut info = json!({
        "architecture": &config.architecture, "operatingSystem": "linux",
        "containerRuntimeVersion": format!("{runtime}://{version}"),
        "kubeletVersion": KUBELET_VERSION, "kubeProxyVersion": "",
        "kernelVersion": "", "osImage": "", "machineID": "", "systemUUID": "", "bootID": "",
    });
    for (key, value) in &config.node_info {
        info[key.as_str()] = value.into();
    }
    json!({
        "capacity": capacity, "allocatable": allocatable, "addresses": addresses,
        "nodeInfo": info, "conditions": conditions(present, now), "images": images(context).await,
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
    })
}

fn conditions(present: &Object, now: Time) -> Vec<Value> {
    let known = present.at("status.conditions");
    let own = |kind: &str| CONDITIONS.iter().any(|one| one.0 == kind);
    let mut shown: Vec<Value> = known
        .items()
        .filter(|one| !own(one.get("type").str()))
        .map(|one| one.to_value())
        .collect();
    for (kind, status, reason, message) in CONDITIONS {
        let before = known.items().find(|one| one.get("type").str() == kind);
        let same = before.filter(|one| one.get("status").str() == status);
        let since = same.map_or_else(
            || format_time(now.0),
            |one| one.get("lastTransitionTime").str().into(),
        );
        shown.push(json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": format_time(now.0), "lastTransitionTime": since,
        }));
    }
    shown
}

async fn images(context: &Context) -> Vec<Value> {
    // Without an answer the list is empty; the scheduler only uses it as a hint.
    let mut images = context.containers.images().await.unwrap_or_default();
    images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    let show = |image: &env::ImageInfo| {
        let names: Vec<Value> = image
            .digests
            .iter()
            .chain(&image.tags)
            .map(Into::into)
            .collect();
        json!({"names": names, "sizeBytes": image.size as i64})
    };
    images.iter().take(IMAGES_SHOWN).map(show).collect()
}

/// Creates the Node, or brings labels of an existing one up to date; then reports its status.
pub async fn register(context: &Context) -> Result<(), Status> {
    let wanted = node(&context.config);
    let target = Target::new(NODES, "", "");
    let create = Action::Create {
        target,
        subresource: "",
        object: wanted.clone(),
        existing_is_fine: false,
    };
    match context.api.perform(create).await {
        Ok(_) => {}
        Err(status) if status.is_already_exists() => {
            let mut patch = json!({"metadata": {"labels": &wanted["metadata"]["labels"],
                "annotations": &wanted["metadata"]["annotations"]}});
            if !context.config.provider_id.is_empty() {
                patch["spec"]["providerID"] = (&context.config.provider_id).into();
            }
            let target = Target::new(NODES, "", &context.config.node_name);
            let when = Preconditions::default();
            context
                .api
                .perform(Action::Patch {
                    target,
                    subresource: "",
                    patch,
                    when,
                })
                .await?;
        }
        Err(status) => return Err(status),
    }
    report(context).await
}

/// Writes the node's status.
pub async fn report(context: &Context) -> Result<(), Status> {
    let name = &context.config.node_name;
    let present = context.api.get(NODES, "", name).await?;
    let status = status(context, &present, context.world.now()).await;
    let action = Action::Patch {
        target: Target::new(NODES, "", name),
        subresource: "status",
        patch: json!({"status": status}),
        when: Preconditions::default(),
    };
    context.api.perform(action).await.map(drop)
}

/// Whether the cluster believes less of the node than its agent does: upstream's kubelet
/// compares with every heartbeat and corrects a condition that others have set.
pub async fn is_doubted(context: &Context) -> bool {
    let Ok(node) = context.api.get(NODES, "", &context.config.node_name).await else {
        return false;
    };
    let mut conditions = node.at("status.conditions").items();
    conditions.any(|one| one.get("type").str() == "Ready" && one.get("status").str() != "True")
}

/// Renews the lease, creating it if need be. `known` is what it was when last written; where it
/// has changed since, it is read again. The lease as it is then, unless it is new.
pub async fn renew_lease(
    context: &Context,
    mut known: Option<Arc<Object>>,
) -> Result<Option<Arc<Object>>, Status> {
    let mut outcome = Ok(None);
    for _ in 0..RENEWALS_MAX {
        let lease = match known.take() {
            Some(lease) => lease,
            None => match context
                .api
                .get(LEASES, LEASE_NAMESPACE, &context.config.node_name)
                .await
            {
                Err(status) if status.is_not_found() => {
                    return create_lease(context).await.map(|()| None);
                }
                found => found?,
            },
        };
        let mut renewed = lease.shown();
        renewed.set_at(
            &["spec", "renewTime"],
            format_micro_time(context.world.now().0),
        );
        match context.api.replace(LEASES, renewed).await {
            Err(status) if status.is_conflict() || status.is_not_found() => outcome = Err(status),
            written => return written.map(Some),
        }
    }
    outcome
}

async fn create_lease(context: &Context) -> Result<(), Status> {
    let name = &context.config.node_name;
    let node = context.api.get(NODES, "", name).await.ok();
    let owners: Vec<Value> = node
        .iter()
        .map(|node| json!({"apiVersion": "v1", "kind": "Node", "name": name, "uid": node.uid()}))
        .collect();
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": LEASE_NAMESPACE, "ownerReferences": owners},
        "spec": {
            "holderIdentity": name, "renewTime": format_micro_time(context.world.now().0),
            "leaseDurationSeconds": context.config.lease_duration.as_secs() as i64,
        },
    });
    let create = Action::Create {
        target: Target::new(LEASES, LEASE_NAMESPACE, ""),
        subresource: "",
        object: lease,
        existing_is_fine: true,
    };
    context.api.perform(create).await.map(drop)
}
