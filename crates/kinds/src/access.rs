//! Roles and their bindings.
//!
//! Upstream counterpart: `pkg/apis/rbac/validation`.

use crate::{
    Part, Strategy,
    check::{self, Errors, at, present},
    print::{age, created, name},
};
use machinery::{FieldError, Object, Value, path_segment};

pub(crate) const PARTS: &[Part] = &[
    Part {
        strategy: RBAC_ROLE,
        heads: CREATED,
        row: Some(created_row),
        ..Part::plain(crate::ROLES)
    },
    Part {
        strategy: Strategy {
            validate: cluster_role,
            ..RBAC_ROLE
        },
        heads: CREATED,
        row: Some(created_row),
        ..Part::plain(crate::CLUSTER_ROLES)
    },
    Part {
        strategy: RBAC_BINDING,
        heads: BINDING,
        row: Some(binding_row),
        ..Part::plain(crate::ROLE_BINDINGS)
    },
    Part {
        strategy: RBAC_BINDING,
        heads: BINDING,
        row: Some(binding_row),
        ..Part::plain(crate::CLUSTER_ROLE_BINDINGS)
    },
];

const CREATED: &[&str] = &["Name", "Created At:date"];
const BINDING: &[&str] = &[
    "Name",
    "Role",
    "Age",
    "+Users",
    "+Groups",
    "+ServiceAccounts",
];

const RBAC_ROLE: Strategy = Strategy {
    name_check: path_segment,
    allow_create_on_update: true,
    validate: |o| {
        let mut errors = Errors::new();
        rules(&mut errors, o, true);
        errors
    },
    ..Strategy::PLAIN
};

const RBAC_BINDING: Strategy = Strategy {
    name_check: path_segment,
    allow_create_on_update: true,
    validate: binding,
    validate_update: |new, old| {
        let mut errors = Errors::new();
        if new["roleRef"] != old["roleRef"] {
            errors.push(FieldError::invalid(
                "roleRef",
                &new["roleRef"],
                "cannot change roleRef",
            ));
        }
        errors
    },
    ..Strategy::PLAIN
};

fn created_row(o: &Object, _: u64) -> Vec<Value> {
    vec![name(o), created(o)]
}

fn cluster_role(o: &Value) -> Errors {
    let mut errors = Errors::new();
    rules(&mut errors, o, false);
    let selectors = o.at(&["aggregationRule", "clusterRoleSelectors"]);
    for (at, selector) in selectors.items().iter().enumerate() {
        let (path, before) = (
            at!("aggregationRule.clusterRoleSelectors[{at}]"),
            errors.len(),
        );
        check::label_selector(&mut errors, path, selector);
        if errors.len() > before {
            errors.push(FieldError::invalid(
                path,
                Value::Null,
                "invalid label selector.",
            ));
        }
    }
    if !o["aggregationRule"].is_null() && selectors.items().is_empty() {
        let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.push(FieldError::required(
            "aggregationRule.clusterRoleSelectors",
            why,
        ));
    }
    errors
}

fn rules(errors: &mut Errors, o: &Value, namespaced: bool) {
    for (at, rule) in o["rules"].items().iter().enumerate() {
        let path = at!("rules[{at}]");
        let empty = |field: &str| rule[field].items().is_empty();
        if empty("verbs") {
            errors.push(FieldError::required(
                at!("{path}.verbs"),
                "verbs must contain at least one value",
            ));
        }
        if !empty("nonResourceURLs") {
            let field = at!("{path}.nonResourceURLs");
            if namespaced {
                let why = "namespaced rules cannot apply to non-resource URLs";
                errors.push(FieldError::invalid(field, &rule["nonResourceURLs"], why));
            }
            if !empty("apiGroups") || !empty("resources") || !empty("resourceNames") {
                let why = "rules cannot apply to both regular resources and non-resource URLs";
                errors.push(FieldError::invalid(field, &rule["nonResourceURLs"], why));
            }
            continue;
        }
        if empty("apiGroups") {
            let why = "resource rules must supply at least one api group";
            errors.push(FieldError::required(at!("{path}.apiGroups"), why));
        }
        if empty("resources") {
            let why = "resource rules must supply at least one resource";
            errors.push(FieldError::required(at!("{path}.resources"), why));
        }
    }
}

fn binding(o: &Value) -> Errors {
    let mut errors = Errors::new();
    let (role, cluster) = (&o["roleRef"], o["kind"].str() == "ClusterRoleBinding");
    let kinds: &[&str] = if cluster {
        &["ClusterRole"]
    } else {
        &["Role", "ClusterRole"]
    };
    if role["apiGroup"].str() != "rbac.authorization.k8s.io" {
        let supported = &["rbac.authorization.k8s.io"];
        errors.push(FieldError::not_supported(
            "roleRef.apiGroup",
            &role["apiGroup"],
            supported,
        ));
    }
    if !kinds.contains(&role["kind"].str()) {
        errors.push(FieldError::not_supported(
            "roleRef.kind",
            role["kind"].str(),
            kinds,
        ));
    }
    check::named(
        &mut errors,
        at!("roleRef.name"),
        role["name"].str(),
        path_segment,
    );
    for (at, subject) in o["subjects"].items().iter().enumerate() {
        let path = at!("subjects[{at}]");
        present(&mut errors, at!("{path}.name"), &subject["name"]);
        if subject["kind"].str() == "ServiceAccount" && !subject["name"].str().is_empty() {
            let (field, name) = (at!("{path}.name"), subject["name"].str());
            check::syntax(&mut errors, field, name, machinery::dns1123_subdomain);
        }
        match subject["kind"].str() {
            // In a namespace it is that namespace's where none is named.
            "ServiceAccount" if cluster => {
                present(&mut errors, at!("{path}.namespace"), &subject["namespace"]);
            }
            "ServiceAccount" => {}
            "User" | "Group" => {
                let known = &["rbac.authorization.k8s.io"];
                let field = at!("{path}.apiGroup");
                check::one_of_if_set(&mut errors, field, &subject["apiGroup"], known);
            }
            kind => {
                let known = &["ServiceAccount", "User", "Group"];
                errors.push(FieldError::not_supported(at!("{path}.kind"), kind, known));
            }
        }
    }
    errors
}

fn binding_row(o: &Object, now: u64) -> Vec<Value> {
    let of_kind = |kind: &'static str| {
        o.at("subjects")
            .items()
            .filter(move |one| one.get("kind").str() == kind)
    };
    let names = |kind| {
        of_kind(kind)
            .map(|one| one.get("name").str().to_owned())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let accounts = of_kind("ServiceAccount");
    let accounts: Vec<_> = accounts
        .map(|one| format!("{}/{}", one.get("namespace").str(), one.get("name").str()))
        .collect();
    let role = format!(
        "{}/{}",
        o.at("roleRef.kind").str(),
        o.at("roleRef.name").str()
    );
    vec![
        name(o),
        role.into(),
        age(o, now),
        names("User").into(),
        names("Group").into(),
        accounts.join(", ").into(),
    ]
}
