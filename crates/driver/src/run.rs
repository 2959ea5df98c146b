//! The loop: changes in, decisions out, outcomes back.

use crate::{carry_out::Actor, events::Recorder};
use auth::User;
use env::Time;
use futures::{FutureExt, StreamExt, channel::mpsc, select_biased};
use machinery::Status;
use reconcile::{Action, BY_OWNER, Brain, Change, View, Work};
use registry::{Door, Snapshot, Subscription};
use std::sync::Arc;

/// A finished unit of work: which brain, which unit, how it went.
type Outcome = (usize, u64, Result<u64, Box<(Action, Status)>>);

struct Slot {
    brain: Box<dyn Brain>,
    hands: Actor,
    everything: bool,
    resources: Vec<machinery::SmolStr>,
    /// Whether something happened since its last decision.
    dirty: bool,
    again_at: Option<Time>,
}

impl Slot {
    fn wants(&self, resource: &str) -> bool {
        self.everything || self.resources.iter().any(|own| own == resource)
    }
}

struct Driver {
    door: Door,
    view: View,
    subscription: Subscription,
    slots: Vec<Slot>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    sender: mpsc::UnboundedSender<Outcome>,
}

/// Starts driving `brains` on one shared view; returns at once. Ends when the store stops.
pub fn drive(door: &Door, brains: Vec<Box<dyn Brain>>) -> Result<(), Status> {
    let snapshot = door.snapshot();
    let subscription = door.subscribe(snapshot.revision)?;
    let door = door.clone();
    // A large cluster takes a while to look at; requests need not wait for it.
    door.world().clone().spawn("driver", async move {
        let mut driver = Driver::new(door, snapshot, subscription, brains);
        driver.present();
        driver.run().await;
    });
    Ok(())
}

fn slot(door: &Door, brain: Box<dyn Brain>, recorder: &Arc<Recorder>) -> Slot {
    let name = brain.name();
    let user = User::controller(name);
    let hands = Actor::new(door, Arc::new(user), name, recorder);
    let resources = brain.resources();
    let everything = resources.iter().any(|resource| resource == "*");
    Slot {
        brain,
        hands,
        everything,
        resources,
        dirty: true,
        again_at: None,
    }
}

impl Driver {
    fn new(
        door: Door,
        snapshot: Snapshot,
        subscription: Subscription,
        brains: Vec<Box<dyn Brain>>,
    ) -> Self {
        let mut indexes = vec![BY_OWNER];
        indexes.extend(brains.iter().flat_map(|brain| brain.indexes()));
        let recorder = Arc::new(Recorder::default());
        let slots = brains
            .into_iter()
            .map(|brain| slot(&door, brain, &recorder))
            .collect();
        let (sender, outcomes) = mpsc::unbounded();
        Self {
            view: View::new(snapshot, &indexes),
            door,
            subscription,
            slots,
            outcomes,
            sender,
        }
    }

    /// Shows every brain the initial state, as creations.
    fn present(&mut self) {
        let now = self.door.now();
        self.slots.iter_mut().for_each(|slot| slot.brain.clock(now));
        for (resource, table) in &self.view.snapshot().tables {
            for (key, object) in table {
                let change = Change {
                    revision: object.revision(),
                    resource: resource.clone(),
                    key: key.clone(),
                    old: None,
                    new: Some(object.clone()),
                };
                let wanting = self.slots.iter_mut().filter(|slot| slot.wants(resource));
                wanting.for_each(|slot| slot.brain.observe(&self.view, &change));
            }
        }
    }

    async fn run(mut self) {
        loop {
            self.decide();
            let due = self.slots.iter().filter_map(|slot| slot.again_at).min();
            let clock = self.door.world().clock.clone();
            let alarm = async move {
                match due {
                    Some(time) => clock.sleep_until(time).await,
                    None => futures::future::pending().await,
                }
            };
            select_biased! {
                changes = self.subscription.next().fuse() => match changes {
                    Ok(changes) => self.take_in(&changes),
                    Err(_) => self.start_over(),
                },
                outcome = self.outcomes.next() => {
                    self.settle(outcome);
                    while let Ok(more) = self.outcomes.try_recv() {
                        self.settle(Some(more));
                    }
                }
                () = alarm.fuse() => self.wake(),
            }
        }
    }

