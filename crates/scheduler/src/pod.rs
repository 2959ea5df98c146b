//! A pod as the scheduler needs it: parsed once, shared by cache and queue.
//!
//! Upstream counterpart: `framework.PodInfo`.

use crate::{
    matching::{
        Labels, Matcher, MatcherPart, NodeRequirement, NodeTerm, Term, Toleration, label, labels,
    },
    resources::{Resources, pod_requests},
};
use env::Time;
use machinery::{LabelSelector, Object, Ref, Requirement, SmolStr, parse_time};
use std::sync::Arc;

/// A port on the node that a container claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    pub address: SmolStr,
    pub protocol: SmolStr,
    pub port: i64,
}

impl HostPort {
    /// Whether both cannot be on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        let any = |address: &str| address.is_empty() || address == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (any(&self.address) || any(&other.address) || self.address == other.address)
    }
}

/// One topology spread constraint.
#[derive(Clone, Debug)]
pub struct Spread {
    /// Counts by the topology key.
    pub term: Term,
    /// Counts by node, for when only some nodes are eligible.
    pub by_node: Term,
    pub max_skew: i64,
    pub min_domains: i64,
    pub hard: bool,
    /// Only nodes the pod's selector and affinity allow count.
    pub honor_affinity: bool,
    /// Only nodes whose taints the pod tolerates count.
    pub honor_taints: bool,
}

/// A pod, compact.
#[derive(Clone, Debug)]
pub struct PodInfo {
    pub namespace: SmolStr,
    pub name: SmolStr,
    pub uid: SmolStr,
    pub labels: Labels,
    pub priority: i64,
    pub created: Time,
    pub started: Time,
    pub generation: i64,
    pub terminating: bool,
    pub never_preempts: bool,
    pub nominated: SmolStr,
    pub gates: Vec<SmolStr>,
    pub requests: Resources,
    pub scored_requests: Resources,
    pub ports: Vec<HostPort>,
    pub tolerations: Vec<Toleration>,
    pub node: NodeRequirement,
    pub preferred_nodes: Vec<(i64, NodeTerm)>,
    /// Required pod affinity; each term counts pods that match all of them.
    pub affinity: Vec<Term>,
    /// The same terms as others see them: each for itself.
    pub affinity_owned: Vec<Term>,
    pub anti_affinity: Vec<Term>,
    /// Preferred pod affinity; anti-affinity has negative weight.
    pub preferred_pods: Vec<(i64, Term)>,
    pub spread: Vec<Spread>,
    pub images: Vec<SmolStr>,
    pub claims: Vec<SmolStr>,
    /// Disks that only one pod may use at a time on a node: (kind, identity, read-only).
    pub disks: Vec<(&'static str, SmolStr, bool)>,
    pub owner: Option<(SmolStr, SmolStr, SmolStr)>,
}

impl PodInfo {
    /// Parses a pod.
    pub fn read(object: &Object) -> Self {
        let (spec, status) = (object.at("spec"), object.at("status"));
        let (namespace, labels) = (object.namespace(), labels(object.metadata().get("labels")));
        let (requests, scored_requests) = pod_requests(spec, status);
        let affinity = Affinity {
            namespace,
            labels: &labels,
            spec,
        };
        let terms = affinity.required("podAffinity");
        let time = |text: Ref<'_>| Time(parse_time(text.str()).unwrap_or_default());
        Self {
            namespace: namespace.into(),
            name: object.name().into(),
            uid: object.uid().into(),
            priority: spec.get("priority").i64(),
            created: time(object.metadata().get("creationTimestamp")),
            started: time(status.get("startTime")),
            generation: object.generation(),
            terminating: object.is_deleting(),
            never_preempts: spec.get("preemptionPolicy").str() == "Never",
            nominated: status.get("nominatedNodeName").str().into(),
            gates: names(spec.get("schedulingGates")),
            requests,
            scored_requests,
            ports: host_ports(spec),
            tolerations: spec
                .get("tolerations")
                .items()
                .map(Toleration::read)
                .collect(),
            node: NodeRequirement::read(spec),
            preferred_nodes: preferred_nodes(spec),
            affinity: conjunction(&terms),
            affinity_owned: terms,
            anti_affinity: affinity.required("podAntiAffinity"),
            preferred_pods: affinity.preferred(),
            spread: spreads(spec, namespace, &labels),
            images: images(spec),
            claims: claims(spec, object.name()),
            disks: disks(spec),
            owner: owner(object),
            labels,
        }
    }

