//! Making one container: image, configuration, creation, start, hooks; and its end.
//!
//! Upstream counterpart: `kuberuntime_container.go` and `images/image_manager.go`.

use crate::{
    context::Context,
    environment::{self, Downward, expand},
    limits::{container_limits, oom_score, security},
    spec::{ContainerSpec, PodSpec},
    volumes::HOSTS_VOLUME,
    worker::{Ready, StartError, remaining},
};
use env::{ContainerConfig, Mount, Probe, RegistryAuth, RuntimeError, VolumeSource};
use machinery::{Object, Ref, SmolStr};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

/// Where a container leaves its last word unless its pod says otherwise.
const TERMINATION_LOG: &str = "/dev/termination-log";
/// Delay before a container that could not be stopped is tried again.
const STOP_RETRY: Duration = Duration::from_secs(1);

/// A pod as activities about it need it.
#[derive(Clone)]
pub struct PodContext {
    pub context: Context,
    pub pod: Arc<Object>,
    pub spec: Arc<PodSpec>,
    pub ready: Arc<Ready>,
}

impl PodContext {
    /// What the downward API shows.
    pub fn downward(&self) -> Downward<'_> {
        Downward {
            pod: &self.pod,
            node: &self.context.config.node_name,
            hosts: &self.context.config.internal_ips,
            ips: &self.ready.ips,
            allocatable: &self.context.config.capacity,
        }
    }

    fn address(&self) -> IpAddr {
        let own = self
            .ready
            .ips
            .first()
            .or(self.context.config.internal_ips.first());
        own.copied().unwrap_or(IpAddr::from([127, 0, 0, 1]))
    }

    async fn event(&self, container: &ContainerSpec, warning: bool, reason: &str, message: String) {
        self.say(&container.field_path(), warning, reason, message)
            .await;
    }

    async fn say(&self, field: &str, warning: bool, reason: &str, message: String) {
        self.context
            .event(&self.pod, field, warning, (reason, message))
            .await;
    }
}

/// An image that a container or a volume needs.
struct Needed<'a> {
    image: &'a str,
    policy: Option<&'a str>,
    /// What events are about, within the pod.
    field: String,
}

impl<'a> Needed<'a> {
    fn by(pod: &'a PodContext, container: &'a ContainerSpec) -> Self {
        Self {
            image: &container.image,
            policy: container.raw(&pod.pod).get("imagePullPolicy").as_str(),
            field: container.field_path(),
        }
    }

    /// The policy that holds where none is given follows from the tag.
    fn policy(&self) -> &str {
        let tail = self.image.rsplit('/').next().unwrap_or(self.image);
        let latest = !tail.contains([':', '@']) || tail.ends_with(":latest");
        let default = if latest { "Always" } else { "IfNotPresent" };
        self.policy.unwrap_or(default)
    }
}

/// Fetches the images that a container mounts as volumes; their paths by volume.
async fn image_volumes(
    pod: &PodContext,
    container: &ContainerSpec,
) -> Result<BTreeMap<String, String>, StartError> {
    let mut paths = BTreeMap::new();
    let mounts = container.raw(&pod.pod).get("volumeMounts");
    for volume in pod.pod.at("spec.volumes").items() {
        let (name, source) = (volume.get("name").str(), volume.get("image"));
        let mounted = mounts.items().any(|mount| mount.get("name").str() == name);
        if source.is_null() || !mounted {
            continue;
        }
        let needed = Needed {
            image: source.get("reference").str(),
            policy: source.get("pullPolicy").as_str(),
            field: String::new(),
        };
        ensure_image(pod, &needed).await?;
        let reference = needed.image.to_owned();
        let files = VolumeSource::Image { reference };
        let (containers, uid) = (&pod.context.containers, pod.pod.uid());
        let prepared = containers.prepare_volume(uid, name, &files, None).await;
        let failed = |error: RuntimeError| failure("CreateContainerError", error.message);
        paths.insert(name.to_owned(), prepared.map_err(failed)?);
    }
    Ok(paths)
}

