//! The node authorizer: a node's agent may read what its own pods need, and no more.
//!
//! Sees objects through [`NodeView`]; knows no store. Upstream counterpart:
//! `plugin/pkg/auth/authorizer/node`.

use crate::{Attributes, Verdict};
use machinery::{Object, Ref};
use std::sync::Arc;

/// Namespace of the nodes' leases.
const LEASES: &str = "kube-node-lease";
/// Marks a pod that mirrors one the agent was given by other means; it leads to nothing else.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Volume sources of pods whose `secretRef` names a secret.
const WITH_SECRET_REF: [&str; 7] = [
    "cephfs",
    "cinder",
    "flexVolume",
    "rbd",
    "scaleIO",
    "iscsi",
    "storageos",
];

/// What nodes may do with resources that are not divided among them: group, resource, verbs.
const SHARED: [(&str, &str, &[&str]); 10] = [
    ("authentication.k8s.io", "tokenreviews", &["create"]),
    ("authorization.k8s.io", "subjectaccessreviews", &["create"]),
    (
        "authorization.k8s.io",
        "localsubjectaccessreviews",
        &["create"],
    ),
    ("", "services", READ),
    ("", "events", &["create", "patch", "update"]),
    ("events.k8s.io", "events", &["create", "patch", "update"]),
    ("", "endpoints", &["get"]),
    (
        "certificates.k8s.io",
        "certificatesigningrequests",
        &["create", "get", "list", "watch"],
    ),
    ("storage.k8s.io", "csidrivers", READ),
    ("node.k8s.io", "runtimeclasses", READ),
];
const READ: &[&str] = &["get", "list", "watch"];

/// What the authorizer must see of the cluster.
pub trait NodeView {
    /// One object; `resource` is a storage resource (`volumeattachments.storage.k8s.io`).
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>>;
    /// The pods assigned to a node.
    fn pods_on(&self, node: &str) -> Vec<Arc<Object>>;
}

/// Whether the agent of `node` may do what is asked.
pub fn decide_node(view: &dyn NodeView, node: &str, asked: &Attributes) -> Verdict {
    let answer = if node.is_empty() {
        Err(format!("unknown node for user {:?}", crate::NODE_PREFIX))
    } else {
        Asked { view, node, asked }.answer()
    };
    Verdict {
        allowed: answer.is_ok(),
        reason: answer.err().unwrap_or_default(),
    }
}

struct Asked<'a> {
    view: &'a dyn NodeView,
    node: &'a str,
    asked: &'a Attributes,
}

type Answer = Result<(), String>;

fn when(allowed: bool, why: &str) -> Answer {
    allowed.then_some(()).ok_or_else(|| why.to_owned())
}

