//! Pods by node: one reader of the log that tells each kubelet about its own pods only.
//!
//! Without it every node would look at every pod's change.

use env::BoxFuture;
use futures::{FutureExt, StreamExt, channel::mpsc, lock};
use kubelet::{PodChange, PodWatch};
use machinery::Status;
use registry::{Change, Door, Snapshot};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

const PODS: &str = kinds::PODS;

/// Sends each node the changes of its pods.
pub(crate) struct PodRouter {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Pods as of the last change routed.
    pods: Snapshot,
    nodes: BTreeMap<String, Vec<mpsc::UnboundedSender<PodChange>>>,
}

impl PodRouter {
    /// Starts routing.
    pub fn start(door: &Door) -> Result<Arc<Self>, Status> {
        let pods = door.snapshot();
        let mut subscription = door.subscribe_to(PODS, pods.revision)?;
        let router = Arc::new(Self {
            state: Mutex::new(State {
                pods,
                nodes: BTreeMap::new(),
            }),
        });
        let (routing, door_again) = (router.clone(), door.clone());
        door.world().spawn("pod-router", async move {
            loop {
                match subscription.next().await {
                    Ok(changes) => routing.route(&changes),
                    // Watches end here and are opened anew from the present state.
                    Err(_) => match routing.start_over(&door_again) {
                        Ok(renewed) => subscription = renewed,
                        Err(_) => return,
                    },
                }
            }
        });
        Ok(router)
    }

    fn start_over(&self, door: &Door) -> Result<registry::Subscription, Status> {
        let mut state = self.state.lock().expect("routing does not panic");
        state.pods = door.snapshot();
        state.nodes.clear();
        door.subscribe_to(PODS, state.pods.revision)
    }

    fn route(&self, changes: &[Arc<Change>]) {
        let mut state = self.state.lock().expect("routing does not panic");
        for change in changes {
            state.pods.apply(change);
            let place = |object: &Option<Arc<machinery::Object>>| {
                object
                    .as_ref()
                    .map(|pod| pod.at("spec.nodeName").str().to_owned())
                    .unwrap_or_default()
            };
            let (before, after) = (place(&change.old), place(&change.new));
            if let Some(pod) = change.new.as_ref().filter(|_| !after.is_empty()) {
                state.tell(&after, PodChange::Is(pod.clone()));
            }
            if let Some(pod) = change
                .old
                .as_ref()
                .filter(|_| !before.is_empty() && before != after)
            {
                state.tell(&before, PodChange::Gone(pod.clone()));
            }
        }
    }

    /// The pods of `node`, then their changes.
    pub fn watch(&self, node: &str) -> Arc<dyn PodWatch> {
        let (sender, receiver) = mpsc::unbounded();
        let mut state = self.state.lock().expect("routing does not panic");
        let own = state
            .pods
            .list(PODS, None)
            .filter(|pod| pod.at("spec.nodeName").str() == node);
        // The receiver is in hand, so nothing sent here is lost.
        own.for_each(|pod| drop(sender.unbounded_send(PodChange::Is(pod.clone()))));
        let _ = sender.unbounded_send(PodChange::Synced);
        state.nodes.entry(node.to_owned()).or_default().push(sender);
        Arc::new(Watch(lock::Mutex::new(receiver)))
    }
}

impl State {
    fn tell(&mut self, node: &str, change: PodChange) {
        if let Some(senders) = self.nodes.get_mut(node) {
            senders.retain(|sender| sender.unbounded_send(change.clone()).is_ok());
        }
    }
}

struct Watch(lock::Mutex<mpsc::UnboundedReceiver<PodChange>>);

impl PodWatch for Watch {
    fn next(&self) -> BoxFuture<'_, Option<Vec<PodChange>>> {
        async move {
            let mut receiver = self.0.lock().await;
            let mut batch = vec![receiver.next().await?];
            while let Ok(more) = receiver.try_recv() {
                batch.push(more);
            }
            Some(batch)
        }
        .boxed()
    }
}
