//! The cluster's own machinery: leases, certificates, definitions, webhooks, runtime classes.
//!
//! Upstream counterparts: `pkg/apis/{coordination,certificates,admissionregistration,node}`,
//! apiextensions, kube-aggregator.

use crate::{
    Part, Strategy, certificates,
    check::{self, Errors, at, immutable},
    crd, pod, policies,
    print::{age, created, is_true, joined, name, or_none, text},
    ranges, webhooks,
};
use machinery::{FieldError, Object, Value, path_segment};

pub(crate) const PARTS: &[Part] = &[
    Part {
        strategy: Strategy {
            allow_create_on_update: true,
            allow_unconditional_update: false,
            validate: |o| {
                let mut errors = Errors::new();
                let spec = &o["spec"];
                if spec["leaseDurationSeconds"]
                    .as_i64()
                    .is_some_and(|seconds| seconds <= 0)
                {
                    let field = "spec.leaseDurationSeconds";
                    errors.push(FieldError::invalid(
                        field,
                        &spec["leaseDurationSeconds"],
                        "must be greater than 0",
                    ));
                }
                check::not_negative(
                    &mut errors,
                    at!("spec.leaseTransitions"),
                    &spec["leaseTransitions"],
                );
                errors
            },
            ..Strategy::PLAIN
        },
        heads: &["Name", "Holder", "Age"],
        row: Some(|o, now| {
            vec![
                name(o),
                o.at("spec.holderIdentity").str().into(),
                age(o, now),
            ]
        }),
        ..Part::plain(crate::LEASES)
    },
    Part {
        strategy: Strategy {
            name_check: path_segment,
            has_status: true,
            unowned_spec: true,
            validate: certificates::validate,
            is_checked: true,
            prepare_update: |new, old| new["spec"] = old["spec"].clone(),
            prepare_status_update: certificates::keep_decisions,
            validate_status_update: certificates::validate_status,
            ..Strategy::PLAIN
        },
        heads: &[
            "Name",
            "Age",
            "SignerName",
            "Requestor",
            "RequestedDuration",
            "Condition",
        ],
        row: Some(csr_row),
        selectable: &["spec.signerName"],
        ..Part::plain(crate::CERTIFICATE_SIGNING_REQUESTS)
    },
    Part {
        strategy: Strategy {
            prepare_create: crd::first_status,
            prepare_update: |new, _| crd::note_stored(new),
            validate: crd::validate,
            is_checked: true,
            validate_create: schema::validate_definition_name,
            validate_update: crd::validate_update,
            allow_unconditional_update: false,
            prepare_delete: crd::hold,
            ..Strategy::MANAGED
        },
        heads: &["Name", "Created At:date"],
        row: Some(|o, _| vec![name(o), created(o)]),
        ..Part::plain(crate::CUSTOM_RESOURCE_DEFINITIONS)
    },
    Part {
        strategy: Strategy {
            name_check: path_segment,
            has_status: true,
            validate: certificates::api_service,
            is_checked: true,
            allow_unconditional_update: false,
            prepare_status_update: crate::kind::keep_metadata,
            ..Strategy::PLAIN
        },
        heads: &["Name", "Service", "Available", "Age"],
        row: Some(|o, now| {
            let service = o.at("spec.service");
            let shown = match service.is_null() {
                true => "Local".to_owned(),
                false => format!(
                    "{}/{}",
                    service.get("namespace").str(),
                    service.get("name").str()
                ),
            };
            let available = if is_true(o.at("status"), "Available") {
                "True"
            } else {
                "False"
            };
            vec![name(o), shown.into(), available.into(), age(o, now)]
        }),
        ..Part::plain(crate::API_SERVICES)
    },
    Part {
        strategy: HOOKS,
        heads: HOOK_HEADS,
        row: Some(hook_row),
        ..Part::plain(crate::VALIDATING_WEBHOOK_CONFIGURATIONS)
    },
    Part {
        strategy: HOOKS,
        heads: HOOK_HEADS,
        row: Some(hook_row),
        ..Part::plain(crate::MUTATING_WEBHOOK_CONFIGURATIONS)
    },
    Part {
        strategy: Strategy {
            validate: policies::validate_validating,
            allow_unconditional_update: false,
            prepare_status_update: crate::kind::keep_metadata,
            ..Strategy::MANAGED
        },
        heads: POLICY_HEADS,
        row: Some(policy_row),
        ..Part::plain(crate::VALIDATING_ADMISSION_POLICIES)
    },
    Part {
        strategy: Strategy {
            validate: policies::validate_mutating,
            ..COUNTED
        },
        heads: &["Name", "Mutations:integer", "ParamKind", "Age"],
        row: Some(mutation_row),
        ..Part::plain(crate::MUTATING_ADMISSION_POLICIES)
    },
    Part {
        strategy: Strategy {
            validate: policies::validate_validating_binding,
            ..COUNTED
        },
        heads: BINDING_HEADS,
        row: Some(binding_row),
        ..Part::plain(crate::VALIDATING_ADMISSION_POLICY_BINDINGS)
    },
    Part {
        strategy: Strategy {
            validate: policies::validate_mutating_binding,
            ..COUNTED
        },
        heads: BINDING_HEADS,
        row: Some(binding_row),
        ..Part::plain(crate::MUTATING_ADMISSION_POLICY_BINDINGS)
    },
    Part {
        strategy: Strategy {
            validate: |o| {
                let mut errors = Errors::new();
                check::named(
                    &mut errors,
                    at!("handler"),
                    o["handler"].str(),
                    machinery::dns1123_label,
                );
                runtime_pods(&mut errors, o);
                errors
            },
            validate_update: |new, old| {
                let mut errors = Errors::new();
                immutable(
                    &mut errors,
                    at!("handler"),
                    &new["handler"],
                    &old["handler"],
                );
                errors
            },
            allow_unconditional_update: false,
            ..Strategy::PLAIN
        },
        heads: &["Name", "Handler", "Age"],
        row: Some(|o, now| vec![name(o), text(o, "handler"), age(o, now)]),
        ..Part::plain(crate::RUNTIME_CLASSES)
    },
    Part {
        strategy: Strategy {
            has_status: true,
            validate: ranges::blocks,
            is_checked: true,
            validate_update: ranges::blocks_update,
            prepare_status_update: crate::kind::keep_metadata,
            ..Strategy::PLAIN
        },
        heads: &["Name", "CIDRs", "Age"],
        row: Some(|o, now| {
            vec![
                name(o),
                joined(o.at("spec.cidrs").items().map(|one| one.str())).into(),
                age(o, now),
            ]
        }),
        ..Part::plain(crate::SERVICE_CIDRS)
    },
    Part {
        strategy: Strategy {
            name_check: ranges::address_name,
            validate: ranges::address,
            is_checked: true,
            validate_update: ranges::address_update,
            ..Strategy::PLAIN
        },
        heads: &["Name", "ParentRef"],
        row: Some(|o, _| {
            let parent = o.at("spec.parentRef");
            let words = ["resource", "group", "namespace", "name"].map(|key| parent.get(key).str());
            let [resource, group, namespace, parent] = words;
            let dot = if group.is_empty() { "" } else { "." };
            let slash = if namespace.is_empty() { "" } else { "/" };
            let shown = format!("{resource}{dot}{group}{slash}{namespace}/{parent}");
            vec![name(o), shown.into()]
        }),
        ..Part::plain(crate::IP_ADDRESSES)
    },
];

