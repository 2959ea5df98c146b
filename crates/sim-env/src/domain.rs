//! Part of a simulation that can die or freeze on its own: a process, a machine.
//!
//! Tasks spawned through a domain's world belong to it. Knows nothing of what they do.
//! Upstream counterpart: none.

use crate::task::Task;
use env::World;
use std::sync::{Arc, Mutex};

/// What has become of a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Health {
    #[default]
    Running,
    Frozen,
    Dead,
}

/// What a domain's tasks share: whether they go on, and those that wait for it to thaw.
#[derive(Default)]
pub(crate) struct Fate(Mutex<(Health, Vec<Arc<Task>>)>);

impl Fate {
    /// Whether `task` may go on now; a frozen domain keeps it for later.
    pub(crate) fn admits(&self, task: &Arc<Task>) -> bool {
        let mut state = self.0.lock().expect("domains are sound");
        match state.0 {
            Health::Running => true,
            Health::Frozen => {
                state.1.push(task.clone());
                false
            }
            Health::Dead => false,
        }
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.0.lock().expect("domains are sound").0 == Health::Dead
    }

    fn change(&self, health: Health) -> Vec<Arc<Task>> {
        let mut state = self.0.lock().expect("domains are sound");
        if state.0 != Health::Dead {
            state.0 = health;
        }
        match state.0 {
            Health::Frozen => Vec::new(),
            _ => std::mem::take(&mut state.1),
        }
    }
}

/// A handle on a part of a simulation; dropping it changes nothing.
pub struct Domain {
    pub(crate) world: World,
    pub(crate) fate: Arc<Fate>,
    /// Takes all tasks of this domain out of the executor.
    pub(crate) reap: Box<dyn Fn() + Send + Sync>,
}

impl Domain {
    /// The world whose tasks belong to this domain.
    pub fn world(&self) -> World {
        self.world.clone()
    }

    /// Ends all its tasks at once, wherever they are, and every one spawned later.
    pub fn kill(&self) {
        drop(self.fate.change(Health::Dead));
        (self.reap)();
    }

    /// Stops its tasks until [`Domain::thaw`]; time goes on without them.
    pub fn freeze(&self) {
        self.fate.change(Health::Frozen);
    }

    /// Lets a frozen domain go on.
    pub fn thaw(&self) {
        for task in self.fate.change(Health::Running) {
            task.put_back();
        }
    }
}
