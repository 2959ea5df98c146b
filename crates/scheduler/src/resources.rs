//! Amounts of resources: what a pod asks for and what a node has.
//!
//! Upstream counterpart: `framework.Resource` and `k8s.io/component-helpers/resource`.

use machinery::{Quantity, Ref, SmolStr};

/// CPU assumed by scores for a container that asks for none, thousandths.
const DEFAULT_CPU: i64 = 100;
/// Memory assumed by scores for a container that asks for none, bytes.
const DEFAULT_MEMORY: i64 = 200 << 20;

/// Amounts by resource; CPU in thousandths, the rest in units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub cpu: i64,
    pub memory: i64,
    pub ephemeral: i64,
    pub pods: i64,
    /// Everything else, sorted by name.
    pub extended: Vec<(SmolStr, i64)>,
}

impl Resources {
    /// From a `ResourceList`.
    pub fn read(list: Ref<'_>) -> Self {
        let mut read = Self::default();
        for (name, amount) in list.entries() {
            let amount = quantity(amount);
            match name {
                "cpu" => read.cpu = amount.milli(),
                "memory" => read.memory = amount.units(),
                "ephemeral-storage" => read.ephemeral = amount.units(),
                "pods" => read.pods = amount.units(),
                _ => read.extended.push((name.into(), amount.units())),
            }
        }
        read
    }

    /// The amount of a resource beyond the named fields.
    pub fn extended(&self, name: &str) -> i64 {
        let found = self.extended.iter().find(|(known, _)| known == name);
        found.map_or(0, |(_, amount)| *amount)
    }

    fn combine(&mut self, other: &Self, with: fn(i64, i64) -> i64) {
        self.cpu = with(self.cpu, other.cpu);
        self.memory = with(self.memory, other.memory);
        self.ephemeral = with(self.ephemeral, other.ephemeral);
        for (name, amount) in &other.extended {
            match self.extended.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = with(*known, *amount),
                None => self.extended.push((name.clone(), with(0, *amount))),
            }
        }
    }

    /// Adds, except the pod count.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    /// Subtracts, except the pod count.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, i64::saturating_sub);
    }

    /// Takes the larger of each, except the pod count.
    pub fn raise_to(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }
}

/// A quantity; anything unreadable (the door refuses it) counts as zero.
fn quantity(value: Ref<'_>) -> Quantity {
    match value.as_i64() {
        Some(units) => Quantity::from_units(units, machinery::Format::DecimalSi),
        None => value.str().parse().unwrap_or(Quantity::ZERO),
    }
}

/// What a pod asks for: exactly, and as scores see it (with defaults for silence). While it is
/// being resized that is the most of what it asks for, was allocated and still has.
pub fn pod_requests(spec: Ref<'_>, status: Ref<'_>) -> (Resources, Resources) {
    let (mut exact, mut scored) = (total(spec, status, false), total(spec, status, true));
    let pod_level = Resources::read(spec.at("resources.requests"));
    let overhead = Resources::read(spec.get("overhead"));
    for sum in [&mut exact, &mut scored] {
        if pod_level.cpu > 0 {
            sum.cpu = pod_level.cpu;
        }
        if pod_level.memory > 0 {
            sum.memory = pod_level.memory;
        }
        sum.add(&overhead);
    }
    (exact, scored)
}

/// Whether the node has given a running container of the pod something else than it asks for.
pub fn is_resizing(spec: Ref<'_>, status: Ref<'_>) -> bool {
    let lists = [
        ("containers", "containerStatuses"),
        ("initContainers", "initContainerStatuses"),
    ];
    lists.iter().any(|(list, statuses)| {
        spec.get(list).items().any(|container| {
            let asked = container.at("resources.requests");
            let shown = status_of(container, status.get(statuses));
            shown.is_some_and(|shown| {
                let held = [
                    shown.get("allocatedResources"),
                    shown.at("resources.requests"),
                ];
                held.iter().any(|one| !one.is_null() && *one != asked)
            })
        })
    })
}

