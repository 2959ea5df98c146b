//! Defaults of pods and what they are made of. Upstream counterpart: `pkg/apis/core/v1/defaults.go`.

use super::{Rows, fill, member, set, text};
use machinery::{Map, Quantity, Value};

/// Octal 0644: the mode of files in secret, config map and projected volumes.
const FILE_MODE: i64 = 0o644;

pub(super) const ROWS: Rows = &[
    ("core.v1.Pod", pod),
    ("core.v1.PodSpec", pod_spec),
    ("core.v1.Container", container),
    ("core.v1.EphemeralContainer", container),
    ("core.v1.Probe", probe),
    ("core.v1.HTTPGetAction", |action| {
        fill(action, "path", "/");
        fill(action, "scheme", "HTTP");
    }),
    ("core.v1.GRPCAction", |action| set(action, "service", "")),
    ("core.v1.Volume", volume),
    ("core.v1.SecretVolumeSource", file_mode),
    ("core.v1.ConfigMapVolumeSource", file_mode),
    ("core.v1.DownwardAPIVolumeSource", file_mode),
    ("core.v1.ProjectedVolumeSource", file_mode),
    ("core.v1.HostPathVolumeSource", |source| {
        set(source, "type", "")
    }),
    ("core.v1.AzureDiskVolumeSource", |source| {
        set(source, "readOnly", false)
    }),
    ("core.v1.ServiceAccountTokenProjection", |source| {
        set(source, "expirationSeconds", 3_600_i64)
    }),
    ("core.v1.ObjectFieldSelector", |source| {
        fill(source, "apiVersion", "v1")
    }),
];

fn file_mode(source: &mut Map) {
    set(source, "defaultMode", FILE_MODE);
}

fn pod(pod: &mut Map) {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    set(spec, "enableServiceLinks", true);
    let host_network = spec.get("hostNetwork").and_then(Value::as_bool) == Some(true);
    for list in ["containers", "initContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
        {
            requests_from_limits(container);
            if host_network {
                host_ports(container);
            }
        }
    }
    whole_requests(spec);
}

/// What a pod as a whole requests where it only says limits: what its containers request
/// together, else all.
fn whole_requests(spec: &mut Map) {
    let requests: Vec<Value> = spec
        .get("containers")
        .map_or(&[][..], Value::items)
        .iter()
        .map(|one| one.at(&["resources", "requests"]).clone())
        .collect();
    let Some(resources) = spec.get_mut("resources") else {
        return;
    };
    let limits = resources["limits"].clone();
    let counted = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with("hugepages-");
    for (name, limit) in limits.entries().filter(|(name, _)| counted(name)) {
        let amounts = requests.iter().map(|list| {
            let text = crate::check::text_of(&list[name.as_str()]);
            text.parse::<Quantity>().unwrap_or_default()
        });
        let sum = amounts.fold(Quantity::default(), |sum, one| sum + one);
        let wanted = match sum.is_zero() {
            true => limit.clone(),
            false => sum.to_string().into(),
        };
        resources.object_at(&["requests"]).entry_or(name, || wanted);
    }
}

/// What is limited and not requested is requested in full.
fn requests_from_limits(container: &mut Map) {
    let Some(resources) = container.get_mut("resources") else {
        return;
    };
    let limits = resources["limits"].clone();
    let Some(limits) = limits.as_object().filter(|limits| !limits.is_empty()) else {
        return;
    };
    let requests = resources.object_at(&["requests"]);
    for (name, limit) in limits.iter() {
        requests.entry_or(name, || limit.clone());
    }
}

fn host_ports(container: &mut Map) {
    let ports = container.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        if let Some(number) = port.get("containerPort").and_then(Value::as_i64) {
            fill(port, "hostPort", number);
        }
    }
}

fn pod_spec(spec: &mut Map) {
    fill(spec, "dnsPolicy", "ClusterFirst");
    fill(spec, "restartPolicy", "Always");
    set(spec, "securityContext", Value::object());
    set(spec, "terminationGracePeriodSeconds", 30_i64);
    fill(spec, "schedulerName", "default-scheduler");
    let account = SERVICE_ACCOUNT_FIELDS.map(|field| text(spec, field).to_owned());
    let [current, old] = account;
    match (current.is_empty(), old.is_empty()) {
        (false, _) if current != old => {
            spec.insert("serviceAccount", current);
        }
        (true, false) => {
            spec.insert("serviceAccountName", old);
        }
        _ => {}
    }
}

/// The field and its older name, kept in step.
const SERVICE_ACCOUNT_FIELDS: [&str; 2] = ["serviceAccountName", "serviceAccount"];

fn container(container: &mut Map) {
    let policy = pull_policy(text(container, "image"));
    fill(container, "imagePullPolicy", policy);
    fill(container, "terminationMessagePath", "/dev/termination-log");
    fill(container, "terminationMessagePolicy", "File");
    set(container, "resources", Value::object());
}

/// `Always` for what can change under its name: the tag `latest`, said or implied.
fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn probe(probe: &mut Map) {
    fill(probe, "timeoutSeconds", 1_i64);
    fill(probe, "periodSeconds", 10_i64);
    fill(probe, "successThreshold", 1_i64);
    fill(probe, "failureThreshold", 3_i64);
}

fn volume(volume: &mut Map) {
    let has_source = volume
        .iter()
        .any(|(key, value)| key != "name" && !value.is_null());
    if !has_source {
        volume.insert("emptyDir", Value::object());
    }
    if volume.contains_key("image") {
        let image = member(volume, "image");
        let policy = pull_policy(text(image, "reference"));
        fill(image, "pullPolicy", policy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulls_what_may_change() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.29", "IfNotPresent"),
            ("host:5000/nginx", "Always"),
            ("host:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:00", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