fn failure(reason: &str, message: impl Into<String>) -> StartError {
    StartError {
        reason: reason.into(),
        message: message.into(),
        image: None,
    }
}

/// Fetches the image if its policy says so, creates the container and starts it.
pub async fn start(
    pod: &PodContext,
    container: &ContainerSpec,
    attempt: u32,
) -> Result<(), StartError> {
    let images = image_volumes(pod, container).await?;
    ensure_image(pod, &Needed::by(pod, container)).await?;
    let config = match configure(pod, container, (attempt, &images)).await {
        Ok(config) => config,
        Err(message) => {
            pod.event(container, true, "Failed", format!("Error: {message}"))
                .await;
            return Err(failure("CreateContainerConfigError", message));
        }
    };
    let containers = &pod.context.containers;
    let id = match containers.create(&pod.ready.sandbox, &config).await {
        Ok(id) => id,
        Err(error) => {
            pod.event(
                container,
                true,
                "Failed",
                format!("Error: {}", error.message),
            )
            .await;
            let reason = if error.reason.is_empty() {
                "CreateContainerError"
            } else {
                error.reason
            };
            return Err(failure(reason, error.message));
        }
    };
    pod.event(container, false, "Created", "Container created".into())
        .await;
    if let Err(error) = containers.start(&id).await {
        pod.event(
            container,
            true,
            "Failed",
            format!("Error: {}", error.message),
        )
        .await;
        let reason = if error.reason.is_empty() {
            "RunContainerError"
        } else {
            error.reason
        };
        return Err(failure(reason, error.message));
    }
    pod.event(container, false, "Started", "Container started".into())
        .await;
    post_start(pod, container, &id).await
}

async fn post_start(
    pod: &PodContext,
    container: &ContainerSpec,
    id: &str,
) -> Result<(), StartError> {
    let hook = container.raw(&pod.pod).at("lifecycle.postStart");
    if hook.is_null() {
        return Ok(());
    }
    let Err(message) = run_hook(pod, container, (hook, id), Duration::from_secs(3600)).await else {
        return Ok(());
    };
    let text = format!("PostStartHook failed: {message}");
    pod.event(container, true, "FailedPostStartHook", text.clone())
        .await;
    pod.event(container, false, "Killing", "FailedPostStartHook".into())
        .await;
    let grace = Duration::from_secs(pod.spec.grace.max(0) as u64);
    // The container is gone or going; its end is observed either way.
    let _ = pod.context.containers.stop(id, grace).await;
    Err(failure("PostStartHookError", text))
}

