//! Nodes: a kubelet over whatever containers it is given, and its kernel's service rules.

use crate::{Platform, client::NodeClient};
use env::{Containers, KernelNet, ServiceTable, World};
use kubelet::{Kubelet, KubeletConfig};
use std::sync::Arc;

/// The hands of one node.
pub struct NodeHands {
    /// Its container runtime.
    pub containers: Arc<dyn Containers>,
    /// Its kernel's networking; `None` where nothing is there to program (simulated nodes).
    pub net: Option<Arc<dyn KernelNet>>,
    /// Service entries that hold whatever Services say.
    pub fixed_services: ServiceTable,
}

impl Platform {
    /// Adds a node to the cluster and starts its agent in the control plane's world.
    pub async fn start_node(
        &self,
        config: KubeletConfig,
        hands: NodeHands,
    ) -> Result<Arc<Kubelet>, env::RuntimeError> {
        let world = self.door.world().clone();
        self.start_node_in(world, config, hands).await
    }

    /// Adds a node whose agent lives in a world of its own, so that it can fail alone.
    pub async fn start_node_in(
        &self,
        world: World,
        config: KubeletConfig,
        hands: NodeHands,
    ) -> Result<Arc<Kubelet>, env::RuntimeError> {
        if let Some(net) = hands.net {
            self.services
                .add_node(&config.node_name, &config.zone, net, hands.fixed_services)
                .await?;
        }
        let client = NodeClient::new(&self.door, &config.node_name, &self.pods, &self.recorder);
        Ok(Kubelet::start(
            world,
            config,
            Arc::new(client),
            hands.containers,
        ))
    }
}
