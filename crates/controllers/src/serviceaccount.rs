//! What every active namespace gets: the `default` ServiceAccount and the cluster's CA.
//!
//! Upstream counterpart: `pkg/controller/serviceaccount`, `pkg/controller/certificates/rootcacertpublisher`.

use crate::{
    RootBundle,
    common::{create, target},
    names::{CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS},
};
use env::Time;
use machinery::json;
use reconcile::{Change, Controller, Plan, Target, View, Watch, itself};

const ACCOUNT: &str = "default";
const CA_MAP: &str = "kube-root-ca.crt";
/// Where the server says whom it believes.
const ROOTS_MAP: &str = "extension-apiserver-authentication";
const SYSTEM: &str = "kube-system";
const NOTE: &str = "kubernetes.io/description";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// Makes the `default` ServiceAccount of each namespace.
pub struct ServiceAccount;

/// Publishes the CA in each namespace.
pub struct RootCa {
    /// Whom clients believe.
    pub bundle: RootBundle,
}

impl Controller for ServiceAccount {
    fn name(&self) -> &'static str {
        "service-account-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch {
                resource: NAMESPACES,
                wakes: itself,
            },
            Watch {
                resource: SERVICE_ACCOUNTS,
                wakes: |_, change, wake| wake_namespace(change, ACCOUNT, wake),
            },
        ]
    }

    fn reconcile(&self, view: &View, key: &Target, _: Time) -> Plan {
        let mut plan = Plan::nothing();
        if is_active(view, &key.name) && view.get(SERVICE_ACCOUNTS, &key.name, ACCOUNT).is_none() {
            let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": &key.name}});
            plan.push(create(SERVICE_ACCOUNTS, account, true));
        }
        plan
    }
}

impl Controller for RootCa {
    fn name(&self) -> &'static str {
        "root-ca-cert-publisher"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch {
                resource: NAMESPACES,
                wakes: itself,
            },
            Watch {
                resource: CONFIG_MAPS,
                wakes: wake_published,
            },
        ]
    }

    fn reconcile(&self, view: &View, key: &Target, _: Time) -> Plan {
        let mut plan = Plan::nothing();
        let bundle = self.bundle.get();
        if bundle.is_empty() || !is_active(view, &key.name) {
            return plan;
        }
        let data = json!({"ca.crt": &*bundle});
        match view.get(CONFIG_MAPS, &key.name, CA_MAP) {
            None => {
                let map = json!({
                    "apiVersion": "v1", "kind": "ConfigMap", "data": data,
                    "metadata": {"name": CA_MAP, "namespace": &key.name, "annotations": {(NOTE): DESCRIPTION}},
                });
                plan.push(create(CONFIG_MAPS, map, true));
            }
            Some(map) if map.at("data").to_value() != data || map.annotation(NOTE).is_none() => {
                let mut changed = map.to_value();
                changed["data"] = data;
                changed.set_at(&["metadata", "annotations", NOTE], DESCRIPTION);
                plan.push(reconcile::Action::Update {
                    target: target(CONFIG_MAPS, map),
                    subresource: "",
                    object: changed,
                });
            }
            Some(_) => {}
        }
        plan
    }
}

fn wake_namespace(change: &Change, name: &str, wake: &mut Vec<Target>) {
    if change.key.name == name {
        wake.push(Target::new(NAMESPACES, "", &change.key.namespace));
    }
}

fn wake_published(view: &View, change: &Change, wake: &mut Vec<Target>) {
    wake_namespace(change, CA_MAP, wake);
    if tells_of_roots(change) {
        let all = view.list(NAMESPACES, None);
        wake.extend(all.map(|namespace| target(NAMESPACES, namespace)));
    }
}

/// Whether a changed config map is the one that says whom to believe.
pub(crate) fn tells_of_roots(change: &Change) -> bool {
    change.key.name == ROOTS_MAP && change.key.namespace == SYSTEM
}

fn is_active(view: &View, namespace: &str) -> bool {
    view.get(NAMESPACES, "", namespace)
        .is_some_and(|namespace| !namespace.is_deleting())
}
