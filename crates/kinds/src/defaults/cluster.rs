//! Defaults of the cluster's own kinds: policies, storage, webhooks, definitions.
//!
//! Upstream counterparts: `pkg/apis/{networking,rbac,storage,admissionregistration,scheduling,
//! flowcontrol,discovery,resource}/v1/defaults.go`, apiextensions and kube-aggregator.

use super::{Rows, fill, member, set, text};
use machinery::{Map, Value, json};

const RBAC: &str = "rbac.authorization.k8s.io";

pub(super) const ROWS: Rows = &[
    ("networking.v1.NetworkPolicySpec", policy_types),
    ("networking.v1.NetworkPolicyPort", |port| {
        set(port, "protocol", "TCP")
    }),
    (
        "networking.v1.IngressClassParametersReference",
        |reference| set(reference, "scope", "Cluster"),
    ),
    ("rbac.v1.RoleRef", |reference| {
        fill(reference, "apiGroup", RBAC)
    }),
    ("rbac.v1.Subject", subject),
    ("storage.v1.StorageClass", |class| {
        set(class, "reclaimPolicy", "Delete");
        set(class, "volumeBindingMode", "Immediate");
    }),
    ("storage.v1.CSIDriverSpec", csi_driver),
    ("admissionregistration.v1.ValidatingWebhook", webhook),
    ("admissionregistration.v1.MutatingWebhook", |hook| {
        webhook(hook);
        set(hook, "reinvocationPolicy", "Never");
    }),
    ("admissionregistration.v1.RuleWithOperations", |rule| {
        set(rule, "scope", "*")
    }),
    ("admissionregistration.v1.NamedRuleWithOperations", |rule| {
        set(rule, "scope", "*")
    }),
    ("admissionregistration.v1.ServiceReference", https_port),
    (
        "admissionregistration.v1.ValidatingAdmissionPolicySpec",
        |spec| set(spec, "failurePolicy", "Fail"),
    ),
    (
        "admissionregistration.v1.MutatingAdmissionPolicySpec",
        |spec| set(spec, "failurePolicy", "Fail"),
    ),
    ("admissionregistration.v1.MatchResources", |resources| {
        set(resources, "matchPolicy", "Equivalent");
        set(resources, "namespaceSelector", Value::object());
        set(resources, "objectSelector", Value::object());
    }),
    (
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionSpec",
        definition,
    ),
    (
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.ServiceReference",
        https_port,
    ),
    (
        "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.ServiceReference",
        https_port,
    ),
    ("scheduling.v1.PriorityClass", |class| {
        set(class, "preemptionPolicy", "PreemptLowerPriority")
    }),
    ("flowcontrol.v1.FlowSchemaSpec", |spec| {
        fill(spec, "matchingPrecedence", 1_000_i64)
    }),
    (
        "flowcontrol.v1.LimitedPriorityLevelConfiguration",
        |limited| {
            set(limited, "nominalConcurrencyShares", 30_i64);
            set(limited, "lendablePercent", 0_i64);
        },
    ),
    (
        "flowcontrol.v1.ExemptPriorityLevelConfiguration",
        |exempt| {
            set(exempt, "nominalConcurrencyShares", 0_i64);
            set(exempt, "lendablePercent", 0_i64);
        },
    ),
    ("flowcontrol.v1.QueuingConfiguration", |queuing| {
        fill(queuing, "queues", 64_i64);
        fill(queuing, "handSize", 8_i64);
        fill(queuing, "queueLengthLimit", 50_i64);
    }),
    ("discovery.v1.EndpointPort", |port| {
        set(port, "name", "");
        set(port, "protocol", "TCP");
    }),
    ("resource.v1.ExactDeviceRequest", device_request),
    ("resource.v1.DeviceSubRequest", device_request),
];

fn device_request(request: &mut Map) {
    fill(request, "allocationMode", "ExactCount");
    if text(request, "allocationMode") == "ExactCount" {
        fill(request, "count", 1_i64);
    }
}

fn policy_types(spec: &mut Map) {
    if spec
        .get("policyTypes")
        .is_none_or(|types| types.items().is_empty())
    {
        let egress = spec
            .get("egress")
            .is_some_and(|rules| !rules.items().is_empty());
        let types: &[&str] = if egress {
            &["Ingress", "Egress"]
        } else {
            &["Ingress"]
        };
        spec.insert("policyTypes", types.to_vec());
    }
}

fn subject(subject: &mut Map) {
    if matches!(text(subject, "kind"), "User" | "Group") {
        fill(subject, "apiGroup", RBAC);
    }
}

fn csi_driver(spec: &mut Map) {
    set(spec, "attachRequired", true);
    set(spec, "podInfoOnMount", false);
    set(spec, "storageCapacity", false);
    set(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    if spec
        .get("volumeLifecycleModes")
        .is_none_or(|modes| modes.items().is_empty())
    {
        spec.insert("volumeLifecycleModes", json!(["Persistent"]));
    }
    set(spec, "requiresRepublish", false);
    set(spec, "seLinuxMount", false);
}

fn webhook(hook: &mut Map) {
    set(hook, "failurePolicy", "Fail");
    set(hook, "matchPolicy", "Equivalent");
    set(hook, "namespaceSelector", Value::object());
    set(hook, "objectSelector", Value::object());
    set(hook, "timeoutSeconds", 10_i64);
}

fn https_port(service: &mut Map) {
    set(service, "port", 443_i64);
}

/// Names follow from the kind; versions convert by changing `apiVersion` alone.
fn definition(spec: &mut Map) {
    let names = member(spec, "names");
    let kind = text(names, "kind").to_owned();
    if !kind.is_empty() {
        fill(names, "singular", kind.to_ascii_lowercase());
        fill(names, "listKind", format!("{kind}List"));
    }
    set(spec, "conversion", json!({"strategy": "None"}));
}