impl Asked<'_> {
    fn verb(&self, verbs: &[&str]) -> bool {
        verbs.contains(&self.asked.verb.as_str())
    }

    fn answer(&self) -> Answer {
        let asked = self.asked;
        match (asked.group.as_str(), asked.resource.as_str()) {
            ("", "secrets") => self.read(|this| this.secret()),
            ("", "configmaps") => self.read(|this| this.any_pod(config_maps)),
            ("", "persistentvolumeclaims") if asked.subresource == "status" => {
                when(
                    self.verb(&["update", "patch"]),
                    "can only get/update/patch this type",
                )?;
                self.related(self.any_pod(claims))
            }
            ("", "persistentvolumeclaims") => self.get(|this| this.any_pod(claims)),
            ("", "persistentvolumes") => self.get(|this| this.volume()),
            ("resource.k8s.io", "resourceclaims") => self.get(|this| this.any_pod(resource_claims)),
            ("storage.k8s.io", "volumeattachments") => {
                self.get(|this| this.names_node("volumeattachments.storage.k8s.io"))
            }
            ("", "serviceaccounts") => self.service_account(),
            ("coordination.k8s.io", "leases") => self.lease(),
            ("storage.k8s.io", "csinodes") => self.csi_node(),
            ("resource.k8s.io", "resourceslices") => self.slice(),
            ("", "nodes") => self.own_node(),
            ("", "pods") => self.pod(),
            (group, resource) => when(
                asked.subresource.is_empty()
                    && SHARED.iter().any(|(of, plural, verbs)| {
                        *of == group && *plural == resource && self.verb(verbs)
                    }),
                "",
            ),
        }
    }

    fn get(&self, related: impl Fn(&Self) -> bool) -> Answer {
        when(
            self.verb(&["get"]),
            "can only get individual resources of this type",
        )?;
        when(self.asked.subresource.is_empty(), "cannot get subresource")?;
        self.related(related(self))
    }

    fn read(&self, related: impl Fn(&Self) -> bool) -> Answer {
        when(self.verb(READ), "can only read resources of this type")?;
        when(self.asked.subresource.is_empty(), "cannot read subresource")?;
        when(
            !self.asked.namespace.is_empty(),
            "can only read namespaced object of this type",
        )?;
        self.related(related(self))
    }

    fn related(&self, related: bool) -> Answer {
        when(!self.asked.name.is_empty(), "No Object name found")?;
        self.connected(related)
    }

    fn connected(&self, related: bool) -> Answer {
        let why = format!(
            "no relationship found between node '{}' and this object",
            self.node
        );
        when(related, &why)
    }

    /// Whether a pod of the node, in the namespace asked about, uses the object.
    fn any_pod(&self, uses: fn(&Object, &str) -> bool) -> bool {
        self.view.pods_on(self.node).iter().any(|pod| {
            pod.namespace() == self.asked.namespace
                && pod.annotation(MIRROR).is_none()
                && uses(pod, &self.asked.name)
        })
    }

    /// Used by a pod of the node, or by the volume of one of its claims.
    fn secret(&self) -> bool {
        self.any_pod(secrets) || self.volumes().any(|volume| self.volume_needs(&volume))
    }

    /// The volumes behind the claims of the node's pods.
    fn volumes(&self) -> impl Iterator<Item = Arc<Object>> {
        let pods = self.view.pods_on(self.node).into_iter();
        pods.filter(|pod| pod.annotation(MIRROR).is_none())
            .flat_map(|pod| {
                let names = pod.at("spec.volumes").items();
                let names: Vec<String> = names.filter_map(|one| claim_of(&pod, one)).collect();
                let namespace = pod.namespace().to_owned();
                names.into_iter().map(move |name| (namespace.clone(), name))
            })
            .filter_map(|(namespace, name)| {
                let claim = self.view.get("persistentvolumeclaims", &namespace, &name)?;
                let volume = claim.at("spec.volumeName").str();
                let volume = self.view.get("persistentvolumes", "", volume)?;
                let bound = volume.at("spec.claimRef");
                (bound.get("namespace").str() == namespace && bound.get("name").str() == name)
                    .then_some(volume)
            })
    }

    fn volume(&self) -> bool {
        self.volumes()
            .any(|volume| volume.name() == self.asked.name)
    }

    fn volume_needs(&self, volume: &Object) -> bool {
        let spec = volume.at("spec");
        let own = spec.get("claimRef").get("namespace").str();
        let is = |reference: Ref<'_>| {
            let namespace = reference.get("namespace").as_str();
            let namespace = namespace.filter(|text| !text.is_empty()).unwrap_or(own);
            reference.get("name").str() == self.asked.name && namespace == self.asked.namespace
        };
        let csi = spec.get("csi");
        let file = spec.get("azureFile");
        let file_namespace = file.get("secretNamespace").as_str().unwrap_or(own);
        WITH_SECRET_REF
            .iter()
            .any(|source| is(spec.get(source).get("secretRef")))
            || [
                "nodePublishSecretRef",
                "nodeStageSecretRef",
                "nodeExpandSecretRef",
            ]
            .iter()
            .any(|key| is(csi.get(key)))
            || file.get("secretName").str() == self.asked.name
                && file_namespace == self.asked.namespace
    }

    fn names_node(&self, resource: &str) -> bool {
        let object = self.view.get(resource, "", &self.asked.name);
        object.is_some_and(|object| object.at("spec.nodeName").str() == self.node)
    }

    fn service_account(&self) -> Answer {
        let asked = self.asked;
        let runs = || self.any_pod(|pod, name| pod.at("spec.serviceAccountName").str() == name);
        if self.verb(&["get"]) && asked.subresource.is_empty() {
            return self.read(|_| runs());
        }
        when(
            self.verb(&["create"]) && !asked.name.is_empty(),
            "can only create tokens for individual service accounts",
        )?;
        when(
            asked.subresource == "token",
            "can only create token subresource of serviceaccount",
        )?;
        self.connected(runs())
    }

    fn lease(&self) -> Answer {
        when(
            self.verb(&["get", "create", "update", "patch", "delete"]),
            "can only get, create, update, patch, or delete a node lease",
        )?;
        when(
            self.asked.namespace == LEASES,
            &format!("can only access leases in the {LEASES:?} system namespace"),
        )?;
        when(
            self.verb(&["create"]) || self.asked.name == self.node,
            "can only access node lease with the same name as the requesting node",
        )
    }

    fn csi_node(&self) -> Answer {
        when(
            self.verb(&["get", "create", "update", "patch", "delete"]),
            "can only get, create, update, patch, or delete a CSINode",
        )?;
        when(
            self.asked.subresource.is_empty(),
            "cannot authorize CSINode subresources",
        )?;
        when(
            self.verb(&["create"]) || self.asked.name == self.node,
            "can only access CSINode with the same name as the requesting node",
        )
    }

    fn selects(&self, field: &str) -> bool {
        let mut fields = self.asked.fields.iter();
        fields.any(|(known, value)| known == field && value == self.node)
    }

    fn slice(&self) -> Answer {
        when(
            self.asked.subresource.is_empty(),
            "cannot authorize ResourceSlice subresources",
        )?;
        match self.asked.verb.as_str() {
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" => {
                self.related(self.names_node("resourceslices.resource.k8s.io"))
            }
            "watch" | "list" | "deletecollection" => when(
                self.selects("spec.nodeName"),
                "can only list/watch/deletecollection resourceslices with nodeName field selector",
            ),
            _ => Err("only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection".into()),
        }
    }

    fn own_node(&self) -> Answer {
        let (node, name) = (self.node, self.asked.name.as_str());
        match (self.asked.subresource.as_str(), self.asked.verb.as_str()) {
            // Which node is for the admission plug-in to say.
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
            ("", "get" | "list" | "watch") if name == node => Ok(()),
            ("", "get" | "list" | "watch") if name.is_empty() => Err(format!(
                "node '{node}' cannot read all nodes, only its own Node object"
            )),
            ("", "get" | "list" | "watch") => Err(format!(
                "node '{node}' cannot read '{name}', only its own Node object"
            )),
            _ => Err(String::new()),
        }
    }

    fn pod(&self) -> Answer {
        let here = || {
            let asked = self.asked;
            let pod = self.view.get("pods", &asked.namespace, &asked.name);
            pod.is_some_and(|pod| pod.at("spec.nodeName").str() == self.node)
        };
        match (self.asked.subresource.as_str(), self.asked.verb.as_str()) {
            ("", "get") => self.related(here()),
            ("", "list" | "watch") if self.selects("spec.nodeName") => Ok(()),
            ("", "list" | "watch") if !self.asked.name.is_empty() => self.related(here()),
            ("", "list" | "watch") => {
                Err("can only list/watch pods with spec.nodeName field selector".into())
            }
            // Whose pod it is, is for the admission plug-in to say.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
                Ok(())
            }
            _ => Err(String::new()),
        }
    }
}

