//! The scheduling framework: extension points, and what plugins say at them.
//!
//! A plugin prepares once per cycle; what it prepares judges nodes. Upstream counterpart:
//! `k8s.io/kube-scheduler/framework`.

use crate::{
    cache::Cache,
    node::NodeInfo,
    pod::{PodInfo, Spread},
};
use machinery::SmolStr;
use reconcile::{Action, View};
use std::sync::Arc;

/// The best score.
pub const MAX_SCORE: i64 = 100;

/// Why a plugin refuses a node or a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Plugin.
    pub plugin: &'static str,
    /// Whether taking away other pods could help.
    pub resolvable: bool,
    /// Sentences, as counted in the message.
    pub reasons: Vec<SmolStr>,
}

impl Rejection {
    /// Removing pods could help.
    pub fn resolvable(plugin: &'static str, reason: &'static str) -> Self {
        Self {
            plugin,
            resolvable: true,
            reasons: vec![SmolStr::new_static(reason)],
        }
    }

    /// Removing pods cannot help.
    pub fn unresolvable(plugin: &'static str, reason: impl Into<SmolStr>) -> Self {
        Self {
            plugin,
            resolvable: false,
            reasons: vec![reason.into()],
        }
    }
}

/// What a filter says about a node.
pub type Verdict = Result<(), Rejection>;

/// Kinds of changes that can make a refused pod schedulable: a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events(pub u16);

impl Events {
    /// Nothing.
    pub const NONE: Events = Events(0);
    /// A node appeared.
    pub const NODE_ADDED: Events = Events(1);
    /// Allocatable resources changed.
    pub const NODE_RESOURCES: Events = Events(2);
    /// Labels of a node changed.
    pub const NODE_LABELS: Events = Events(4);
    /// Taints or `unschedulable` of a node changed.
    pub const NODE_TAINTS: Events = Events(8);
    /// A pod on a node appeared or changed its labels.
    pub const POD_ADDED: Events = Events(16);
    /// A pod on a node ended.
    pub const POD_REMOVED: Events = Events(32);
    /// Claims, volumes or classes changed.
    pub const STORAGE: Events = Events(64);
    /// Everything.
    pub const ALL: Events = Events(u16::MAX);

    /// Both together.
    pub const fn or(self, other: Events) -> Events {
        Events(self.0 | other.0)
    }

    /// Whether they share a kind.
    pub const fn meets(self, other: Events) -> bool {
        self.0 & other.0 != 0
    }
}

/// One attempt to schedule one pod.
#[derive(Clone, Copy)]
pub struct Cycle<'a> {
    pub cache: &'a Cache,
    pub view: &'a View,
    pub pod: &'a PodInfo,
    /// Soft constraints of the system for pods that have none.
    pub default_spread: &'a [Spread],
}

/// A prepared Filter.
pub trait NodeFilter {
    /// Whether the pod can run on the node.
    fn filter(&self, node: &NodeInfo) -> Verdict;
}

impl<F: Fn(&NodeInfo) -> Verdict> NodeFilter for F {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        self(node)
    }
}

/// A prepared Score with its NormalizeScore.
pub trait NodeScore {
    /// Raw score.
    fn score(&self, node: &NodeInfo) -> i64;
    /// Brings raw scores of the feasible nodes into 0..=[`MAX_SCORE`].
    fn normalize(&self, _nodes: &[&NodeInfo], _scores: &mut [i64]) {}
}

/// What Permit says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// Go on.
    Allow,
    /// Hold the node and ask again after the next change.
    Wait,
}

/// What PreFilter may make.
pub type Prepared<'a> = Result<Option<Box<dyn NodeFilter + 'a>>, Rejection>;

/// A plugin: any of the extension points, each with a default that does nothing. QueueSort
/// is the queue's order and Bind the driver's action, as no profile of ours replaces them.
pub trait Plugin: Send + Sync {
    /// Upstream's name.
    fn name(&self) -> &'static str;
    /// Weight of its score.
    fn weight(&self) -> i64 {
        1
    }
    /// Changes that can help a pod it refused.
    fn events(&self) -> Events {
        Events::ALL
    }
    /// PreEnqueue: why the pod must not be tried at all.
    fn pre_enqueue(&self, _pod: &PodInfo) -> Option<String> {
        None
    }
    /// PreFilter: refuses the pod outright, skips the plugin (`None`), or prepares the Filter.
    fn pre_filter<'a>(&self, _cycle: &Cycle<'a>) -> Prepared<'a> {
        Ok(None)
    }
    /// PreScore: skips the plugin (`None`) or prepares the Score.
    fn pre_score<'a>(
        &self,
        _cycle: &Cycle<'a>,
        _feasible: &[&'a NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        None
    }
    /// Permit, after the pod has been assumed (reserved) on the node.
    fn permit(&self, _cycle: &Cycle<'_>, _node: &NodeInfo) -> Permit {
        Permit::Allow
    }
    /// PreBind: `None` when ready to bind; otherwise what must be done before, once, after
    /// which it is asked again with every change.
    fn pre_bind(&self, _cycle: &Cycle<'_>, _node: &NodeInfo) -> Option<Vec<Action>> {
        None
    }
}

/// Upstream's default normalization: the highest becomes 100, or 0 when `reverse`.
pub fn default_normalize(scores: &mut [i64], reverse: bool) {
    let highest = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let scaled = if highest == 0 {
            0
        } else {
            *score * MAX_SCORE / highest
        };
        *score = if reverse { MAX_SCORE - scaled } else { scaled };
    }
}

/// The default profile.
pub fn default_plugins() -> Arc<[Box<dyn Plugin>]> {
    crate::plugins::all().into()
}
