//! Checks the expressions of admission policies against the kinds they are about, and reports
//! what does not fit in their status.
//!
//! Not a brain: brains see objects, this needs the catalogue's types. Upstream counterpart:
//! `pkg/controller/validatingadmissionpolicystatus`.

use auth::User;
use kinds::VALIDATING_ADMISSION_POLICIES as POLICIES;
use machinery::{Object, Status, json};
use registry::{Door, PatchKind, Verb};
use std::{sync::Arc, time::Duration};

/// The service account's name.
const NAME: &str = "validatingadmissionpolicy-status-controller";
/// The field manager.
const MANAGER: &str = "validatingadmissionpolicy-status";
/// How long after a failed write it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Follows policies until the store stops.
pub(crate) fn follow(door: &Door) -> Result<(), Status> {
    let mut subscription = door.subscribe_to(POLICIES, door.snapshot().revision)?;
    let door = door.clone();
    let user = Arc::new(User::controller(NAME));
    door.world().clone().spawn("policies", async move {
        loop {
            let all = check_all(&door, &user).await;
            if door.stopped().is_some() {
                return;
            }
            if all.is_err() {
                door.world().sleep(RETRY).await;
                continue;
            }
            if subscription.next().await.is_err() {
                match door.subscribe_to(POLICIES, door.snapshot().revision) {
                    Ok(renewed) => subscription = renewed,
                    Err(_) => return,
                }
            }
        }
    });
    Ok(())
}

/// Checks all policies that have changed since they were checked; the first failure, if any
/// could not be reported upon.
async fn check_all(door: &Door, user: &Arc<User>) -> Result<(), Status> {
    let snapshot = door.snapshot();
    let changed = |policy: &&Arc<Object>| {
        let seen = policy.at("status").get("observedGeneration").as_i64();
        policy.generation() > seen.unwrap_or_default()
    };
    let mut outcome = Ok(());
    for policy in snapshot.list(POLICIES, None).filter(changed) {
        match report(door, user, policy).await {
            // It is gone: there is nothing to report upon.
            Err(status) if status.is_not_found() => {}
            done => outcome = outcome.and(done),
        }
    }
    outcome
}

async fn report(door: &Door, user: &Arc<User>, policy: &Object) -> Result<(), Status> {
    let mut checking = json!({});
    let warnings = kinds::type_check(&policy.root().to_value(), &door.catalogue());
    if !warnings.is_empty() {
        checking["expressionWarnings"] = warnings.into();
    }
    let body = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": policy.name()},
        "status": {"observedGeneration": policy.generation(), "typeChecking": checking},
    });
    let call = door.component_call(user, Verb::Patch, POLICIES, "", policy.name())?;
    let mut call = call.on("status").with_patch(PatchKind::Apply, body);
    call.options.field_manager = MANAGER.into();
    call.options.force = true;
    door.call(call).await.map(drop)
}
