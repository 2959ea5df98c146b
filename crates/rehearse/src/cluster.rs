//! A whole cluster in virtual time: the platform as it is, on simulated nodes and a simulated disk.
//!
//! The harness of rehearsals and behaviour tests. Adds no behaviour of its own: what happens
//! is what `platform::assemble` makes happen. Upstream counterpart: `kind`, envtest, KWOK.

use crate::{Error, signer::SimSigner};
use admission::{AdmissionConfig, bootstrap};
use auth::{AUTHENTICATED, MASTERS, TokenKey, User};
use env::Time;
use kubelet::{Kubelet, KubeletConfig};
use machinery::{Object, Status, Value, json};
use platform::{NodeHands, Platform, PlatformConfig};
use registry::{Answer, Call, FieldValidation, Key, PatchKind, Reply, Snapshot, Verb};
use sim_env::{DiskImage, DiskSpeed, Domain, Profiles, Sim, SimCallout, SimContainers, SimDisk};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};
use store::StoreOptions;

/// When a simulation begins unless told otherwise: 2026-01-01T00:00:00Z.
pub const START: Time = Time::from_unix_seconds(1_767_225_600);
/// Field manager of what is applied.
const MANAGER: &str = "rehearsal";
/// First address of pods; each node takes a /22 from here on.
const POD_NETWORK: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 0);
/// Pod addresses per node.
const NODE_ADDRESSES: u32 = 1024;
/// First address of nodes.
const NODE_NETWORK: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
/// Nodes that the address plan has room for.
pub const NODES_MAX: usize = 8_192;
/// Time of a sync of the simulated disk, as a good SSD takes.
const SYNC: Duration = Duration::from_millis(1);
/// Segments and checkpoints stay small, for the simulated disk is memory.
const SEGMENT_BYTES: u64 = 4 << 20;
const CHECKPOINT_BYTES: u64 = 16 << 20;

/// What a simulated node is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodePlan {
    /// Name.
    pub name: String,
    /// `topology.kubernetes.io/region`; may be empty.
    pub region: String,
    /// `topology.kubernetes.io/zone`; may be empty.
    pub zone: String,
    /// `node.kubernetes.io/instance-type`; may be empty.
    pub instance_type: String,
    /// Capacity by resource name, as quantities.
    pub capacity: BTreeMap<String, String>,
    /// Further labels.
    pub labels: BTreeMap<String, String>,
    /// Taints, as `core/v1` Taints.
    pub taints: Vec<Value>,
}

impl NodePlan {
    /// A node with 4 CPUs, 16 GiB and room for 110 pods.
    pub fn new(name: &str) -> Self {
        let capacity = [("cpu", "4"), ("memory", "16Gi"), ("pods", "110")];
        Self {
            name: name.to_owned(),
            capacity: capacity
                .map(|(name, amount)| (name.into(), amount.into()))
                .into(),
            ..Self::default()
        }
    }
}

/// What a simulated cluster is made of.
#[derive(Clone, Default)]
pub struct ClusterPlan {
    /// Seed of all chance.
    pub seed: u64,
    /// When it begins; [`START`] if `None`.
    pub start: Option<Time>,
    /// How containers behave.
    pub profiles: Profiles,
}

struct Node {
    plan: NodePlan,
    number: u32,
    containers: Arc<SimContainers>,
    agent: Domain,
    boots: u32,
    kubelet: Option<Arc<Kubelet>>,
}

/// A running simulated cluster.
pub struct Cluster {
    sim: Sim,
    platform: Platform,
    callout: Arc<SimCallout>,
    user: Arc<User>,
    profiles: Arc<Profiles>,
    nodes: BTreeMap<String, Node>,
}

fn config(sim: &Sim, callout: Arc<SimCallout>) -> PlatformConfig {
    let world = sim.fork("keys");
    let issuer = "https://kubernetes.default.svc";
    let services = AdmissionConfig::default().services;
    PlatformConfig {
        tokens: Arc::new(TokenKey::generate(&*world.entropy, issuer)),
        certificates: Arc::new(SimSigner),
        root_ca: "simulated".into(),
        cluster_domain: "cluster.local".into(),
        volume_directory: "/var/lib/simulated".into(),
        admission: AdmissionConfig::default(),
        bootstrap: bootstrap::Config {
            services,
            api_server: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 6443),
            client_ca: "simulated".into(),
            front_proxy_ca: String::new(),
        },
        store: StoreOptions {
            segment_bytes: SEGMENT_BYTES,
            checkpoint_bytes: CHECKPOINT_BYTES,
            ..StoreOptions::default()
        },
        callout,
    }
}

