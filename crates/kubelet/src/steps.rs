//! Steps of pods as activities: each ends with a report to the agent's loop.
//!
//! Must not decide: what is done here was planned by a worker. Upstream counterpart:
//! `kuberuntime_manager.go`'s `SyncPod` and `KillPod`.

use crate::{
    agent::{API_RETRY, Activity, Done, RUNTIME_RETRY, Uid},
    container::{self, PodContext},
    context::Context,
    environment::Downward,
    resize::{Update, larger},
    spec::Role,
    status::with_conditions_of,
    volumes::{self, HOSTS_VOLUME},
    worker::{Ready, Step, Worker, remaining},
};
use env::{CgroupLimits, HostPort, Protocol, RuntimeError, SandboxConfig};
use futures::future::join_all;
use machinery::{GroupResource, Object, Ref, SmolStr, Status, Value, json};
use reconcile::{Action, Preconditions, Propagation, Target};
use std::{net::IpAddr, sync::Arc};

/// How often a status is written again at once because the pod changed meanwhile; then later.
const WRITES_MAX: usize = 5;

/// A pod that has been set up, for activities about it.
pub fn pod_context(context: &Context, worker: &Worker) -> Option<PodContext> {
    let ready = worker.ready.clone()?;
    Some(PodContext {
        ready,
        ..bare_context(context, worker)
    })
}

fn bare_context(context: &Context, worker: &Worker) -> PodContext {
    PodContext {
        context: context.clone(),
        pod: worker.pod.clone(),
        spec: worker.spec.clone(),
        ready: Arc::default(),
    }
}

/// Writes what the kubelet says of a pod. Conditions are a list and are replaced whole, so the
/// write holds for the very pod that was read last, and starts over where another came between.
pub async fn write_status(
    context: &Context,
    pod: &Object,
    status: &Value,
) -> Result<Value, Status> {
    let mut attempt = 1;
    loop {
        let live = context.api.get("pods", pod.namespace(), pod.name()).await?;
        if live.uid() != pod.uid() {
            let pods = GroupResource::new("", "pods");
            return Err(Status::not_found(&pods, pod.name()));
        }
        let action = Action::Patch {
            target: Target::new("pods", pod.namespace(), pod.name()),
            subresource: "status",
            patch: json!({"status": with_conditions_of(status, &live)}),
            when: Preconditions::exactly(&live),
        };
        match context.api.perform(action).await {
            Err(status) if status.is_conflict() && attempt < WRITES_MAX => attempt += 1,
            outcome => return outcome,
        }
    }
}

// long: one arm a step, each a few lines; apart they would say less.
/// The activity that carries a step out.
pub fn activity(context: &Context, worker: &Worker, step: Step) -> Option<Activity> {
    let (context, pod, uid) = (
        context.clone(),
        worker.pod.clone(),
        Uid::new(worker.pod.uid()),
    );
    Some(match step {
        Step::Setup { attempt } => {
            Box::pin(async move { Done::SetUp(uid, set_up(&context, &pod, attempt).await) })
        }
        Step::Start { name, attempt } => {
            let shared = pod_context(&context, worker)?;
            let container = worker.container(&name)?.clone();
            Box::pin(async move {
                Done::Started(
                    uid,
                    name,
                    container::start(&shared, &container, attempt).await,
                )
            })
        }
        Step::Kill {
            name,
            id,
            message,
            grace,
        } => {
            let shared = pod_context(&context, worker)?;
            Box::pin(async move {
                container::kill(&shared, (&name, &id), (message, grace), true).await;
                Done::Killed(uid, Some(name))
            })
        }
        Step::KillPod { grace, hooks } => {
            let shared = pod_context(&context, worker);
            let shared = shared.unwrap_or_else(|| bare_context(&context, worker));
            let running = worker.observed.running();
            let running = running
                .map(|one| (one.name.as_str().into(), one.id.clone()))
                .collect();
            Box::pin(async move {
                kill_pod(&shared, running, (grace, hooks)).await;
                Done::Killed(uid, None)
            })
        }
        Step::Resize {
            sandbox,
            whole,
            updates,
        } => Box::pin(async move {
            let names = updates.iter().map(|(name, ..)| name.clone()).collect();
            let result = resize(&context, sandbox, &whole, &updates).await;
            Done::Resized(uid, names, result)
        }),
        Step::Say {
            warning,
            reason,
            message,
        } => Box::pin(async move {
            context.event(&pod, "", warning, (reason, message)).await;
            Done::Nothing
        }),
        Step::Remove { id } => Box::pin(async move {
            // An instance that stays is found again by the next observation.
            let _ = context.containers.remove(&id).await;
            Done::Nothing
        }),
        Step::Release => {
            let sandboxes = worker.observed.sandboxes.clone();
            Box::pin(async move { release(&context, uid, &sandboxes).await })
        }
        Step::Delete => Box::pin(async move { delete(&context, uid, &pod).await }),
        Step::BackOff { name } => {
            let field = worker.container(&name)?.field_path();
            Box::pin(async move {
                let full = Context::full_name(&pod);
                let text = format!("Back-off restarting failed container {name} in pod {full}");
                context.event(&pod, &field, true, ("BackOff", text)).await;
                Done::Nothing
            })
        }
    })
}