    /// Whether all of a node's taints with a hard effect are tolerated.
    pub fn tolerates(&self, taints: &[crate::matching::Taint]) -> bool {
        taints
            .iter()
            .filter(|taint| taint.effect != "PreferNoSchedule")
            .all(|taint| {
                self.tolerations
                    .iter()
                    .any(|toleration| toleration.tolerates(taint))
            })
    }

    /// Topology terms whose matching pods must be counted before a cycle.
    pub fn counted_terms(&self) -> impl Iterator<Item = &Term> {
        let preferred = self.preferred_pods.iter().map(|(_, term)| term);
        self.affinity
            .iter()
            .chain(&self.anti_affinity)
            .chain(preferred)
    }

    /// Whether only some nodes count for a constraint, so that pods must be counted per node.
    pub fn selective(&self, constraint: &Spread) -> bool {
        constraint.honor_taints || constraint.honor_affinity && !self.node.is_empty()
    }
}

fn names(list: Ref<'_>) -> Vec<SmolStr> {
    list.items()
        .map(|item| item.get("name").str().into())
        .collect()
}

fn owner(object: &Object) -> Option<(SmolStr, SmolStr, SmolStr)> {
    let owner = object.controller()?;
    Some((owner.kind().into(), owner.name().into(), owner.uid().into()))
}

fn all_containers<'a>(spec: Ref<'a>) -> impl Iterator<Item = Ref<'a>> {
    spec.get("initContainers")
        .items()
        .chain(spec.get("containers").items())
}

fn host_ports(spec: Ref<'_>) -> Vec<HostPort> {
    let mut ports = Vec::new();
    let sidecars = spec.get("initContainers").items();
    let sidecars = sidecars.filter(|one| one.get("restartPolicy").str() == "Always");
    for port in sidecars
        .chain(spec.get("containers").items())
        .flat_map(|container| container.get("ports").items())
        .filter(|port| port.get("hostPort").i64() > 0)
    {
        ports.push(HostPort {
            address: port.get("hostIP").str().into(),
            protocol: port.get("protocol").as_str().unwrap_or("TCP").into(),
            port: port.get("hostPort").i64(),
        });
    }
    ports
}

fn images(spec: Ref<'_>) -> Vec<SmolStr> {
    all_containers(spec)
        .map(|container| full_image(container.get("image").str()))
        .collect()
}

/// An image name with `:latest` where it has neither tag nor digest.
fn full_image(image: &str) -> SmolStr {
    let tail = image.rsplit('/').next().unwrap_or(image);
    if tail.contains([':', '@']) {
        image.into()
    } else {
        format!("{image}:latest").into()
    }
}

fn claims(spec: Ref<'_>, pod: &str) -> Vec<SmolStr> {
    let claim = |volume: Ref<'_>| {
        let named = volume.at("persistentVolumeClaim.claimName").as_str();
        let made = || format!("{pod}-{}", volume.get("name").str()).into();
        let ephemeral = !volume.get("ephemeral").is_null();
        named.map(SmolStr::new).or_else(|| ephemeral.then(made))
    };
    spec.get("volumes").items().filter_map(claim).collect()
}

fn disks(spec: Ref<'_>) -> Vec<(&'static str, SmolStr, bool)> {
    const KINDS: [(&str, &str); 3] = [
        ("awsElasticBlockStore", "volumeID"),
        ("gcePersistentDisk", "pdName"),
        ("iscsi", "iqn"),
    ];
    let mut disks = Vec::new();
    for volume in spec.get("volumes").items() {
        for (kind, identity) in KINDS {
            let source = volume.get(kind);
            if !source.is_null() {
                disks.push((
                    kind,
                    source.get(identity).str().into(),
                    source.get("readOnly").is_true(),
                ));
            }
        }
    }
    disks
}

fn preferred_nodes(spec: Ref<'_>) -> Vec<(i64, NodeTerm)> {
    spec.at("affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution")
        .items()
        .map(|term| {
            (
                term.get("weight").i64(),
                NodeTerm::read(term.get("preference")),
            )
        })
        .collect()
}

