//! A scripted API server and a scripted runtime for one kubelet.

mod node;

pub use node::{Node, config};

use env::*;
use futures::{StreamExt, channel::mpsc, lock::Mutex as AsyncMutex};
use kubelet::{ApiClient, PodChange, PodWatch};
use machinery::{GroupResource, Object, Status, Value};
use reconcile::{Action, Key};
use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::{Arc, Mutex},
    task::{Poll, Waker},
    time::Duration,
};

/// Objects by resource and key, and everyone who watches pods.
#[derive(Default)]
pub struct Api {
    objects: Mutex<BTreeMap<(String, Key), Arc<Object>>>,
    watchers: Mutex<Vec<mpsc::UnboundedSender<PodChange>>>,
    pub events: Mutex<Vec<String>>,
    /// Last forms of pods that are gone.
    pub gone: Mutex<Vec<Arc<Object>>>,
    /// Conditions that another writer sets, one before each next patch of a pod's status.
    pub interposed: Mutex<Vec<Value>>,
    /// Patches refused because the object had changed.
    pub conflicts: Mutex<usize>,
    revision: Mutex<u64>,
}

struct Watching(AsyncMutex<mpsc::UnboundedReceiver<PodChange>>);

impl PodWatch for Watching {
    fn next(&self) -> BoxFuture<'_, Option<Vec<PodChange>>> {
        Box::pin(async { self.0.lock().await.next().await.map(|change| vec![change]) })
    }
}

fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    into.make_object();
    for (key, value) in patch.iter() {
        if value.is_null() {
            into.make_object().remove(key);
        } else {
            merge(into.make_object().entry_or(key, || Value::Null), value);
        }
    }
}

impl Api {
    pub fn put(&self, resource: &str, mut value: Value) {
        value.remove_at(&["metadata", "resourceVersion"]);
        let mut revision = self.revision.lock().unwrap();
        *revision += 1;
        let key = Key::new(value.namespace(), value.name());
        let object = Arc::new(Object::new(&value, *revision));
        self.objects
            .lock()
            .unwrap()
            .insert((resource.into(), key), object.clone());
        if resource == "pods" {
            self.tell(PodChange::Is(object));
        }
    }

    fn tell(&self, change: PodChange) {
        self.watchers
            .lock()
            .unwrap()
            .retain(|one| one.unbounded_send(change.clone()).is_ok());
    }

    pub fn remove(&self, resource: &str, namespace: &str, name: &str) {
        let key = (resource.to_owned(), Key::new(namespace, name));
        if let Some(object) = self.objects.lock().unwrap().remove(&key)
            && resource == "pods"
        {
            self.gone.lock().unwrap().push(object.clone());
            self.tell(PodChange::Gone(object));
        }
    }

    pub fn read(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = (resource.to_owned(), Key::new(namespace, name));
        self.objects
            .lock()
            .unwrap()
            .get(&key)
            .map(|object| object.to_value())
    }

    /// Lets the other writer set its next condition.
    fn interpose(&self, namespace: &str, name: &str) {
        let Some(condition) = self.interposed.lock().unwrap().pop() else {
            return;
        };
        let mut pod = self.read("pods", namespace, name).expect("the pod exists");
        let conditions = pod.at_mut(&["status", "conditions"]);
        conditions.unwrap().as_array_mut().unwrap().push(condition);
        self.put("pods", pod);
    }

    fn act(&self, action: Action) -> Result<Value, Status> {
        let missing = |name: &str| Status::not_found(&GroupResource::new("", "things"), name);
        match action {
            Action::Create {
                target,
                subresource: "token",
                ..
            } => Ok(machinery::json!({"status": {"token": format!("token of {}", target.name)}})),
            Action::Create { target, object, .. } => {
                self.put(&target.resource, object.clone());
                Ok(object)
            }
            Action::Patch {
                target,
                subresource,
                patch,
                when,
            } => {
                if (&*target.resource, subresource) == ("pods", "status") {
                    self.interpose(&target.namespace, &target.name);
                }
                let known = self.read(&target.resource, &target.namespace, &target.name);
                let mut value = known.ok_or_else(|| missing(&target.name))?;
                let group = GroupResource::new("", "things");
                let stale = when.revision.is_some_and(|wanted| {
                    value["metadata"]["resourceVersion"].str() != wanted.to_string()
                });
                if stale || when.uid.is_some_and(|uid| value.uid() != uid) {
                    *self.conflicts.lock().unwrap() += 1;
                    return Err(Status::modified(&group, &target.name));
                }
                merge(&mut value, &patch);
                self.put(&target.resource, value.clone());
                Ok(value)
            }
            Action::Delete {
                target,
                grace_seconds,
                ..
            } => {
                assert_eq!(grace_seconds, Some(0));
                self.remove(&target.resource, &target.namespace, &target.name);
                Ok(Value::Null)
            }
            Action::Event(event) => {
                let text = format!("{}: {}", event.reason, event.message);
                self.events.lock().unwrap().push(text);
                Ok(Value::Null)
            }
            _ => Err(Status::bad_request("not scripted")),
        }
    }
}