/// Runs a lifecycle hook; the error is a sentence.
async fn run_hook(
    pod: &PodContext,
    container: &ContainerSpec,
    (hook, id): (Ref<'_>, &str),
    timeout: Duration,
) -> Result<(), String> {
    let sleep = hook.at("sleep.seconds").i64();
    if sleep > 0 {
        pod.context
            .world
            .sleep(Duration::from_secs(sleep as u64).min(timeout))
            .await;
        return Ok(());
    }
    let exec = hook.get("exec");
    if !exec.is_null() {
        let command: Vec<String> = exec
            .get("command")
            .items()
            .map(|word| word.str().into())
            .collect();
        let output = pod
            .context
            .containers
            .exec_sync(id, &command, timeout)
            .await;
        let output = output.map_err(|error| error.message)?;
        return match output.exit_code {
            0 => Ok(()),
            code => Err(format!(
                "command '{}' exited with {code}: {}",
                command.join(" "),
                String::from_utf8_lossy(&output.stderr)
            )),
        };
    }
    match action(pod, container, hook, id) {
        Some(probe) => pod.context.containers.probe(&probe, timeout).await,
        None => Ok(()),
    }
}

/// Runs a probe; the error is its output.
pub async fn probe(
    pod: &PodContext,
    container: &ContainerSpec,
    (field, id): (&str, &str),
    timeout: Duration,
) -> Result<(), String> {
    let raw = container.raw(&pod.pod).get(field);
    match action(pod, container, raw, id) {
        Some(probe) => pod.context.containers.probe(&probe, timeout).await,
        None => Err("missing probe handler".into()),
    }
}

/// A port given by number or by the name of a container port.
fn port(container: Ref<'_>, port: Ref<'_>) -> u16 {
    let number = |port: Ref<'_>| u16::try_from(port.i64()).unwrap_or_default();
    let Some(name) = port.as_str() else {
        return number(port);
    };
    let mut ports = container.get("ports").items();
    let named = ports.find(|one| one.get("name").str() == name);
    named.map_or_else(
        || name.parse().unwrap_or_default(),
        |one| number(one.get("containerPort")),
    )
}

fn action(pod: &PodContext, container: &ContainerSpec, raw: Ref<'_>, id: &str) -> Option<Probe> {
    let spec = container.raw(&pod.pod);
    let host = |source: Ref<'_>| {
        source
            .get("host")
            .str()
            .parse()
            .unwrap_or_else(|_| pod.address())
    };
    let has = |kind: &str| Some(raw.get(kind)).filter(|source| !source.is_null());
    if let Some(http) = has("httpGet") {
        let header = |one: Ref<'_>| (one.get("name").str().into(), one.get("value").str().into());
        let path = http
            .get("path")
            .as_str()
            .filter(|path| !path.is_empty())
            .unwrap_or("/");
        return Some(Probe::Http {
            host: host(http),
            port: port(spec, http.get("port")),
            path: if path.starts_with('/') {
                path.into()
            } else {
                format!("/{path}")
            },
            https: http.get("scheme").str() == "HTTPS",
            headers: http.get("httpHeaders").items().map(header).collect(),
        });
    }
    if let Some(tcp) = has("tcpSocket") {
        return Some(Probe::Tcp {
            host: host(tcp),
            port: port(spec, tcp.get("port")),
        });
    }
    if let Some(grpc) = has("grpc") {
        let service = grpc.get("service").str().into();
        return Some(Probe::Grpc {
            host: pod.address(),
            port: port(spec, grpc.get("port")),
            service,
        });
    }
    let exec = has("exec")?;
    let command = exec
        .get("command")
        .items()
        .map(|word| word.str().into())
        .collect();
    Some(Probe::Exec {
        container_id: id.into(),
        command,
    })
}

/// Whether a name could be an image's.
fn valid_image(image: &str) -> bool {
    let name = image.split('@').next().unwrap_or(image);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:[]".contains(&byte);
    let (path, _) = name
        .rsplit_once(':')
        .filter(|(_, tag)| !tag.contains('/'))
        .unwrap_or((name, ""));
    let repository = path.split_once('/').map_or(path, |(_, rest)| rest);
    !name.is_empty()
        && name.bytes().all(allowed)
        && !name.ends_with(['/', ':', '-', '.'])
        && !repository.bytes().any(|byte| byte.is_ascii_uppercase())
}

async fn ensure_image(pod: &PodContext, needed: &Needed<'_>) -> Result<(), StartError> {
    let (image, context) = (needed.image, &pod.context);
    if !valid_image(image) {
        let message = format!(
            "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": invalid reference format"
        );
        pod.say(&needed.field, true, "InspectFailed", message.clone())
            .await;
        return Err(failure("InvalidImageName", message));
    }
    let policy = needed.policy();
    let present = context.containers.image(image).await;
    let present = present.map_err(|error| failure("ImageInspectError", error.message))?;
    if policy != "Always" && present.is_some() {
        let text = format!("Container image \"{image}\" already present on machine");
        pod.say(&needed.field, false, "Pulled", text).await;
        return Ok(());
    }
    if policy == "Never" {
        let message =
            format!("Container image \"{image}\" is not present with pull policy of Never");
        pod.say(&needed.field, true, "ErrImageNeverPull", message.clone())
            .await;
        return Err(failure("ErrImageNeverPull", message));
    }
    pull(pod, needed).await
}