/// Room first, then the containers, then the pod's new bounds. The error is a sentence; what
/// was done until then stays, and is seen when it is tried again.
async fn resize(
    context: &Context,
    (id, held): (String, CgroupLimits),
    whole: &CgroupLimits,
    updates: &[Update],
) -> Result<(), String> {
    let (containers, room) = (&context.containers, larger(&held, whole));
    let pod = |error: RuntimeError| format!("pod: {}", error.message);
    if room != held {
        containers.update_sandbox(&id, &room).await.map_err(pod)?;
    }
    for (name, id, limits) in updates {
        let changed = containers.update(id, limits).await;
        changed.map_err(|error| format!("container {name:?}: {}", error.message))?;
    }
    if room != *whole {
        containers.update_sandbox(&id, whole).await.map_err(pod)?;
    }
    Ok(())
}

async fn release(context: &Context, uid: Uid, sandboxes: &[String]) -> Done {
    let stops = sandboxes
        .iter()
        .map(|one| context.containers.stop_sandbox(one));
    let stopped = join_all(stops).await.iter().all(Result::is_ok);
    let released = context.containers.release_volumes(&uid).await.is_ok();
    if !(stopped && released) {
        context.world.sleep(RUNTIME_RETRY).await;
    }
    Done::Released(uid, stopped && released)
}

/// The last word about a pod: its object goes.
async fn delete(context: &Context, uid: Uid, pod: &Object) -> Done {
    let action = Action::Delete {
        target: Target::new("pods", pod.namespace(), pod.name()),
        when: Preconditions::uid(pod.uid()),
        grace_seconds: Some(0),
        propagation: Propagation::Default,
    };
    let result = context.api.perform(action).await;
    if result.is_err() {
        context.world.sleep(API_RETRY).await;
    }
    Done::Deleted(uid, result)
}

/// Volumes first, then the sandbox; the error is a sentence, with its event reason in front.
async fn set_up(context: &Context, pod: &Arc<Object>, attempt: u32) -> Result<Ready, String> {
    let mut ready = Ready::default();
    let downward = Downward {
        pod,
        node: &context.config.node_name,
        hosts: &context.config.internal_ips,
        ips: &[],
        allocatable: &context.config.capacity,
    };
    let volumes = pod.at("spec.volumes").items();
    // Images are fetched when a container that mounts them starts.
    for volume in volumes.filter(|volume| volume.get("image").is_null()) {
        let name = volume.get("name").str();
        let path = volumes::prepare(context, &downward, volume)
            .await
            .map_err(|message| {
                format!("FailedMount: MountVolume.SetUp failed for volume \"{name}\" : {message}")
            })?;
        ready.volumes.insert(name.into(), path);
    }
    let sandbox = context
        .containers
        .run_sandbox(&sandbox_config(context, pod, attempt))
        .await;
    let sandbox = sandbox.map_err(|error| {
        format!(
            "FailedCreatePodSandBox: Failed to create pod sandbox: {}",
            error.message
        )
    })?;
    let named = pod.at("spec.hostAliases").items().next().is_some()
        || !pod.at("spec.subdomain").str().is_empty();
    if named && !pod.at("spec.hostNetwork").is_true() {
        let hosts = volumes::hosts_file(pod, &sandbox.ips, &context.config.cluster_domain);
        let path = context
            .containers
            .prepare_volume(pod.uid(), HOSTS_VOLUME, &hosts, None)
            .await;
        let path = path.map_err(|error| format!("FailedMount: {}", error.message))?;
        ready.volumes.insert(HOSTS_VOLUME.into(), path);
    }
    (ready.sandbox, ready.ips) = (sandbox.id, sandbox.ips);
    Ok(ready)
}