const COUNTED: Strategy = Strategy {
    generation: crate::Generation::Desired,
    allow_unconditional_update: false,
    ..Strategy::PLAIN
};
const HOOKS: Strategy = Strategy {
    validate: webhooks::validate,
    ..COUNTED
};
const HOOK_HEADS: &[&str] = &["Name", "Webhooks:integer", "Age"];
const POLICY_HEADS: &[&str] = &["Name", "Validations:integer", "ParamKind", "Age"];
const BINDING_HEADS: &[&str] = &["Name", "PolicyName", "ParamRef", "Age"];

fn hook_row(o: &Object, now: u64) -> Vec<Value> {
    vec![
        name(o),
        o.at("webhooks").items().count().into(),
        age(o, now),
    ]
}

fn parameter_kind(o: &Object) -> Value {
    let kind = o.at("spec.paramKind");
    if kind.is_null() {
        return "<unset>".into();
    }
    format!(
        "{}/{}",
        kind.get("apiVersion").str(),
        kind.get("kind").str()
    )
    .into()
}

fn policy_row(o: &Object, now: u64) -> Vec<Value> {
    vec![
        name(o),
        o.at("spec.validations").items().count().into(),
        parameter_kind(o),
        age(o, now),
    ]
}

fn mutation_row(o: &Object, now: u64) -> Vec<Value> {
    vec![
        name(o),
        o.at("spec.mutations").items().count().into(),
        parameter_kind(o),
        age(o, now),
    ]
}

fn binding_row(o: &Object, now: u64) -> Vec<Value> {
    let parameter = o.at("spec.paramRef");
    let shown = match parameter.get("namespace").str() {
        _ if parameter.is_null() => "<unset>".to_owned(),
        "" => parameter.get("name").str().to_owned(),
        namespace => format!("{namespace}/{}", parameter.get("name").str()),
    };
    vec![
        name(o),
        o.at("spec.policyName").str().into(),
        shown.into(),
        age(o, now),
    ]
}

fn csr_row(o: &Object, now: u64) -> Vec<Value> {
    let duration = o.at("spec.expirationSeconds").as_i64();
    let duration = duration.map_or_else(String::new, |seconds| {
        machinery::human_duration(seconds * 1_000_000)
    });
    let has = |condition: &str| is_true(o.at("status"), condition);
    let mut state = match () {
        () if has("Denied") => "Denied",
        () if has("Approved") => "Approved",
        () => "Pending",
    }
    .to_owned();
    if has("Failed") {
        state += ",Failed";
    }
    if !o.at("status.certificate").str().is_empty() {
        state += ",Issued";
    }
    vec![
        name(o),
        age(o, now),
        o.at("spec.signerName").str().into(),
        o.at("spec.username").str().into(),
        or_none(duration),
        state.into(),
    ]
}

/// What a runtime adds to pods: the resources it takes, where its pods may go.
fn runtime_pods(errors: &mut Errors, o: &Value) {
    for (resource, amount) in o.at(&["overhead", "podFixed"]).entries() {
        let (path, before) = (at!("overhead.limits[{resource}]"), errors.len());
        check::syntax(errors, path, resource, machinery::qualified_name);
        let standard = matches!(resource.as_str(), "cpu" | "memory" | "ephemeral-storage")
            || resource.starts_with("hugepages-");
        if !standard && !resource.contains('/') {
            let why = "must be a standard resource for containers";
            errors.push(FieldError::invalid(path, resource, why));
        }
        if errors.len() == before || standard {
            check::quantity(errors, path, amount);
        }
    }
    let scheduling = &o["scheduling"];
    let (field, selector) = ("scheduling.nodeSelector", &scheduling["nodeSelector"]);
    check::labels(errors, at!("{field}"), selector);
    let (field, list) = ("scheduling.tolerations", scheduling["tolerations"].items());
    pod::tolerations(errors, at!("{field}"), list);
    for (at, one) in list.iter().enumerate() {
        if list[..at].contains(one) {
            errors.push(FieldError::duplicate(at!("{field}[{at}]"), one));
        }
    }
}