async fn pull(pod: &PodContext, needed: &Needed<'_>) -> Result<(), StartError> {
    let (image, field, context) = (needed.image, &needed.field, &pod.context);
    pod.say(
        field,
        false,
        "Pulling",
        format!("Pulling image \"{image}\""),
    )
    .await;
    let begun = context.world.now();
    let auth = credentials(pod, image).await;
    match context.containers.pull(image, &auth).await {
        Ok(info) => {
            let took = context.world.now().since(begun).as_millis();
            let text = format!(
                "Successfully pulled image \"{image}\" in {took}ms ({took}ms including waiting). Image size: {} bytes.",
                info.size
            );
            pod.say(field, false, "Pulled", text).await;
            Ok(())
        }
        Err(error) => {
            let text = format!("Failed to pull image \"{image}\": {}", error.message);
            pod.say(field, true, "Failed", text).await;
            pod.say(field, true, "Failed", "Error: ErrImagePull".into())
                .await;
            Err(StartError {
                image: Some(image.into()),
                ..failure("ErrImagePull", error.message)
            })
        }
    }
}

/// The registry part of an image name.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

async fn credentials(pod: &PodContext, image: &str) -> Vec<RegistryAuth> {
    let (context, registry) = (&pod.context, registry(image));
    let mut found = Vec::new();
    for reference in pod.pod.at("spec.imagePullSecrets").items() {
        let name = reference.get("name").str();
        // A pull secret that is missing is as good as none: the pull says what failed.
        let Ok(secret) = context.api.get("secrets", pod.pod.namespace(), name).await else {
            continue;
        };
        found.extend(
            environment::entries(&secret)
                .values()
                .flat_map(|bytes| docker_auths(bytes, registry)),
        );
    }
    for (prefix, username, password) in &context.config.registry_auth {
        if image.starts_with(prefix) || registry == prefix {
            found.push(RegistryAuth {
                username: username.clone(),
                password: password.clone(),
            });
        }
    }
    found
}

/// Credentials for `registry` in a `.dockerconfigjson` or `.dockercfg`.
fn docker_auths(bytes: &[u8], registry: &str) -> Vec<RegistryAuth> {
    let Ok(config) = serde_json::from_slice::<machinery::Value>(bytes) else {
        return Vec::new();
    };
    let auths = if config["auths"].is_null() {
        &config
    } else {
        &config["auths"]
    };
    let host = |name: &str| {
        let name = name
            .trim_start_matches("https://")
            .trim_start_matches("http://");
        let host = name.split('/').next().unwrap_or(name).to_owned();
        if host == "index.docker.io" {
            "docker.io".to_owned()
        } else {
            host
        }
    };
    let read = |entry: &machinery::Value| {
        let decoded = entry["auth"].as_str().and_then(crate::base64::decode);
        let pair = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        let (username, password) = match pair.as_deref().and_then(|pair| pair.split_once(':')) {
            Some((username, password)) => (username.to_owned(), password.to_owned()),
            None => (
                entry["username"].str().into(),
                entry["password"].str().into(),
            ),
        };
        RegistryAuth { username, password }
    };
    auths
        .entries()
        .filter(|(name, _)| host(name) == registry)
        .map(|(_, entry)| read(entry))
        .collect()
}

async fn configure(
    pod: &PodContext,
    container: &ContainerSpec,
    (attempt, images): (u32, &BTreeMap<String, String>),
) -> Result<ContainerConfig, String> {
    let raw = container.raw(&pod.pod);
    let downward = pod.downward();
    let env = environment::build(&pod.context, &downward, raw).await?;
    let values: BTreeMap<String, String> = env.iter().cloned().collect();
    let words = |field: &str| {
        raw.get(field)
            .items()
            .map(|word| expand(word.str(), &values))
            .collect()
    };
    Ok(ContainerConfig {
        name: container.name.to_string(),
        attempt,
        image: container.image.to_string(),
        command: words("command"),
        args: words("args"),
        working_dir: raw.get("workingDir").str().into(),
        mounts: mounts(pod, raw, (&values, images))?,
        env,
        stdin: raw.get("stdin").is_true(),
        stdin_once: raw.get("stdinOnce").is_true(),
        tty: raw.get("tty").is_true(),
        security: security(
            pod.pod.at("spec.securityContext"),
            raw.get("securityContext"),
        )?,
        limits: container_limits(&pod.pod, raw),
        oom_score_adj: oom_score(&pod.pod, raw, &pod.context.config.capacity),
        log_speaks: raw.get("terminationMessagePolicy").str() == "FallbackToLogsOnError",
    })
}