fn sandbox_config(context: &Context, pod: &Object, attempt: u32) -> SandboxConfig {
    let spec = pod.at("spec");
    let sysctls = spec.at("securityContext.sysctls").items();
    let sysctls = sysctls.map(|one| (one.get("name").str().into(), one.get("value").str().into()));
    let host_network = spec.get("hostNetwork").is_true();
    let (own, _) = crate::dns::host_names(pod, &context.config.cluster_domain);
    SandboxConfig {
        namespace: pod.namespace().into(),
        name: pod.name().into(),
        uid: pod.uid().into(),
        attempt,
        hostname: if host_network {
            context.config.hostname.clone()
        } else {
            own
        },
        host_network,
        host_pid: spec.get("hostPID").is_true(),
        host_ipc: spec.get("hostIPC").is_true(),
        share_process_namespace: spec.get("shareProcessNamespace").is_true(),
        resolv_conf: crate::dns::resolv_conf(pod, &context.config),
        sysctls: sysctls.collect(),
        limits: crate::limits::pod_limits(pod),
        ports: if host_network {
            Vec::new()
        } else {
            host_ports(spec)
        },
    }
}

/// Ports of the node that lead to a pod's containers.
fn host_ports(spec: Ref<'_>) -> Vec<HostPort> {
    let lists = ["initContainers", "containers"].iter();
    let containers = lists.flat_map(|list| spec.get(list).items());
    let ports = containers.flat_map(|container| container.get("ports").items());
    let number = |port: Ref<'_>| u16::try_from(port.i64()).ok().filter(|port| *port > 0);
    let read = |port: Ref<'_>| {
        let address: Option<IpAddr> = port.get("hostIP").str().parse().ok();
        Some(HostPort {
            address: address.filter(|address| !address.is_unspecified()),
            protocol: match port.get("protocol").str() {
                "UDP" => Protocol::Udp,
                "SCTP" => Protocol::Sctp,
                _ => Protocol::Tcp,
            },
            port: number(port.get("hostPort"))?,
            container_port: number(port.get("containerPort"))?,
        })
    };
    ports.filter_map(read).collect()
}

/// Main containers end first, together; then sidecars, last started first.
async fn kill_pod(pod: &PodContext, running: Vec<(SmolStr, String)>, (grace, hooks): (i64, bool)) {
    let begun = pod.context.world.now();
    let sidecars: Vec<&SmolStr> = pod.spec.of(&[Role::Sidecar]).map(|one| &one.name).collect();
    let (late, first): (Vec<_>, Vec<_>) = running
        .iter()
        .partition(|(name, _)| sidecars.contains(&name));
    let kill = |(name, id): &(SmolStr, String), grace: i64| {
        let (name, id) = (name.clone(), id.clone());
        async move {
            let message = format!("Stopping container {name}");
            container::kill(pod, (&name, &id), (message, grace), hooks).await;
        }
    };
    join_all(first.into_iter().map(|one| kill(one, grace))).await;
    for name in sidecars.into_iter().rev() {
        for one in late.iter().filter(|(known, _)| known == name) {
            let passed = pod.context.world.now().since(begun);
            kill(one, remaining(grace, passed).as_secs() as i64).await;
        }
    }
}
