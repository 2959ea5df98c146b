//! Volumes of a pod: what they contain now, made available on the node.
//!
//! Upstream counterpart: `pkg/volume` and the kubelet's volume manager.

use crate::{
    context::Context,
    environment::{Downward, entries, fetch},
};
use env::VolumeSource;
use machinery::{Object, Quantity, Ref, Status, json, parse_time};
use reconcile::{Action, Target};
use std::{collections::BTreeMap, time::Duration};

type Files = BTreeMap<String, (Vec<u8>, u32)>;

const DEFAULT_MODE: i64 = 0o644;
/// Lifetime of projected tokens that do not say, seconds.
const TOKEN_SECONDS: i64 = 3600;
/// Name of the volume that holds the pod's hosts file.
pub const HOSTS_VOLUME: &str = "xebec-etc-hosts";

/// A token that was asked for, and when to ask for the next.
#[derive(Clone, Debug)]
pub struct Token {
    text: String,
    renew_at: env::Time,
}

/// Whether a volume's content can change while the pod runs.
pub fn refreshes(volume: Ref<'_>) -> bool {
    ["configMap", "secret", "projected", "downwardAPI"]
        .iter()
        .any(|kind| !volume.get(kind).is_null())
}

/// Makes one volume of a pod available and returns its path on the node.
pub async fn prepare(
    context: &Context,
    downward: &Downward<'_>,
    volume: Ref<'_>,
) -> Result<String, String> {
    let source = source(context, downward, volume).await?;
    let pod = downward.pod;
    let group = pod.at("spec.securityContext.fsGroup").as_i64();
    let name = volume.get("name").str();
    let prepared = context
        .containers
        .prepare_volume(pod.uid(), name, &source, group)
        .await;
    prepared.map_err(|error| error.message)
}

async fn source(
    context: &Context,
    downward: &Downward<'_>,
    volume: Ref<'_>,
) -> Result<VolumeSource, String> {
    let has = |kind: &str| Some(volume.get(kind)).filter(|source| !source.is_null());
    if let Some(empty) = has("emptyDir") {
        let limit = empty.get("sizeLimit").str().parse::<Quantity>().ok();
        let size_limit = limit
            .map(|limit| limit.units() as u64)
            .filter(|limit| *limit > 0);
        let memory = empty.get("medium").str() == "Memory";
        return Ok(VolumeSource::EmptyDir { memory, size_limit });
    }
    if let Some(host) = has("hostPath") {
        let (path, kind) = (host.get("path").str().into(), host.get("type").str().into());
        return Ok(VolumeSource::HostPath { path, kind });
    }
    if let Some(claim) = has("persistentVolumeClaim") {
        return claimed(context, downward.pod, claim.get("claimName").str()).await;
    }
    if has("ephemeral").is_some() {
        let claim = format!("{}-{}", downward.pod.name(), volume.get("name").str());
        return claimed(context, downward.pod, &claim).await;
    }
    let mut files = Files::new();
    for kind in ["configMap", "secret", "downwardAPI"] {
        if let Some(source) = has(kind) {
            let mode = source.get("defaultMode").as_i64().unwrap_or(DEFAULT_MODE);
            add(context, downward, (kind, source, mode), &mut files).await?;
            return Ok(VolumeSource::Files { files });
        }
    }
    let Some(projected) = has("projected") else {
        let kinds: Vec<_> = volume
            .entries()
            .map(|(kind, _)| kind)
            .filter(|kind| *kind != "name")
            .collect();
        return Err(format!(
            "volume type {} is not supported on this node",
            kinds.join(", ")
        ));
    };
    let mode = projected
        .get("defaultMode")
        .as_i64()
        .unwrap_or(DEFAULT_MODE);
    for source in projected.get("sources").items() {
        for (kind, source) in source.entries() {
            add(context, downward, (kind, source, mode), &mut files).await?;
        }
    }
    Ok(VolumeSource::Files { files })
}