fn mounts(
    pod: &PodContext,
    raw: Ref<'_>,
    (values, images): (&BTreeMap<String, String>, &BTreeMap<String, String>),
) -> Result<Vec<Mount>, String> {
    let mut mounts = Vec::new();
    for mount in raw.get("volumeMounts").items() {
        let name = mount.get("name").str();
        let image = images.get(name);
        let path = image.or_else(|| pod.ready.volumes.get(name));
        let expression = mount.get("subPathExpr").str();
        let sub_path = if expression.is_empty() {
            mount.get("subPath").str().to_owned()
        } else {
            expand(expression, values)
        };
        if sub_path.starts_with('/') || sub_path.split('/').any(|part| part == "..") {
            return Err(format!(
                "subPath {sub_path:?} must be relative and must not contain '..'"
            ));
        }
        mounts.push(Mount {
            container_path: mount.get("mountPath").str().into(),
            host_path: path
                .cloned()
                .ok_or_else(|| format!("volume {name:?} is not mounted"))?,
            sub_path,
            read_only: image.is_some() || mount.get("readOnly").is_true(),
        });
    }
    let last_word = raw.get("terminationMessagePath").str();
    if !["", TERMINATION_LOG].contains(&last_word) {
        // A mount of nothing is the file for the last word, at a place of its own.
        mounts.push(Mount {
            container_path: last_word.into(),
            ..Mount::default()
        });
    }
    let own = mounts
        .iter()
        .any(|mount| mount.container_path == "/etc/hosts");
    if let Some(path) = pod.ready.volumes.get(HOSTS_VOLUME).filter(|_| !own) {
        mounts.push(Mount {
            container_path: "/etc/hosts".into(),
            host_path: path.clone(),
            sub_path: "hosts".into(),
            read_only: false,
        });
    }
    Ok(mounts)
}

/// Stops one container: event, preStop hook within the grace, then the signals.
pub async fn kill(
    pod: &PodContext,
    (name, id): (&SmolStr, &str),
    (message, grace): (String, i64),
    hooks: bool,
) {
    let context = &pod.context;
    let begun = context.world.now();
    let container = pod
        .spec
        .containers
        .iter()
        .find(|container| container.name == *name);
    if let Some(container) = container.filter(|_| hooks) {
        pod.event(container, false, "Killing", message).await;
        let hook = container.raw(&pod.pod).at("lifecycle.preStop");
        if !hook.is_null() && grace > 0 {
            let limit = Duration::from_secs(grace as u64);
            let run = run_hook(pod, container, (hook, id), limit);
            let ended = futures::future::select(Box::pin(run), context.world.sleep(limit)).await;
            if let futures::future::Either::Left((Err(message), _)) = ended {
                let text = format!("PreStopHook failed: {message}");
                pod.event(container, true, "FailedPreStopHook", text).await;
            }
        }
    }
    let left = remaining(grace, context.world.now().since(begun));
    if context.containers.stop(id, left).await.is_err() {
        // Whether it runs is seen by observing; another try must not follow at once.
        context.world.sleep(STOP_RETRY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_names() {
        for (image, wanted) in [
            ("nginx", true),
            ("a.b:5000/x/y:1", true),
            ("x@sha256:abc", true),
            ("", false),
            ("Nginx!", false),
            ("x:", false),
            ("a/B", false),
            ("A.example/b", true),
        ] {
            assert_eq!(valid_image(image), wanted, "{image}");
        }
        assert_eq!(
            [registry("x/y"), registry("q.io/y"), registry("nginx")],
            ["docker.io", "q.io", "docker.io"]
        );
    }
}
