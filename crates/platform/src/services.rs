//! Services as the network and the name server need them: one reader of the log keeps every
//! node's service table and the DNS zone true.
//!
//! Upstream counterpart: kube-proxy's change trackers and CoreDNS's kubernetes plug-in.

use dns::{SharedZone, Zone};
use env::{KernelNet, ServiceChange, ServiceTable};
use futures::{FutureExt, select_biased};
use kube_proxy::{EndpointSliceView, NodeView, ServiceView, compile_service, diff};
use machinery::{Object, Status};
use registry::{Change, Door, Key, Snapshot};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};

const SLICES: &str = kinds::ENDPOINT_SLICES;
const SERVICES: &str = kinds::SERVICES;
const NAMESPACES: &str = kinds::NAMESPACES;
const FOLLOWED: [&str; 3] = [SLICES, SERVICES, NAMESPACES];

/// A kernel that refused its table is given it again after this time.
const RETRY: Duration = Duration::from_secs(1);

/// Completes when it is time to try again; never while all is settled.
async fn retry(door: &Door, settled: bool) {
    match settled {
        true => futures::future::pending().await,
        false => door.world().sleep(RETRY).await,
    }
}

/// One node's part.
struct NodeNet {
    view: NodeView,
    net: Arc<dyn KernelNet>,
    /// Entries that hold whatever Services say (the API server, the name server).
    fixed: ServiceTable,
    /// The entries of each Service.
    entries: BTreeMap<Key, ServiceTable>,
}

#[derive(Default)]
struct State {
    services: BTreeMap<Key, ServiceView>,
    slices: BTreeMap<Key, BTreeMap<Key, EndpointSliceView>>,
    nodes: BTreeMap<String, NodeNet>,
}

/// Keeps service tables and names in step with the cluster.
pub struct ServiceNet {
    state: Mutex<State>,
    zone: SharedZone,
}

impl ServiceNet {
    /// Starts following Services.
    pub fn start(door: &Door, domain: &str) -> Result<Arc<Self>, Status> {
        let snapshot = door.snapshot();
        let mut subscription = door.subscribe_to_each(&FOLLOWED, snapshot.revision)?;
        let net = Arc::new(Self {
            state: Mutex::default(),
            zone: Arc::new(RwLock::new(Zone::new(domain))),
        });
        net.present(&snapshot);
        let (following, door_again) = (net.clone(), door.clone());
        door.world().spawn("service-net", async move {
            let mut settled = true;
            loop {
                let news = select_biased! {
                    news = subscription.next().fuse() => Some(news),
                    () = retry(&door_again, settled).fuse() => None,
                };
                match news {
                    Some(Ok(changes)) => settled &= following.take_in(&changes).await,
                    None => settled = following.reload().await,
                    Some(Err(_)) => {
                        let snapshot = door_again.snapshot();
                        following.present(&snapshot);
                        settled = following.reload().await;
                        match door_again.subscribe_to_each(&FOLLOWED, snapshot.revision) {
                            Ok(renewed) => subscription = renewed,
                            Err(_) => return,
                        }
                    }
                }
            }
        });
        Ok(net)
    }

    /// The zone that name servers answer from.
    pub fn zone(&self) -> SharedZone {
        self.zone.clone()
    }

    /// Adds a node's kernel and loads its complete table.
    pub async fn add_node(
        &self,
        name: &str,
        zone: &str,
        net: Arc<dyn KernelNet>,
        fixed: ServiceTable,
    ) -> Result<(), env::RuntimeError> {
        let table = {
            let mut state = self
                .state
                .lock()
                .expect("following services does not panic");
            let view = NodeView {
                name: name.into(),
                zone: zone.into(),
            };
            let mut node = NodeNet {
                view,
                net: net.clone(),
                fixed,
                entries: BTreeMap::new(),
            };
            let keys: Vec<Key> = state.services.keys().cloned().collect();
            for key in keys {
                let entries = state.compile(&key, &node.view);
                node.entries.insert(key, entries);
            }
            let table = node.table();
            state.nodes.insert(name.to_owned(), node);
            table
        };
        net.replace_services(&table).await
    }

    fn present(&self, snapshot: &Snapshot) {
        {
            let mut state = self
                .state
                .lock()
                .expect("following services does not panic");
            state.services.clear();
            state.slices.clear();
        }
        for resource in [NAMESPACES, SERVICES, SLICES] {
            for object in snapshot.list(resource, None) {
                let key = Key::new(object.namespace(), object.name());
                self.learn(resource, &key, Some(object));
            }
        }
    }