/// Adds the files of one source.
async fn add(
    context: &Context,
    downward: &Downward<'_>,
    (kind, source, mode): (&str, Ref<'_>, i64),
    files: &mut Files,
) -> Result<(), String> {
    match kind {
        "configMap" => {
            keyed(
                context,
                downward.pod,
                ("configmaps", "name"),
                (source, mode),
                files,
            )
            .await
        }
        "secret" => {
            let field = if source.get("secretName").is_null() {
                "name"
            } else {
                "secretName"
            };
            keyed(
                context,
                downward.pod,
                ("secrets", field),
                (source, mode),
                files,
            )
            .await
        }
        "downwardAPI" => described(downward, source, mode, files),
        "serviceAccountToken" => {
            let token = token(context, downward.pod, source).await?;
            files.insert(
                source.get("path").str().into(),
                (token.into_bytes(), mode as u32),
            );
            Ok(())
        }
        other => Err(format!(
            "projected volume source {other} is not supported on this node"
        )),
    }
}

async fn keyed(
    context: &Context,
    pod: &Object,
    (resource, name): (&str, &str),
    (source, mode): (Ref<'_>, i64),
    files: &mut Files,
) -> Result<(), String> {
    let optional = source.get("optional").is_true();
    let name = source.get(name).str();
    let Some(object) = fetch(context, (resource, pod.namespace(), name), optional).await? else {
        return Ok(());
    };
    let mut content = entries(&object);
    if source.get("items").is_null() {
        files.extend(
            content
                .into_iter()
                .map(|(key, bytes)| (key, (bytes, mode as u32))),
        );
        return Ok(());
    }
    for item in source.get("items").items() {
        let key = item.get("key").str();
        let mode = item.get("mode").as_i64().unwrap_or(mode) as u32;
        match content.remove(key) {
            Some(bytes) => drop(files.insert(item.get("path").str().into(), (bytes, mode))),
            None if optional => {}
            None => {
                return Err(format!(
                    "references non-existent {} key: {key}",
                    resource.trim_end_matches('s')
                ));
            }
        }
    }
    Ok(())
}

fn described(
    downward: &Downward<'_>,
    source: Ref<'_>,
    mode: i64,
    files: &mut Files,
) -> Result<(), String> {
    for item in source.get("items").items() {
        let (field, resource) = (item.get("fieldRef"), item.get("resourceFieldRef"));
        let text = if field.is_null() {
            downward.resource(resource, Ref::MISSING)?
        } else {
            downward.field(field.get("fieldPath").str())?
        };
        let mode = item.get("mode").as_i64().unwrap_or(mode) as u32;
        files.insert(item.get("path").str().into(), (text.into_bytes(), mode));
    }
    Ok(())
}

/// A service account token bound to the pod, renewed when four fifths of its life are over.
async fn token(context: &Context, pod: &Object, source: Ref<'_>) -> Result<String, String> {
    let key = (
        pod.uid().to_owned(),
        source.get("audience").str().to_owned(),
    );
    let now = context.world.now();
    let known = context
        .tokens
        .lock()
        .expect("no holder panics")
        .get(&key)
        .cloned();
    if let Some(known) = known.filter(|known| known.renew_at > now) {
        return Ok(known.text);
    }
    let seconds = source
        .get("expirationSeconds")
        .as_i64()
        .unwrap_or(TOKEN_SECONDS);
    let mut request = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"expirationSeconds": seconds, "boundObjectRef": {
            "apiVersion": "v1", "kind": "Pod", "name": pod.name(), "uid": pod.uid()}},
    });
    if let Some(audience) = source.get("audience").as_str() {
        request["spec"]["audiences"] = json!([audience]);
    }
    let account = pod
        .at("spec.serviceAccountName")
        .as_str()
        .unwrap_or("default");
    let action = Action::Create {
        target: Target::new("serviceaccounts", pod.namespace(), account),
        subresource: "token",
        object: request,
        existing_is_fine: false,
    };
    let message = |status: Status| format!("failed to fetch token: {}", status.message());
    let made = context.api.perform(action).await.map_err(message)?;
    let text = made["status"]["token"].str().to_owned();
    let expires = parse_time(made["status"]["expirationTimestamp"].str());
    let life = expires.map_or(Duration::from_secs(seconds as u64), |at| {
        env::Time(at).since(now)
    });
    let token = Token {
        text: text.clone(),
        renew_at: now + life * 4 / 5,
    };
    context
        .tokens
        .lock()
        .expect("no holder panics")
        .insert(key, token);
    Ok(text)
}

/// The directory behind a bound claim.
async fn claimed(context: &Context, pod: &Object, name: &str) -> Result<VolumeSource, String> {
    let message = |status: Status| status.message().to_owned();
    let claim = context
        .api
        .get("persistentvolumeclaims", pod.namespace(), name)
        .await
        .map_err(message)?;
    let volume = claim.at("spec.volumeName").str();
    if volume.is_empty() || claim.at("status.phase").str() != "Bound" {
        return Err(format!("PVC {}/{name} is not bound", pod.namespace()));
    }
    let volume = context
        .api
        .get("persistentvolumes", "", volume)
        .await
        .map_err(message)?;
    let spec = volume.at("spec");
    let paths = [
        spec.at("local.path"),
        spec.at("hostPath.path"),
        spec.at("csi.volumeAttributes.path"),
        spec.at("csi.volumeHandle"),
    ];
    let path = paths
        .into_iter()
        .find_map(Ref::as_str)
        .filter(|path| path.starts_with('/'));
    let path = path.ok_or_else(|| {
        format!(
            "persistent volume {} has no directory this node can use",
            volume.name()
        )
    })?;
    Ok(VolumeSource::Directory { path: path.into() })
}

/// The pod's /etc/hosts, as the kubelet manages it.
pub fn hosts_file(pod: &Object, ips: &[std::net::IpAddr], domain: &str) -> VolumeSource {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nfe00::\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    let (host, full) = crate::dns::host_names(pod, domain);
    for ip in ips {
        let full = if full.is_empty() {
            String::new()
        } else {
            format!("{full}\t")
        };
        text.push_str(&format!("{ip}\t{full}{host}\n"));
    }
    let aliases = pod.at("spec.hostAliases");
    if aliases.items().next().is_some() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases.items() {
        let names: Vec<_> = alias.get("hostnames").items().map(Ref::str).collect();
        text.push_str(&format!(
            "{}\t{}\n",
            alias.get("ip").str(),
            names.join("\t")
        ));
    }
    VolumeSource::Files {
        files: BTreeMap::from([("hosts".into(), (text.into_bytes(), 0o644))]),
    }
}
