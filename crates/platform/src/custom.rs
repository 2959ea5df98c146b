//! Keeps the catalogue in step with custom resource definitions.
//!
//! Upstream counterpart: apiextensions' `customresource_handler` and discovery controller.

use kinds::Catalogue;
use registry::{Door, Snapshot};

/// The catalogue that a state's definitions make of the built-in one.
pub(crate) fn catalogue(builtin: &Catalogue, snapshot: &Snapshot) -> Catalogue {
    // A definition that does not compile was refused at the door; one written by another
    // version of this program that no longer does is not served.
    let kinds = snapshot
        .list(kinds::CUSTOM_RESOURCE_DEFINITIONS, None)
        .filter_map(|definition| kinds::kinds_of_crd(definition.root()).ok())
        .flatten()
        .collect();
    builtin.with_custom(kinds)
}

/// Follows definitions until the store stops.
pub(crate) fn follow(door: &Door, builtin: Catalogue) -> Result<(), machinery::Status> {
    let mut subscription =
        door.subscribe_to(kinds::CUSTOM_RESOURCE_DEFINITIONS, door.snapshot().revision)?;
    let followed = door.clone();
    door.world().spawn("catalogue", async move {
        loop {
            if subscription.next().await.is_err() {
                let revision = followed.snapshot().revision;
                match followed.subscribe_to(kinds::CUSTOM_RESOURCE_DEFINITIONS, revision) {
                    Ok(renewed) => subscription = renewed,
                    Err(_) => return,
                }
            }
            followed.set_catalogue(catalogue(&builtin, &followed.snapshot()));
        }
    });
    Ok(())
}