    fn take_in(&mut self, changes: &[Arc<Change>]) {
        let now = self.door.now();
        self.slots.iter_mut().for_each(|slot| slot.brain.clock(now));
        for change in changes {
            self.view.advance(change);
            for slot in self
                .slots
                .iter_mut()
                .filter(|slot| slot.wants(&change.resource))
            {
                slot.brain.observe(&self.view, change);
                slot.dirty = true;
            }
        }
        let waiting = self
            .slots
            .iter_mut()
            .filter(|slot| slot.brain.awaits_revision());
        waiting.for_each(|slot| slot.dirty = true);
    }

    /// The log went on without us for longer than it is kept: catch up by comparing states.
    fn start_over(&mut self) {
        let snapshot = self.door.snapshot();
        let changes = difference(self.view.snapshot(), &snapshot);
        if let Ok(subscription) = self.door.subscribe(snapshot.revision) {
            self.subscription = subscription;
        }
        self.take_in(&changes);
    }

    fn settle(&mut self, outcome: Option<Outcome>) {
        let Some((at, id, result)) = outcome else {
            return;
        };
        let now = self.door.now();
        let slot = &mut self.slots[at];
        let result = result.map_err(|failure| {
            let (action, status) = *failure;
            let reports = slot.brain.report(&self.view, id, (&action, &status), now);
            if !reports.is_empty() {
                let hands = slot.hands.clone();
                self.door.world().spawn(
                    slot.hands.name(),
                    async move { hands.try_each(reports).await },
                );
            }
            status
        });
        slot.brain.finished(id, result, now);
        slot.dirty = true;
    }

    fn wake(&mut self) {
        let now = self.door.now();
        for slot in &mut self.slots {
            if slot.again_at.is_some_and(|time| time <= now) {
                slot.dirty = true;
            }
        }
    }

    fn decide(&mut self) {
        for (at, slot) in self
            .slots
            .iter_mut()
            .enumerate()
            .filter(|(_, slot)| slot.dirty)
        {
            slot.dirty = false;
            let now = self.door.now();
            let decision = slot.brain.decide(&self.view, now);
            slot.brain.clock(self.door.now());
            slot.again_at = decision.again_at;
            for Work { id, actions } in decision.work {
                let (hands, sender) = (slot.hands.clone(), self.sender.clone());
                self.door.world().spawn(slot.hands.name(), async move {
                    let result = hands.carry_out(actions).await;
                    // The driver outlives its work except at shutdown, when nobody listens.
                    let _ = sender.unbounded_send((at, id, result));
                });
            }
        }
    }
}

/// The changes that lead from one state to another, in resource and key order.
fn difference(old: &registry::Snapshot, new: &registry::Snapshot) -> Vec<Arc<Change>> {
    let mut changes = Vec::new();
    let resources: std::collections::BTreeSet<_> =
        old.tables.keys().chain(new.tables.keys()).collect();
    for resource in resources {
        let (before, after) = (old.tables.get(resource), new.tables.get(resource));
        let keys: std::collections::BTreeSet<_> = before
            .into_iter()
            .chain(after)
            .flat_map(|table| table.keys())
            .collect();
        for key in keys {
            let (old, new) = (
                before.and_then(|t| t.get(key)),
                after.and_then(|t| t.get(key)),
            );
            if old.map(|object| object.revision()) != new.map(|object| object.revision()) {
                changes.push((resource, key, old.cloned(), new.cloned()));
            }
        }
    }
    let revision = new.revision;
    let change = |(resource, key, old, new): (&machinery::SmolStr, &registry::Key, _, _)| {
        Arc::new(Change {
            revision,
            resource: resource.clone(),
            key: key.clone(),
            old,
            new,
        })
    };
    changes.into_iter().map(change).collect()
}
