//! Nobody grants more than they hold: roles and bindings are checked against the writer's rights.
//!
//! Part of storage upstream, a plug-in here; it looks at the object as it will be stored, after
//! everything that changes it. Upstream counterpart: `pkg/registry/rbac/*/policybased`.

use crate::common::forbid;
use auth::{Attributes, MASTERS, Rule, missing_rights};
use kinds::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES};
use machinery::{GroupResource, SmolStr, Status, Value};
use registry::{Admission, Handles, Key, Operation, Review};

const GROUP: &str = "rbac.authorization.k8s.io";
/// Metadata that the garbage collector changes on its own.
const COLLECTED: [&str; 4] = [
    "ownerReferences",
    "finalizers",
    "resourceVersion",
    "managedFields",
];

/// The plug-in.
pub struct RoleEscalation;

impl Admission for RoleEscalation {
    fn name(&self) -> &'static str {
        "RoleEscalation"
    }

    fn handles(&self) -> Handles {
        Handles {
            told: false,
            ..Handles::NOTHING
                .validates(&[Operation::Create, Operation::Update])
                .of(&[ROLES, CLUSTER_ROLES, ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS])
        }
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let writes = matches!(review.operation, Operation::Create | Operation::Update);
        let storage = review.kind.storage.as_str();
        let role = matches!(storage, ROLES | CLUSTER_ROLES);
        let binding = matches!(storage, ROLE_BINDINGS | CLUSTER_ROLE_BINDINGS);
        if !writes || !(role || binding) || review.user.in_group(MASTERS) {
            return Ok(());
        }
        if collected_only(review) {
            return Ok(());
        }
        if role {
            check_role(review)
        } else {
            check_binding(review)
        }
    }
}

/// Whether an update changes nothing but what the garbage collector needs to.
fn collected_only(review: &Review<'_>) -> bool {
    let rest = |object: &Value| {
        let mut object = object.clone();
        for field in COLLECTED {
            object.metadata_mut().remove(field);
        }
        object
    };
    review
        .old
        .is_some_and(|old| rest(&old.to_value()) == rest(&review.object))
}

fn check_role(review: &Review<'_>) -> Result<(), Status> {
    // A creation's name is part of the object, not of the request.
    let name = match review.operation {
        Operation::Create => SmolStr::default(),
        _ => review.name.clone(),
    };
    if may(review, "escalate", &review.kind.plural, name) {
        return Ok(());
    }
    confirm(review, &Rule::of_role(&review.object["rules"]))?;
    let selectors = |role: &Value| {
        let list = role.at(&["aggregationRule", "clusterRoleSelectors"]);
        !list.items().is_empty()
    };
    let aggregates =
        selectors(&review.object) || review.old.is_some_and(|old| selectors(&old.to_value()));
    if aggregates && confirm(review, &Rule::everything()).is_err() {
        let why = "must have cluster-admin privileges to use the aggregationRule";
        return Err(forbid(review, why));
    }
    Ok(())
}

fn check_binding(review: &Review<'_>) -> Result<(), Status> {
    let reference = &review.object["roleRef"];
    let name = reference["name"].str();
    let (resource, storage, namespace) = match reference["kind"].str() {
        "ClusterRole" => ("clusterroles", CLUSTER_ROLES, ""),
        "Role" => ("roles", ROLES, review.namespace),
        other => {
            return Err(Status::internal(format!(
                "unsupported role reference kind: {other:?}"
            )));
        }
    };
    if may(review, "bind", resource, name.into()) {
        return Ok(());
    }
    let snapshot = review.door.snapshot();
    let role = snapshot
        .get(storage, &Key::new(namespace, name))
        .ok_or_else(|| Status::not_found(&GroupResource::new(GROUP, resource), name))?;
    confirm(review, &Rule::of_role(&role.at("rules").to_value()))
}

fn may(review: &Review<'_>, verb: &str, resource: &str, name: SmolStr) -> bool {
    let asked = Attributes {
        verb: verb.into(),
        group: GROUP.into(),
        version: "*".into(),
        resource: resource.into(),
        namespace: review.namespace.into(),
        name,
        ..Attributes::default()
    };
    review.door.allows(review.user, &asked)
}

/// Refuses if the rules grant what the writer does not hold.
fn confirm(review: &Review<'_>, rules: &[Rule]) -> Result<(), Status> {
    let user = review.user;
    let held = review.door.rbac().rules_for(user, review.namespace);
    let missing = missing_rights(&held, rules);
    if missing.is_empty() {
        return Ok(());
    }
    let groups: Vec<String> = user
        .groups
        .iter()
        .map(|group| format!("{group:?}"))
        .collect();
    let why = format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        groups.join(" "),
        missing.join("\n")
    );
    Err(forbid(review, &why))
}