impl ApiClient for Api {
    fn get<'a>(
        &'a self,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Arc<Object>, Status>> {
        let key = (resource.to_owned(), Key::new(namespace, name));
        let found = self.objects.lock().unwrap().get(&key).cloned();
        let missing = || Status::not_found(&GroupResource::new("", resource), name);
        Box::pin(async move { found.ok_or_else(missing) })
    }

    fn list<'a>(
        &'a self,
        resource: &'a str,
        namespace: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Arc<Object>>, Status>> {
        let objects = self.objects.lock().unwrap();
        let of = objects
            .iter()
            .filter(|((kind, key), _)| kind == resource && key.namespace == namespace);
        let found: Vec<_> = of.map(|(_, object)| object.clone()).collect();
        Box::pin(async move { Ok(found) })
    }

    fn watch_pods<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Arc<dyn PodWatch>, Status>> {
        let (sender, receiver) = mpsc::unbounded();
        let objects = self.objects.lock().unwrap();
        for (_, pod) in objects.iter().filter(|((kind, _), _)| kind == "pods") {
            sender.unbounded_send(PodChange::Is(pod.clone())).unwrap();
        }
        sender.unbounded_send(PodChange::Synced).unwrap();
        self.watchers.lock().unwrap().push(sender);
        Box::pin(async { Ok(Arc::new(Watching(AsyncMutex::new(receiver))) as Arc<dyn PodWatch>) })
    }

    fn replace<'a>(
        &'a self,
        resource: &'a str,
        mut object: Value,
    ) -> BoxFuture<'a, Result<Arc<Object>, Status>> {
        let (namespace, name) = (object.namespace().to_owned(), object.name().to_owned());
        Box::pin(async move {
            let known = self.get(resource, &namespace, &name).await?;
            let version = object.metadata_mut().remove("resourceVersion");
            if version != Some(known.revision().to_string().into()) {
                return Err(Status::modified(&GroupResource::new("", resource), &name));
            }
            self.put(resource, object);
            self.get(resource, &namespace, &name).await
        })
    }

    fn perform(&self, action: Action) -> BoxFuture<'_, Result<Value, Status>> {
        Box::pin(async { self.act(action) })
    }
}

/// What runs, and what the script says of probes and ends.
#[derive(Default)]
pub struct State {
    pub sandboxes: Vec<SandboxStatus>,
    pub containers: Vec<ContainerStatus>,
    pub configs: BTreeMap<String, ContainerConfig>,
    pub files: BTreeMap<String, VolumeSource>,
    pub failing_images: Vec<String>,
    pub failing_probes: bool,
    /// Changes of limits in order: what, and its new quota.
    pub resizes: Vec<String>,
    /// Ports of the node that lead to the last sandbox made.
    pub ports: Vec<HostPort>,
    /// Limits below this are refused.
    pub memory_used: u64,
    changed: bool,
    waker: Option<Waker>,
}

/// A runtime where everything takes a millisecond.
pub struct Runtime {
    pub world: World,
    pub state: Mutex<State>,
}

type Answer<'a, T> = BoxFuture<'a, RuntimeResult<T>>;

