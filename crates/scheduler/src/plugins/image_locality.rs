//! ImageLocality: prefers nodes that already have the pod's images, weighed by how common
//! these are so that pods do not heap onto few nodes.

use crate::{
    cache::Cache,
    framework::{Cycle, Events, MAX_SCORE, NodeScore, Plugin},
    node::NodeInfo,
    pod::PodInfo,
};

/// Images smaller than this do not matter, bytes.
const SMALLEST: i64 = 23 << 20;
/// Per container, more than this does not matter, bytes.
const LARGEST: i64 = 1000 << 20;

/// The plugin.
pub struct ImageLocality;

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }
    fn events(&self) -> Events {
        Events::NONE
    }
    fn pre_score<'a>(
        &self,
        cycle: &Cycle<'a>,
        _: &[&'a NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        let known = cycle
            .pod
            .images
            .iter()
            .any(|image| cycle.cache.image_nodes(image) > 0);
        known.then(|| {
            Box::new(Images {
                cache: cycle.cache,
                pod: cycle.pod,
            }) as _
        })
    }
}

struct Images<'a> {
    cache: &'a Cache,
    pod: &'a PodInfo,
}

impl NodeScore for Images<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let nodes = self.cache.order().len().max(1) as f64;
        let weighed = |image| {
            let size = node.image_size(image)?;
            Some((size as f64 * f64::from(self.cache.image_nodes(image)) / nodes) as i64)
        };
        let sum: i64 = self
            .pod
            .images
            .iter()
            .filter_map(|image| weighed(image))
            .sum();
        let largest = LARGEST * self.pod.images.len() as i64;
        MAX_SCORE * (sum.clamp(SMALLEST, largest) - SMALLEST) / (largest - SMALLEST)
    }
}
