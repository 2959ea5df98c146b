//! A node as the scheduler needs it, with what runs there added up.
//!
//! Upstream counterpart: `framework.NodeInfo`.

use crate::{
    matching::{Labels, Taint, label, labels},
    pod::PodInfo,
    resources::Resources,
};
use machinery::{Object, SmolStr};
use std::sync::Arc;

/// A node and its pods. A node that is only known from its pods is not `present`.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    pub slot: usize,
    pub name: SmolStr,
    pub present: bool,
    pub labels: Labels,
    pub taints: Vec<Taint>,
    pub unschedulable: bool,
    pub allocatable: Resources,
    pub requested: Resources,
    /// CPU and memory as scores see them.
    pub scored: (i64, i64),
    pub pods: Vec<Arc<PodInfo>>,
    /// Image names and sizes present on the node, sorted.
    pub images: Vec<(SmolStr, i64)>,
}

impl NodeInfo {
    /// Takes over what the Node object says.
    pub fn read(&mut self, object: &Object) {
        let (spec, status) = (object.at("spec"), object.at("status"));
        let allocatable = status.get("allocatable");
        self.present = true;
        self.labels = labels(object.metadata().get("labels"));
        self.taints = spec.get("taints").items().map(Taint::read).collect();
        self.unschedulable = spec.get("unschedulable").is_true();
        self.allocatable = Resources::read(if allocatable.is_null() {
            status.get("capacity")
        } else {
            allocatable
        });
        self.images.clear();
        for image in status.get("images").items() {
            let size = image.get("sizeBytes").i64();
            let names = image
                .get("names")
                .items()
                .map(|name| (name.str().into(), size));
            self.images.extend(names);
        }
        self.images.sort();
    }

    /// The node object is gone; its pods are not.
    pub fn vanish(&mut self) {
        let (pods, requested) = (std::mem::take(&mut self.pods), self.requested.clone());
        *self = Self {
            slot: self.slot,
            name: self.name.clone(),
            scored: self.scored,
            pods,
            requested,
            ..Self::default()
        };
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        label(&self.labels, key)
    }

    /// Counts a pod in.
    pub fn add(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.scored.0 += pod.scored_requests.cpu;
        self.scored.1 += pod.scored_requests.memory;
        self.pods.push(pod);
    }

    /// Counts a pod out.
    pub fn remove(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let at = self.pods.iter().position(|pod| pod.uid == uid)?;
        let pod = self.pods.swap_remove(at);
        self.requested.subtract(&pod.requests);
        self.scored.0 -= pod.scored_requests.cpu;
        self.scored.1 -= pod.scored_requests.memory;
        Some(pod)
    }

    /// The size of an image on the node.
    pub fn image_size(&self, image: &str) -> Option<i64> {
        let found = self
            .images
            .binary_search_by(|(name, _)| name.as_str().cmp(image))
            .ok()?;
        Some(self.images[found].1)
    }
}