fn containers(pod: &Object) -> impl Iterator<Item = Ref<'_>> {
    let lists = [
        "spec.initContainers",
        "spec.containers",
        "spec.ephemeralContainers",
    ];
    lists.into_iter().flat_map(|list| pod.at(list).items())
}

/// Whether environment or projected volumes read from `name` through these keys.
fn reads(pod: &Object, name: &str, keys: [&str; 3]) -> bool {
    let [whole, one, projected] = keys;
    let by_environment = containers(pod).any(|container| {
        let mut all = container.get("envFrom").items();
        let mut single = container.get("env").items();
        all.any(|from| from.get(whole).get("name").str() == name)
            || single.any(|from| from.get("valueFrom").get(one).get("name").str() == name)
    });
    by_environment
        || pod.at("spec.volumes").items().any(|volume| {
            let mut sources = volume.get("projected").get("sources").items();
            sources.any(|source| source.get(projected).get("name").str() == name)
        })
}

fn secrets(pod: &Object, name: &str) -> bool {
    let mut pulls = pod.at("spec.imagePullSecrets").items();
    pulls.any(|one| one.get("name").str() == name)
        || reads(pod, name, ["secretRef", "secretKeyRef", "secret"])
        || pod.at("spec.volumes").items().any(|volume| {
            let named = |source: &str, key: &str| volume.get(source).get(key).str() == name;
            let referred =
                |source: &str, key: &str| volume.get(source).get(key).get("name").str() == name;
            named("secret", "secretName")
                || named("azureFile", "secretName")
                || referred("csi", "nodePublishSecretRef")
                || WITH_SECRET_REF
                    .iter()
                    .any(|source| referred(source, "secretRef"))
        })
}