    /// Loads every node's complete table; whether all kernels took theirs.
    async fn reload(&self) -> bool {
        let tables: Vec<_> = {
            let mut state = self
                .state
                .lock()
                .expect("following services does not panic");
            let keys: Vec<Key> = state.services.keys().cloned().collect();
            state.recompute(keys.iter());
            state
                .nodes
                .values()
                .map(|node| (node.net.clone(), node.table()))
                .collect()
        };
        let mut settled = true;
        for (net, table) in tables {
            settled &= net.replace_services(&table).await.is_ok();
        }
        settled
    }

    /// Brings the kernels up to date; whether all took what they were given.
    async fn take_in(&self, changes: &[Arc<Change>]) -> bool {
        let mut touched = BTreeSet::new();
        for change in changes {
            touched.extend(self.learn(&change.resource, &change.key, change.new.as_ref()));
        }
        if touched.is_empty() {
            return true;
        }
        let wanted = {
            let mut state = self
                .state
                .lock()
                .expect("following services does not panic");
            state.recompute(touched.iter())
        };
        let mut settled = true;
        for (net, change) in wanted {
            settled &= net.change_services(&change).await.is_ok() || self.reload().await;
        }
        settled
    }

    /// Takes in one object; the Service whose entries may differ now, if any.
    fn learn(&self, resource: &str, key: &Key, object: Option<&Arc<Object>>) -> Option<Key> {
        let mut zone = self.zone.write().expect("the zone's readers do not panic");
        let mut state = self
            .state
            .lock()
            .expect("following services does not panic");
        match resource {
            NAMESPACES => {
                match object {
                    Some(_) => zone.set_namespace(&key.name),
                    None => zone.remove_namespace(&key.name),
                }
                None
            }
            SERVICES => {
                state.services.remove(key);
                match object {
                    Some(object) => {
                        if let Ok(view) = object.root().read() {
                            zone.set_service(view);
                        }
                        if let Ok(view) = object.root().read() {
                            state.services.insert(key.clone(), view);
                        }
                    }
                    None => zone.remove_service(&key.namespace, &key.name),
                }
                Some(key.clone())
            }
            _ => {
                match object {
                    Some(object) => {
                        if let Ok(view) = object.root().read() {
                            zone.set_slice(view);
                        }
                    }
                    None => zone.remove_slice(&key.namespace, &key.name),
                }
                state.learn_slice(key, object)
            }
        }
    }
}

impl State {
    fn learn_slice(&mut self, key: &Key, object: Option<&Arc<Object>>) -> Option<Key> {
        let owner = self
            .slices
            .iter()
            .find(|(_, slices)| slices.contains_key(key))
            .map(|(owner, _)| owner.clone());
        if let Some(slices) = owner.as_ref().and_then(|owner| self.slices.get_mut(owner)) {
            slices.remove(key);
        }
        let Some(object) = object else { return owner };
        let service = Key::new(
            &key.namespace,
            object.label(kube_proxy::SERVICE_NAME_LABEL)?,
        );
        if let Ok(view) = object.root().read() {
            self.slices
                .entry(service.clone())
                .or_default()
                .insert(key.clone(), view);
        }
        Some(service)
    }

    fn compile(&self, key: &Key, node: &NodeView) -> ServiceTable {
        let Some(service) = self.services.get(key) else {
            return ServiceTable::new();
        };
        let slices: Vec<&EndpointSliceView> = self
            .slices
            .get(key)
            .into_iter()
            .flat_map(|slices| slices.values())
            .collect();
        compile_service(service, &slices, node)
    }

    /// Recomputes the entries of some Services; what each node's kernel must change.
    fn recompute<'a>(
        &mut self,
        keys: impl Iterator<Item = &'a Key> + Clone,
    ) -> Vec<(Arc<dyn KernelNet>, ServiceChange)> {
        let mut nodes = std::mem::take(&mut self.nodes);
        let mut wanted = Vec::new();
        for node in nodes.values_mut() {
            let mut change = ServiceChange::default();
            for key in keys.clone() {
                let new = self.compile(key, &node.view);
                let old = node
                    .entries
                    .insert(key.clone(), new.clone())
                    .unwrap_or_default();
                let part = diff(&old, &new);
                change.set.extend(part.set);
                change.remove.extend(part.remove);
            }
            change
                .set
                .retain(|frontend, _| !node.fixed.contains_key(frontend));
            change
                .remove
                .retain(|frontend| !node.fixed.contains_key(frontend));
            if !change.set.is_empty() || !change.remove.is_empty() {
                wanted.push((node.net.clone(), change));
            }
        }
        self.nodes = nodes;
        wanted
    }
}

impl NodeNet {
    fn table(&self) -> ServiceTable {
        let mut table: ServiceTable = self
            .entries
            .values()
            .flatten()
            .map(|(frontend, entry)| (*frontend, entry.clone()))
            .collect();
        table.extend(
            self.fixed
                .iter()
                .map(|(frontend, entry)| (*frontend, entry.clone())),
        );
        table
    }
}
