//! Manifests applied through the door, as a client's server-side apply would.

use auth::User;
use machinery::{GroupVersionResource, Status, Value};
use registry::{Call, Door, PatchKind, Verb};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a custom kind may take to be served after its definition.
const KIND_MAX: Duration = Duration::from_secs(10);
/// How often it is looked for.
const KIND_LOOK: Duration = Duration::from_millis(5);

/// Who applies.
pub fn administrator() -> Arc<User> {
    Arc::new(User::new("kubernetes-admin", &[auth::MASTERS]))
}

/// Applies one object, in `namespace` where it names none.
pub async fn apply(door: &Door, object: Value, namespace: &str) -> Result<(), Status> {
    let (resource, namespaced) = resource(door, &object).await?;
    let own = if object.namespace().is_empty() {
        namespace
    } else {
        object.namespace()
    };
    let place = if namespaced {
        own.to_owned()
    } else {
        String::new()
    };
    let name = object.name().to_owned();
    let mut call = Call::new(administrator(), Verb::Patch, resource, &place, &name)
        .with_patch(PatchKind::Apply, object);
    call.options.field_manager = "xebec".into();
    call.options.field_validation = registry::FieldValidation::Strict;
    call.options.force = true;
    door.call(call).await.map(drop)
}

/// The resource of an object's kind, awaited for a while if a definition was just applied.
async fn resource(door: &Door, object: &Value) -> Result<(GroupVersionResource, bool), Status> {
    let gvk = object.gvk();
    let since = Instant::now();
    loop {
        if let Some(kind) = door.catalogue().kind(&gvk) {
            let resource = GroupVersionResource {
                group: gvk.group.clone(),
                version: gvk.version.clone(),
                resource: kind.plural.clone(),
            };
            return Ok((resource, kind.namespaced));
        }
        if since.elapsed() > KIND_MAX {
            return Err(Status::bad_request(format!(
                "no kind {:?} is served in {}",
                gvk.kind.as_str(),
                gvk.group_version()
            )));
        }
        tokio::time::sleep(KIND_LOOK).await;
    }
}