fn config_maps(pod: &Object, name: &str) -> bool {
    reads(pod, name, ["configMapRef", "configMapKeyRef", "configMap"])
        || pod
            .at("spec.volumes")
            .items()
            .any(|volume| volume.get("configMap").get("name").str() == name)
}

fn claim_of(pod: &Object, volume: Ref<'_>) -> Option<String> {
    let claim = volume.get("persistentVolumeClaim").get("claimName");
    match claim.as_str() {
        Some(name) => Some(name.to_owned()),
        None if !volume.get("ephemeral").is_null() => {
            Some(format!("{}-{}", pod.name(), volume.get("name").str()))
        }
        None => None,
    }
}

fn claims(pod: &Object, name: &str) -> bool {
    let mut volumes = pod.at("spec.volumes").items();
    volumes.any(|volume| claim_of(pod, volume).as_deref() == Some(name))
}

fn resource_claims(pod: &Object, name: &str) -> bool {
    let direct = pod.at("spec.resourceClaims").items();
    let made = pod.at("status.resourceClaimStatuses").items();
    let extended = pod.at("status.extendedResourceClaimStatus.resourceClaimName");
    direct
        .chain(made)
        .any(|one| one.get("resourceClaimName").str() == name)
        || extended.str() == name
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::{Value, json};
    use std::collections::BTreeMap;

    struct World(BTreeMap<String, Arc<Object>>);

    impl NodeView for World {
        fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
            self.0
                .get(&format!("{resource}/{namespace}/{name}"))
                .cloned()
        }

        fn pods_on(&self, node: &str) -> Vec<Arc<Object>> {
            let pods = self.0.iter().filter(|(key, _)| key.starts_with("pods/"));
            pods.map(|(_, pod)| pod.clone())
                .filter(|pod| pod.at("spec.nodeName").str() == node)
                .collect()
        }
    }

    fn world() -> World {
        let pod = |name: &str, node: &str, volumes: Value| {
            json!({"metadata": {"namespace": "n", "name": name}, "spec": {"nodeName": node, "serviceAccountName": format!("sa-{node}"),
                "volumes": volumes, "imagePullSecrets": [{"name": format!("pull-{node}")}],
                "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": format!("env-{node}")}}}], "envFrom": [{"configMapRef": {"name": format!("map-{node}")}}]}]}})
        };
        let mine = json!([{"name": "d", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "e", "ephemeral": {}},
            {"projected": {"sources": [{"secret": {"name": "projected"}}]}}, {"secret": {"secretName": "mounted"}}]);
        let all = [
            ("pods/n/a", pod("a", "one", mine)),
            ("pods/n/b", pod("b", "two", json!([]))),
            (
                "persistentvolumeclaims/n/c",
                json!({"metadata": {"namespace": "n", "name": "c"}, "spec": {"volumeName": "v"}}),
            ),
            (
                "persistentvolumes//v",
                json!({"metadata": {"name": "v"}, "spec": {"claimRef": {"namespace": "n", "name": "c"}, "csi": {"nodeStageSecretRef": {"name": "stage", "namespace": "csi"}}}}),
            ),
            (
                "volumeattachments.storage.k8s.io//at",
                json!({"metadata": {"name": "at"}, "spec": {"nodeName": "one"}}),
            ),
        ];
        let made = all.map(|(key, value)| (key.to_owned(), Arc::new(Object::new(&value, 1))));
        World(made.into())
    }

    /// `verb group/resource/sub namespace/name`, group `core` for none.
    fn asked(text: &str) -> Attributes {
        let words: Vec<&str> = text.split(' ').collect();
        let place: Vec<&str> = words[1].split('/').collect();
        let (namespace, name) = words[2].split_once('/').unwrap();
        Attributes {
            verb: words[0].into(),
            group: if place[0] == "core" { "" } else { place[0] }.into(),
            resource: place[1].into(),
            subresource: place.get(2).copied().unwrap_or_default().into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Attributes::default()
        }
    }

    #[test]
    fn a_node_reads_what_its_pods_need() {
        let world = world();
        let apart = "no relationship found between node 'one' and this object";
        for (request, wanted) in [
            ("get core/secrets n/pull-one", Ok(())),
            ("watch core/secrets n/env-one", Ok(())),
            ("get core/secrets n/projected", Ok(())),
            ("get core/secrets n/mounted", Ok(())),
            ("get core/secrets csi/stage", Ok(())),
            ("get core/secrets n/pull-two", Err(apart)),
            ("get core/secrets m/pull-one", Err(apart)),
            ("list core/secrets n/", Err("No Object name found")),
            (
                "list core/secrets /",
                Err("can only read namespaced object of this type"),
            ),
            (
                "delete core/secrets n/mounted",
                Err("can only read resources of this type"),
            ),
            ("get core/configmaps n/map-one", Ok(())),
            ("get core/configmaps n/map-two", Err(apart)),
            ("get core/persistentvolumeclaims n/c", Ok(())),
            ("get core/persistentvolumeclaims n/a-e", Ok(())),
            (
                "list core/persistentvolumeclaims n/c",
                Err("can only get individual resources of this type"),
            ),
            ("patch core/persistentvolumeclaims/status n/c", Ok(())),
            ("get core/persistentvolumes /v", Ok(())),
            ("get core/persistentvolumes /w", Err(apart)),
            ("get storage.k8s.io/volumeattachments /at", Ok(())),
            ("create core/serviceaccounts/token n/sa-one", Ok(())),
            ("create core/serviceaccounts/token n/sa-two", Err(apart)),
            ("get core/serviceaccounts n/sa-one", Ok(())),
            (
                "delete core/serviceaccounts n/sa-one",
                Err("can only create tokens for individual service accounts"),
            ),
            (
                "patch coordination.k8s.io/leases kube-node-lease/one",
                Ok(()),
            ),
            (
                "patch coordination.k8s.io/leases kube-node-lease/two",
                Err("can only access node lease with the same name as the requesting node"),
            ),
            (
                "get coordination.k8s.io/leases kube-system/one",
                Err("can only access leases in the \"kube-node-lease\" system namespace"),
            ),
            ("get core/nodes /one", Ok(())),
            (
                "get core/nodes /two",
                Err("node 'one' cannot read 'two', only its own Node object"),
            ),
            (
                "list core/nodes /",
                Err("node 'one' cannot read all nodes, only its own Node object"),
            ),
            ("delete core/nodes /one", Err("")),
            ("patch core/nodes/status /two", Ok(())),
            ("get core/pods n/a", Ok(())),
            ("get core/pods n/b", Err(apart)),
            (
                "list core/pods /",
                Err("can only list/watch pods with spec.nodeName field selector"),
            ),
            ("get core/pods/log n/a", Err("")),
            ("list core/services /", Ok(())),
            ("create core/services n/", Err("")),
            ("get apps/deployments n/d", Err("")),
        ] {
            let verdict = decide_node(&world, "one", &asked(request));
            let wanted = wanted.map_err(str::to_owned);
            let got = if verdict.allowed {
                Ok(())
            } else {
                Err(verdict.reason)
            };
            assert_eq!(got, wanted, "{request}");
        }
        let mut own = asked("watch core/pods /");
        own.fields = vec![("spec.nodeName".into(), "one".into())];
        assert!(decide_node(&world, "one", &own).allowed);
        assert!(!decide_node(&world, "two", &own).allowed);
    }
}