impl Runtime {
    fn touch(state: &mut State) {
        state.changed = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// Ends a running container.
    pub fn end(&self, name: &str, exit_code: i32) {
        let now = self.world.now();
        let mut state = self.state.lock().unwrap();
        for one in state
            .containers
            .iter_mut()
            .filter(|one| one.name == name || one.id == name)
        {
            if let ContainerState::Running { started_at } = one.state {
                let reason = if exit_code == 0 { "Completed" } else { "Error" };
                let message = String::new();
                one.state = ContainerState::Exited {
                    started_at,
                    finished_at: now,
                    exit_code,
                    reason,
                    message,
                };
            }
        }
        Self::touch(&mut state);
    }

    async fn pause(&self) {
        self.world.sleep(Duration::from_millis(1)).await;
    }
}

impl Containers for Runtime {
    fn version(&self) -> (String, String) {
        ("xebec".into(), "0.1.0".into())
    }
    fn images(&self) -> Answer<'_, Vec<ImageInfo>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn image<'a>(&'a self, _: &'a str) -> Answer<'a, Option<ImageInfo>> {
        Box::pin(async { Ok(None) })
    }
    fn pull<'a>(&'a self, reference: &'a str, _: &'a [RegistryAuth]) -> Answer<'a, ImageInfo> {
        let fails = self
            .state
            .lock()
            .unwrap()
            .failing_images
            .contains(&reference.to_owned());
        Box::pin(async move {
            match fails {
                true => Err(RuntimeError::new("ErrImagePull", "no such image")),
                false => Ok(ImageInfo::default()),
            }
        })
    }
    fn remove_image<'a>(&'a self, _: &'a str) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }
    fn run_sandbox<'a>(&'a self, config: &'a SandboxConfig) -> Answer<'a, SandboxStatus> {
        Box::pin(async {
            self.pause().await;
            let sandbox = SandboxStatus {
                id: format!("sandbox-{}-{}", config.uid, config.attempt),
                pod_uid: config.uid.clone(),
                pod_namespace: config.namespace.clone(),
                pod_name: config.name.clone(),
                attempt: config.attempt,
                ready: true,
                ips: vec!["10.1.0.9".parse().unwrap()],
                created_at: self.world.now(),
                limits: config.limits.clone(),
            };
            let mut state = self.state.lock().unwrap();
            state.ports = config.ports.clone();
            if state.sandboxes.iter().all(|one| one.id != sandbox.id) {
                state.sandboxes.push(sandbox.clone());
            }
            Runtime::touch(&mut state);
            Ok(sandbox)
        })
    }
    fn stop_sandbox<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        let mut state = self.state.lock().unwrap();
        state
            .sandboxes
            .iter_mut()
            .filter(|one| one.id == id)
            .for_each(|one| one.ready = false);
        Runtime::touch(&mut state);
        Box::pin(async { Ok(()) })
    }
    fn remove_sandbox<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        let mut state = self.state.lock().unwrap();
        state.sandboxes.retain(|one| one.id != id);
        state.containers.retain(|one| one.sandbox_id != id);
        Box::pin(async { Ok(()) })
    }
    fn create<'a>(&'a self, sandbox: &'a str, config: &'a ContainerConfig) -> Answer<'a, String> {
        Box::pin(async move {
            let mut state = self.state.lock().unwrap();
            let pod_uid = state
                .sandboxes
                .iter()
                .find(|one| one.id == sandbox)
                .unwrap()
                .pod_uid
                .clone();
            let id = format!("{}-{}-{}", pod_uid, config.name, config.attempt);
            state.configs.insert(id.clone(), config.clone());
            state.containers.push(ContainerStatus {
                id: id.clone(),
                sandbox_id: sandbox.into(),
                pod_uid,
                name: config.name.clone(),
                attempt: config.attempt,
                image: config.image.clone(),
                image_id: "sha256:1".into(),
                limits: config.limits.clone(),
                state: ContainerState::Created,
            });
            Ok(id)
        })
    }
    fn start<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.pause().await;
            let mut state = self.state.lock().unwrap();
            let started_at = self.world.now();
            let one = state
                .containers
                .iter_mut()
                .find(|one| one.id == id)
                .unwrap();
            one.state = ContainerState::Running { started_at };
            Runtime::touch(&mut state);
            Ok(())
        })
    }
    fn stop<'a>(&'a self, id: &'a str, _: Duration) -> Answer<'a, ()> {
        Box::pin(async move {
            self.pause().await;
            self.end(id, 143);
            Ok(())
        })
    }
    fn update<'a>(&'a self, id: &'a str, limits: &'a CgroupLimits) -> Answer<'a, ()> {
        Box::pin(async move {
            self.pause().await;
            let mut state = self.state.lock().unwrap();
            if limits
                .memory
                .is_some_and(|memory| memory < state.memory_used)
            {
                return Err(RuntimeError::new("ResizeError", "below current usage"));
            }
            state.resizes.push(format!("{id} {:?}", limits.cpu_milli));
            let mut all = state.containers.iter_mut();
            all.find(|one| one.id == id).unwrap().limits = limits.clone();
            Runtime::touch(&mut state);
            Ok(())
        })
    }
    fn update_sandbox<'a>(&'a self, id: &'a str, limits: &'a CgroupLimits) -> Answer<'a, ()> {
        Box::pin(async move {
            self.pause().await;
            let mut state = self.state.lock().unwrap();
            state.resizes.push(format!("pod {:?}", limits.cpu_milli));
            let mut all = state.sandboxes.iter_mut();
            all.find(|one| one.id == id).unwrap().limits = limits.clone();
            Runtime::touch(&mut state);
            Ok(())
        })
    }
    fn remove<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        self.state
            .lock()
            .unwrap()
            .containers
            .retain(|one| one.id != id);
        Box::pin(async { Ok(()) })
    }
    fn observe(&self) -> Answer<'_, NodeContainers> {
        let mut state = self.state.lock().unwrap();
        state.changed = false;
        let seen = NodeContainers {
            observed_at: self.world.now(),
            sandboxes: state.sandboxes.clone(),
            containers: state.containers.clone(),
        };
        Box::pin(async { Ok(seen) })
    }
    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(poll_fn(|context| {
            let mut state = self.state.lock().unwrap();
            if std::mem::take(&mut state.changed) {
                return Poll::Ready(());
            }
            state.waker = Some(context.waker().clone());
            Poll::Pending
        }))
    }
    fn usage(&self) -> Answer<'_, Vec<ContainerUsage>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn prepare_volume<'a>(
        &'a self,
        pod_uid: &'a str,
        name: &'a str,
        source: &'a VolumeSource,
        _: Option<i64>,
    ) -> Answer<'a, String> {
        let path = format!("/volumes/{pod_uid}/{name}");
        self.state
            .lock()
            .unwrap()
            .files
            .insert(path.clone(), source.clone());
        Box::pin(async { Ok(path) })
    }
    fn release_volumes<'a>(&'a self, pod_uid: &'a str) -> Answer<'a, ()> {
        let prefix = format!("/volumes/{pod_uid}/");
        self.state
            .lock()
            .unwrap()
            .files
            .retain(|path, _| !path.starts_with(&prefix));
        Box::pin(async { Ok(()) })
    }
    fn probe<'a>(&'a self, _: &'a Probe, _: Duration) -> BoxFuture<'a, Result<(), String>> {
        let fails = self.state.lock().unwrap().failing_probes;
        Box::pin(async move { if fails { Err("refused".into()) } else { Ok(()) } })
    }
    fn exec_sync<'a>(&'a self, _: &'a str, _: &'a [String], _: Duration) -> Answer<'a, ExecOutput> {
        Box::pin(async { Ok(ExecOutput::default()) })
    }
    fn exec<'a>(
        &'a self,
        _: &'a str,
        _: &'a [String],
        _: StreamOptions,
    ) -> Answer<'a, Arc<dyn Session>> {
        Box::pin(async { Err(RuntimeError::new("Unscripted", "no streams")) })
    }
    fn attach<'a>(&'a self, _: &'a str, _: StreamOptions) -> Answer<'a, Arc<dyn Session>> {
        Box::pin(async { Err(RuntimeError::new("Unscripted", "no streams")) })
    }
    fn connect<'a>(&'a self, _: &'a str, _: u16) -> Answer<'a, Arc<dyn ByteStream>> {
        Box::pin(async { Err(RuntimeError::new("Unscripted", "no streams")) })
    }
    fn logs<'a>(&'a self, _: &'a str, _: &'a LogOptions) -> Answer<'a, Arc<dyn LogReader>> {
        Box::pin(async { Err(RuntimeError::new("Unscripted", "no logs")) })
    }
}