impl Cluster {
    /// Assembles a control plane without nodes.
    pub fn start(plan: ClusterPlan) -> Result<Self, Error> {
        let sim = Sim::new(plan.seed, plan.start.unwrap_or(START));
        let speed = DiskSpeed {
            sync_latency: SYNC,
            ..DiskSpeed::default()
        };
        let disk = SimDisk::new(sim.fork("disk"), speed, DiskImage::default());
        let world = sim.fork("control-plane");
        let callout = SimCallout::new(sim.fork("callout"));
        let assembled = sim.block_on(platform::assemble(
            &world,
            disk,
            config(&sim, callout.clone()),
        ));
        let platform = assembled.map_err(|why| Error::Platform(why.to_string()))?;
        Ok(Self {
            sim,
            platform,
            callout,
            user: Arc::new(User::new("kubernetes-admin", &[MASTERS, AUTHENTICATED])),
            profiles: Arc::new(plan.profiles),
            nodes: BTreeMap::new(),
        })
    }

    /// Adds a node and powers it on.
    pub fn add_node(&mut self, plan: NodePlan) -> Result<(), Error> {
        if self.nodes.contains_key(&plan.name) {
            return Err(Error::Scenario(format!(
                "node {:?} is there already",
                plan.name
            )));
        }
        let number = self.nodes.len() as u32;
        if number as usize >= NODES_MAX {
            return Err(Error::Scenario(format!("more than {NODES_MAX} nodes")));
        }
        let network = Ipv4Addr::from(u32::from(POD_NETWORK) + number * NODE_ADDRESSES);
        let world = self.sim.fork(&format!("containers of {}", plan.name));
        let name = plan.name.clone();
        let node = Node {
            containers: SimContainers::new(world, self.profiles.clone(), network),
            agent: self.sim.domain(&format!("kubelet of {name}")),
            plan,
            number,
            boots: 0,
            kubelet: None,
        };
        self.nodes.insert(name.clone(), node);
        self.start_agent(&name)
    }

    fn start_agent(&mut self, name: &str) -> Result<(), Error> {
        let node = &self.nodes[name];
        let address = Ipv4Addr::from(u32::from(NODE_NETWORK) + node.number);
        let plan = node.plan.clone();
        let config = KubeletConfig {
            hostname: plan.name.clone(),
            internal_ips: vec![address.into()],
            provider_id: format!("simulated:///{}/{}", plan.zone, plan.name),
            node_name: plan.name,
            instance_type: plan.instance_type,
            region: plan.region,
            zone: plan.zone,
            labels: plan.labels,
            taints: plan.taints,
            capacity: plan.capacity,
            node_info: BTreeMap::from([("osImage".to_owned(), "Simulated".to_owned())]),
            ..KubeletConfig::default()
        };
        let hands = NodeHands {
            containers: node.containers.clone(),
            net: None,
            fixed_services: Default::default(),
        };
        let world = node.agent.world();
        let started = self.platform.start_node_in(world, config, hands);
        let started = self.sim.block_on(started);
        let kubelet = started.map_err(|why| Error::Platform(why.to_string()))?;
        self.node(name)?.kubelet = Some(kubelet);
        Ok(())
    }

    fn node(&mut self, name: &str) -> Result<&mut Node, Error> {
        let missing = || Error::Scenario(format!("there is no node {name:?}"));
        self.nodes.get_mut(name).ok_or_else(missing)
    }

    /// Cuts a node's power: its agent and all its containers are gone at once.
    pub fn kill_node(&mut self, name: &str) -> Result<(), Error> {
        let node = self.node(name)?;
        node.agent.kill();
        node.kubelet = None;
        node.containers.power_off();
        Ok(())
    }

    /// Powers a dead node on again: a new agent finds what is left of the old containers.
    pub fn start_node(&mut self, name: &str) -> Result<(), Error> {
        let node = self.node(name)?;
        if node.containers.is_on() {
            return Err(Error::Scenario(format!("node {name:?} is running already")));
        }
        node.boots += 1;
        let label = format!("kubelet of {name}, boot {}", node.boots);
        node.containers.power_on();
        let agent = self.sim.domain(&label);
        self.node(name)?.agent = agent;
        self.start_agent(name)
    }

    /// Stops a node's agent from doing anything, heartbeats included; its containers go on.
    pub fn freeze_agent(&mut self, name: &str) -> Result<(), Error> {
        self.node(name)?.agent.freeze();
        Ok(())
    }

    /// Lets a frozen agent go on.
    pub fn thaw_agent(&mut self, name: &str) -> Result<(), Error> {
        self.node(name)?.agent.thaw();
        Ok(())
    }

    /// Names of all nodes, dead ones too.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// How many containers run on all nodes together.
    pub fn running_containers(&self) -> usize {
        self.nodes
            .values()
            .map(|node| node.containers.running())
            .sum()
    }

    /// The simulation, for its time and chance.
    pub fn sim(&self) -> &Sim {
        &self.sim
    }

