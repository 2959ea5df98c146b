//! Keeps the catalogue in step with custom resource definitions.
//!
//! Upstream counterpart: apiextensions' `customresource_handler` and discovery controller.

use kinds::{Catalogue, Kind};
use machinery::{Object, SmolStr};
use registry::{Door, Snapshot};
use std::{collections::BTreeMap, sync::Arc};

/// What definitions were last compiled to, so that one that changes costs only itself.
#[derive(Default)]
pub(crate) struct Compiled(BTreeMap<SmolStr, (State, Vec<Kind>)>);

/// What of a definition decides its kinds: which one it is, its spec, and whether its names
/// are its own.
type State = (SmolStr, i64, bool);

impl Compiled {
    /// The catalogue that a state's definitions make of the built-in one; `None` if it is as it
    /// was the last time.
    fn follow(&mut self, builtin: &Catalogue, snapshot: &Snapshot) -> Option<Catalogue> {
        let mut old = std::mem::take(&mut self.0);
        let mut changed = false;
        for definition in snapshot.list(kinds::CUSTOM_RESOURCE_DEFINITIONS, None) {
            let state = state(definition);
            let known = old.remove(definition.name());
            let made = known.filter(|known| known.0 == state).unwrap_or_else(|| {
                changed = true;
                let kinds = if state.2 {
                    compile(definition)
                } else {
                    Vec::new()
                };
                (state, kinds)
            });
            self.0.insert(definition.name().into(), made);
        }
        changed |= !old.is_empty();
        changed.then(|| self.catalogue(builtin))
    }

    fn catalogue(&self, builtin: &Catalogue) -> Catalogue {
        let kinds = self.0.values().flat_map(|(_, kinds)| kinds);
        builtin.with_custom(kinds.cloned().collect())
    }

    /// The catalogue to start with.
    pub fn start(&mut self, builtin: &Catalogue, snapshot: &Snapshot) -> Catalogue {
        self.follow(builtin, snapshot)
            .unwrap_or_else(|| self.catalogue(builtin))
    }
}

fn state(definition: &Object) -> State {
    let condition = |wanted: &str| {
        let conditions = definition.at("status").get("conditions");
        let mut found = conditions
            .items()
            .filter(|one| one.get("type").str() == wanted);
        found.next().map_or("", |one| one.get("status").str())
    };
    // Names that belong to another definition are not served, unless they once were its own.
    let served = condition("NamesAccepted") != "False" || condition("Established") == "True";
    (definition.uid().into(), definition.generation(), served)
}

fn compile(definition: &Arc<Object>) -> Vec<Kind> {
    // A definition that does not compile was refused at the door; one written by another
    // version of this program that no longer does is not served.
    kinds::kinds_of_definition(definition).unwrap_or_default()
}

/// Follows definitions until the store stops.
pub(crate) fn follow(
    door: &Door,
    builtin: Catalogue,
    mut compiled: Compiled,
) -> Result<(), machinery::Status> {
    let mut subscription =
        door.subscribe_to(kinds::CUSTOM_RESOURCE_DEFINITIONS, door.snapshot().revision)?;
    let followed = door.clone();
    door.world().spawn("catalogue", async move {
        loop {
            if let Some(catalogue) = compiled.follow(&builtin, &followed.snapshot()) {
                followed.set_catalogue(catalogue);
            }
            if subscription.next().await.is_err() {
                let revision = followed.snapshot().revision;
                match followed.subscribe_to(kinds::CUSTOM_RESOURCE_DEFINITIONS, revision) {
                    Ok(renewed) => subscription = renewed,
                    Err(_) => return,
                }
            }
        }
    });
    Ok(())
}
