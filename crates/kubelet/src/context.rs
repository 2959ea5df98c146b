//! What every activity of one kubelet shares: world, configuration, API, runtime, events.

use crate::{ApiClient, KubeletConfig};
use env::{Containers, World};
use machinery::Object;
use reconcile::{Action, Event};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// The shared part, cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub world: World,
    pub config: Arc<KubeletConfig>,
    pub api: Arc<dyn ApiClient>,
    pub containers: Arc<dyn Containers>,
    /// Service account tokens by (pod UID, audience).
    pub tokens: Arc<Mutex<BTreeMap<(String, String), crate::volumes::Token>>>,
}

impl Context {
    /// Records an event about a pod, or one of its containers (`field`).
    pub async fn event(&self, pod: &Object, field: &str, warning: bool, what: (&str, String)) {
        let mut about = reconcile::reference(pod);
        if !field.is_empty() {
            about["fieldPath"] = field.into();
        }
        let event = Event {
            about,
            warning,
            reason: what.0.into(),
            message: what.1,
        };
        // Events are best effort: a lost one changes nothing.
        let _ = self.api.perform(Action::Event(event)).await;
    }

    /// `name_namespace(uid)`, as messages show a pod.
    pub fn full_name(pod: &Object) -> String {
        format!("{}_{}({})", pod.name(), pod.namespace(), pod.uid())
    }
}