    /// The programs outside that webhooks name.
    pub fn callout(&self) -> &Arc<SimCallout> {
        &self.callout
    }

    /// The platform under rehearsal.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// The latest state.
    pub fn snapshot(&self) -> Snapshot {
        self.platform.door.snapshot()
    }

    /// One object.
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.snapshot()
            .get(resource, &Key::new(namespace, name))
            .cloned()
    }

    /// A request to the door as a client in `system:masters` makes it; virtual time passes
    /// until it is answered.
    pub fn call(&self, call: Call) -> Result<Reply, Status> {
        self.sim.block_on(self.platform.door.call(call))
    }

    /// A request about a storage resource (`deployments.apps`), to be completed and called.
    pub fn request(
        &self,
        verb: Verb,
        resource: &str,
        (namespace, name): (&str, &str),
    ) -> Result<Call, Status> {
        let door = &self.platform.door;
        let mut call = door.component_call(&self.user, verb, resource, namespace, name)?;
        call.options.field_manager = MANAGER.into();
        call.options.field_validation = FieldValidation::Strict;
        Ok(call)
    }

    /// The storage resource and the place of a manifest's object.
    fn place(&self, object: &Value) -> Result<(String, String), Status> {
        let gvk = object.gvk();
        let catalogue = self.platform.door.catalogue();
        let kind = catalogue.kind(&gvk).ok_or_else(|| {
            Status::bad_request(format!(
                "no matches for kind {:?} in version {:?}",
                gvk.kind.as_str(),
                object["apiVersion"].str()
            ))
        })?;
        let namespace = match (kind.namespaced, object.namespace()) {
            (false, _) => "",
            (true, "") => "default",
            (true, own) => own,
        };
        Ok((kind.storage.to_string(), namespace.to_owned()))
    }

    /// Applies one object server-side; the answered object, and whether it is new.
    pub fn apply(&self, object: &Value) -> Result<(Arc<Object>, bool), Status> {
        let (resource, namespace) = self.place(object)?;
        let mut object = object.clone();
        if !namespace.is_empty() {
            object
                .metadata_mut()
                .insert("namespace", namespace.as_str());
        }
        let name = object.name().to_owned();
        let call = self.request(Verb::Patch, &resource, (&namespace, &name))?;
        let mut call = call.with_patch(PatchKind::Apply, object);
        call.options.force = true;
        let reply = self.call(call)?;
        match reply.answer {
            Answer::Object(_, object) => Ok((object, reply.created)),
            _ => Err(Status::internal("apply was not answered with an object")),
        }
    }

    /// Changes an object by a JSON merge patch.
    pub fn patch(
        &self,
        resource: &str,
        place: (&str, &str),
        patch: Value,
    ) -> Result<Arc<Object>, Status> {
        let call = self.request(Verb::Patch, resource, place)?;
        self.object(call.with_patch(PatchKind::Merge, patch))
    }

    /// Sets `spec.replicas` through the scale subresource.
    pub fn scale(&self, resource: &str, place: (&str, &str), replicas: i64) -> Result<(), Status> {
        let call = self.request(Verb::Patch, resource, place)?.on("scale");
        let patch = json!({"spec": {"replicas": replicas}});
        self.call(call.with_patch(PatchKind::Merge, patch))
            .map(drop)
    }

    /// Sets the image of one container of a workload's template.
    pub fn set_image(
        &self,
        resource: &str,
        place: (&str, &str),
        (container, image): (&str, &str),
    ) -> Result<(), Status> {
        let call = self.request(Verb::Patch, resource, place)?;
        let containers = json!([{"name": container, "image": image}]);
        let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        self.call(call.with_patch(PatchKind::Strategic, patch))
            .map(drop)
    }

    /// Deletes an object.
    pub fn delete(&self, resource: &str, place: (&str, &str)) -> Result<(), Status> {
        let call = self.request(Verb::Delete, resource, place)?;
        self.call(call).map(drop)
    }

    fn object(&self, call: Call) -> Result<Arc<Object>, Status> {
        match self.call(call)?.answer {
            Answer::Object(_, object) => Ok(object),
            _ => Err(Status::internal("the answer is not an object")),
        }
    }

    /// Virtual time passes.
    pub fn run_for(&self, duration: Duration) {
        self.sim.run_for(duration);
    }

    /// Virtual time passes until `done`, looked at after every `step`; false if `limit`
    /// passes first.
    pub fn run_until(
        &self,
        (step, limit): (Duration, Duration),
        mut done: impl FnMut(&Snapshot) -> bool,
    ) -> bool {
        let end = self.sim.now() + limit;
        loop {
            if done(&self.snapshot()) {
                return true;
            }
            if self.sim.now() >= end {
                return false;
            }
            self.sim.run_for(step);
        }
    }
}
