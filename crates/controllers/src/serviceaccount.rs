//! What every active namespace gets: the `default` ServiceAccount and the cluster's CA.
//!
//! Upstream counterpart: `pkg/controller/serviceaccount`, `pkg/controller/certificates/rootcacertpublisher`.

use crate::{
    common::create,
    names::{CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS},
};
use env::Time;
use machinery::json;
use reconcile::{Change, Controller, Plan, Target, View, Watch, itself};

const ACCOUNT: &str = "default";
const CA_MAP: &str = "kube-root-ca.crt";
const NOTE: &str = "kubernetes.io/description";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// Makes the `default` ServiceAccount of each namespace.
pub struct ServiceAccount;

/// Publishes the CA in each namespace.
pub struct RootCa {
    /// PEM text of the CA bundle; empty publishes nothing.
    pub bundle: String,
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
                wakes: |_, change, wake| wake_namespace(change, CA_MAP, wake),
            },
        ]
    }

    fn reconcile(&self, view: &View, key: &Target, _: Time) -> Plan {
        let mut plan = Plan::nothing();
        if self.bundle.is_empty() || !is_active(view, &key.name) {
            return plan;
        }
        let data = json!({"ca.crt": &self.bundle});
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
                    target: crate::common::target(CONFIG_MAPS, map),
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

fn is_active(view: &View, namespace: &str) -> bool {
    view.get(NAMESPACES, "", namespace)
        .is_some_and(|namespace| !namespace.is_deleting())
}