/// A container's status, once it says what the container was given.
fn status_of<'a>(container: Ref<'_>, statuses: Ref<'a>) -> Option<Ref<'a>> {
    let name = container.get("name").str();
    let found = statuses.items().find(|one| one.get("name").str() == name);
    found.filter(|one| !one.get("resources").is_null())
}

/// A resize that the node will never grant asks for nothing.
fn is_infeasible(status: Ref<'_>) -> bool {
    status.get("conditions").items().any(|one| {
        one.get("type").str() == "PodResizePending" && one.get("reason").str() == "Infeasible"
    })
}

/// The requests of a container that can be resized while it runs.
fn resizable_requests(
    container: Ref<'_>,
    (status, list): (Ref<'_>, &str),
    defaults: bool,
) -> Resources {
    let asked = container_requests(container, defaults);
    let Some(shown) = status_of(container, status.get(list)) else {
        return asked;
    };
    let mut most = Resources::read(shown.get("allocatedResources"));
    most.raise_to(&Resources::read(shown.at("resources.requests")));
    if !is_infeasible(status) {
        most.raise_to(&asked);
    }
    most
}

fn total(spec: Ref<'_>, status: Ref<'_>, defaults: bool) -> Resources {
    let mut running = Resources::default();
    for container in spec.get("containers").items() {
        let statuses = (status, "containerStatuses");
        running.add(&resizable_requests(container, statuses, defaults));
    }
    let (mut sidecars, mut peak) = (Resources::default(), Resources::default());
    for container in spec.get("initContainers").items() {
        let mut asked = container_requests(container, defaults);
        if container.get("restartPolicy").str() == "Always" {
            asked = resizable_requests(container, (status, "initContainerStatuses"), defaults);
            running.add(&asked);
            sidecars.add(&asked);
            peak.raise_to(&sidecars);
        } else {
            asked.add(&sidecars);
            peak.raise_to(&asked);
        }
    }
    running.raise_to(&peak);
    running
}

fn container_requests(container: Ref<'_>, defaults: bool) -> Resources {
    let list = container.at("resources.requests");
    let mut asked = Resources::read(list);
    if defaults && list.get("cpu").is_null() {
        asked.cpu = DEFAULT_CPU;
    }
    if defaults && list.get("memory").is_null() {
        asked.memory = DEFAULT_MEMORY;
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::{flat, json};

    #[test]
    fn init_and_sidecar_containers_count_as_upstream() {
        let ask = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let spec = json!({
            "containers": [{"resources": ask("300m")}, {"resources": ask("200m")}],
            "initContainers": [
                {"resources": ask("900m")},
                {"restartPolicy": "Always", "resources": ask("100m")},
                {"resources": ask("1")},
            ],
            "overhead": {"cpu": "10m", "x.io/y": "2"},
        });
        let bytes = flat::encode(&spec);
        let (exact, scored) = pod_requests(Ref::new(&bytes), Ref::MISSING);
        // The last init container runs beside the sidecar: 1000 + 100, plus overhead.
        assert_eq!((exact.cpu, exact.extended("x.io/y")), (1110, 2));
        assert_eq!(scored.memory, 3 * DEFAULT_MEMORY);
    }

    #[test]
    fn a_resize_counts_as_the_most_of_what_it_is_about() {
        let spec = json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "2"}}}]});
        let count = |allocated: &str, actual: &str, reason: &str| {
            let status = json!({
                "conditions": [{"type": "PodResizePending", "status": "True", "reason": reason}],
                "containerStatuses": [{"name": "a", "allocatedResources": {"cpu": allocated},
                    "resources": {"requests": {"cpu": actual}}}],
            });
            let (spec, status) = (flat::encode(&spec), flat::encode(&status));
            let (spec, status) = (Ref::new(&spec), Ref::new(&status));
            (pod_requests(spec, status).0.cpu, is_resizing(spec, status))
        };
        assert_eq!(count("1", "1", "Deferred"), (2000, true));
        assert_eq!(count("1", "3", "Deferred"), (3000, true));
        assert_eq!(count("1", "1", "Infeasible"), (1000, true));
        assert_eq!(count("2", "2", ""), (2000, false));
    }
}