/// Adds the pod's own values of `matchLabelKeys` (and refuses those of `mismatchLabelKeys`).
fn with_label_keys(mut selector: LabelSelector, term: Ref<'_>, own: &Labels) -> LabelSelector {
    for (field, same) in [("matchLabelKeys", true), ("mismatchLabelKeys", false)] {
        for key in term.get(field).items().map(|key| key.str()) {
            let Some(value) = label(own, key) else {
                continue;
            };
            let (key, values) = (SmolStr::new(key), vec![SmolStr::new(value)]);
            selector.requirements.push(if same {
                Requirement::In(key, values)
            } else {
                Requirement::NotIn(key, values)
            });
        }
    }
    selector
}

struct Affinity<'a> {
    namespace: &'a str,
    labels: &'a Labels,
    spec: Ref<'a>,
}

impl Affinity<'_> {
    fn term(&self, term: Ref<'_>) -> Term {
        let selector = term.get("namespaceSelector");
        let mut namespaces: Vec<SmolStr> = term
            .get("namespaces")
            .items()
            .map(|name| name.str().into())
            .collect();
        if namespaces.is_empty() && selector.is_null() {
            namespaces.push(self.namespace.into());
        }
        let labels = LabelSelector::from_ref(term.get("labelSelector"));
        let part = MatcherPart {
            namespaces,
            namespace_selector: (!selector.is_null()).then(|| LabelSelector::from_ref(selector)),
            labels: with_label_keys(labels, term, self.labels),
        };
        let matcher = Matcher {
            parts: vec![part],
            skip_terminating: false,
        };
        Term::new(matcher.into(), term.get("topologyKey").str())
    }

    fn required(&self, kind: &str) -> Vec<Term> {
        let terms = self.spec.get("affinity").get(kind);
        let terms = terms.get("requiredDuringSchedulingIgnoredDuringExecution");
        terms.items().map(|term| self.term(term)).collect()
    }

    fn preferred(&self) -> Vec<(i64, Term)> {
        let mut found = Vec::new();
        for (kind, sign) in [("podAffinity", 1), ("podAntiAffinity", -1)] {
            let terms = self.spec.get("affinity").get(kind);
            for term in terms
                .get("preferredDuringSchedulingIgnoredDuringExecution")
                .items()
            {
                let weight = sign * term.get("weight").i64();
                found.push((weight, self.term(term.get("podAffinityTerm"))));
            }
        }
        found
    }
}

/// Required affinity counts pods that satisfy every term at once.
fn conjunction(terms: &[Term]) -> Vec<Term> {
    if terms.len() < 2 {
        return terms.to_vec();
    }
    let parts = terms
        .iter()
        .flat_map(|term| term.matcher.parts.clone())
        .collect();
    let matcher = Arc::new(Matcher {
        parts,
        skip_terminating: false,
    });
    terms
        .iter()
        .map(|term| Term::new(matcher.clone(), &term.key))
        .collect()
}

fn spreads(spec: Ref<'_>, namespace: &str, own: &Labels) -> Vec<Spread> {
    let read = |constraint: Ref<'_>| {
        let selector = LabelSelector::from_ref(constraint.get("labelSelector"));
        let selector = with_label_keys(selector, constraint, own);
        let hard = constraint.get("whenUnsatisfiable").str() != "ScheduleAnyway";
        let mut made = spread(namespace, selector, constraint.get("topologyKey").str());
        made.max_skew = constraint.get("maxSkew").i64();
        made.min_domains = constraint.get("minDomains").as_i64().unwrap_or(1);
        made.hard = hard;
        made.honor_affinity = constraint.get("nodeAffinityPolicy").str() != "Ignore";
        made.honor_taints = constraint.get("nodeTaintsPolicy").str() == "Honor";
        made
    };
    spec.get("topologySpreadConstraints")
        .items()
        .map(read)
        .collect()
}

/// A soft constraint over the pods of one namespace that `selector` matches.
pub fn spread(namespace: &str, selector: LabelSelector, key: &str) -> Spread {
    let part = MatcherPart {
        namespaces: vec![namespace.into()],
        namespace_selector: None,
        labels: selector,
    };
    let matcher = Arc::new(Matcher {
        parts: vec![part],
        skip_terminating: true,
    });
    Spread {
        term: Term::new(matcher.clone(), key),
        by_node: Term::new(matcher, ""),
        max_skew: 1,
        min_domains: 1,
        hard: false,
        honor_affinity: true,
        honor_taints: false,
    }
}
