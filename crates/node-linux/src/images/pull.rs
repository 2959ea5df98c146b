//! Pulls images from registries. Upstream counterpart: containerd's `remotes/docker`.

use super::{ConfigFile, Image, ImageStore, Reference, layer};
use env::{RegistryAuth, RuntimeError, RuntimeResult};
use futures::StreamExt;
use oci_client::{
    Client,
    client::{ClientConfig, ClientProtocol},
    errors::{OciDistributionError, OciErrorCode},
    manifest::{OciDescriptor, OciImageManifest},
    secrets,
};
use std::{
    error::Error,
    fs::File,
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

/// Longest silence of a registry before a pull is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Pulls an image, trying the credentials in order, then none.
pub async fn pull(
    store: &ImageStore,
    reference: &str,
    auth: &[RegistryAuth],
) -> RuntimeResult<Image> {
    let name = Reference::parse(reference)
        .map_err(|message| RuntimeError::new("InvalidImageName", message))?;
    let basic = |auth: &RegistryAuth| {
        secrets::RegistryAuth::Basic(auth.username.clone(), auth.password.clone())
    };
    let attempts = auth
        .iter()
        .map(basic)
        .chain([secrets::RegistryAuth::Anonymous]);
    let mut last = RuntimeError::new("ErrImagePull", "no attempt was made");
    for credentials in attempts {
        match attempt(store, &name, &credentials).await {
            Ok(image) => return Ok(image),
            Err(error) => last = RuntimeError::new("ErrImagePull", error),
        }
    }
    Err(last)
}

async fn attempt(
    store: &ImageStore,
    name: &Reference,
    auth: &secrets::RegistryAuth,
) -> Result<Image, String> {
    let failed = |what: String| format!("failed to pull and unpack image \"{name}\": {what}");
    let client = client(name).map_err(&failed)?;
    let remote = name.to_string().parse::<oci_client::Reference>();
    let remote = remote.map_err(|error| failed(error.to_string()))?;
    let (manifest, digest, config) = client
        .pull_manifest_and_config(&remote, auth)
        .await
        .map_err(|error| {
            failed(format!(
                "failed to resolve reference \"{name}\": {}",
                explain(name, &error)
            ))
        })?;
    let fetched = fetch(store, &client, &remote, &manifest, &config).await;
    let layers = fetched.map_err(|error| failed(error.to_string()))?;
    let tags = name
        .tag
        .iter()
        .map(|tag| format!("{}:{tag}", name.name()))
        .collect();
    let mut digests = vec![format!("{}@{digest}", name.name())];
    let asked = name
        .digest
        .iter()
        .map(|digest| format!("{}@{digest}", name.name()));
    super::merge(&mut digests, asked.collect());
    let recorded = store.record(config.as_bytes(), tags, digests, layers);
    recorded.map_err(|error| failed(error.to_string()))
}

/// A client that speaks plain HTTP to registries on this machine only.
fn client(name: &Reference) -> Result<Client, String> {
    // Somebody else may have installed the process's TLS provider; any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let host = name.registry.split(':').next().unwrap_or_default();
    let local = host == "localhost" || host.starts_with("127.");
    let config = ClientConfig {
        protocol: if local {
            ClientProtocol::Http
        } else {
            ClientProtocol::Https
        },
        read_timeout: Some(READ_TIMEOUT),
        connect_timeout: Some(CONNECT_TIMEOUT),
        user_agent: concat!("xebec/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    };
    Client::try_from(config).map_err(|error| error.to_string())
}

fn explain(name: &Reference, error: &OciDistributionError) -> String {
    let absent = [
        OciErrorCode::ManifestUnknown,
        OciErrorCode::NotFound,
        OciErrorCode::NameUnknown,
    ];
    let not_found = match error {
        OciDistributionError::ImageManifestNotFoundError(_)
        | OciDistributionError::ServerError { code: 404, .. } => true,
        OciDistributionError::RegistryError { envelope, .. } => envelope
            .errors
            .iter()
            .any(|error| absent.contains(&error.code)),
        _ => false,
    };
    if not_found {
        return format!("{name}: not found");
    }
    if let OciDistributionError::UnauthorizedError { .. } = error {
        return "pull access denied, repository does not exist or may require authorization: \
                authorization failed"
            .to_owned();
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    format!("failed to do request: {text}")
}

async fn fetch(
    store: &ImageStore,
    client: &Client,
    remote: &oci_client::Reference,
    manifest: &OciImageManifest,
    config: &str,
) -> io::Result<Vec<String>> {
    let parsed: ConfigFile = serde_json::from_str(config).map_err(super::invalid)?;
    if parsed.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(super::invalid(
            "manifest and configuration differ in their layers",
        ));
    }
    let directory = store.layout.layers();
    let mut names = Vec::new();
    for (descriptor, diff_id) in manifest.layers.iter().zip(parsed.rootfs.diff_ids) {
        let name = layer::directory_name(&diff_id);
        if layer::size(&directory, &name).is_none() {
            let scratch = store.scratch()?;
            let file = scratch.0.join("layer");
            download(client, remote, descriptor, file.clone()).await?;
            let directory = directory.clone();
            let unpack = move || layer::unpack(&directory, File::open(file)?, &diff_id);
            tokio::task::spawn_blocking(unpack)
                .await
                .map_err(io::Error::other)??;
        }
        names.push(name);
    }
    Ok(names)
}

async fn download(
    client: &Client,
    remote: &oci_client::Reference,
    descriptor: &OciDescriptor,
    path: PathBuf,
) -> io::Result<()> {
    let stream = client.pull_blob_stream(remote, descriptor).await;
    let mut stream = stream.map_err(io::Error::other)?;
    let mut file = File::create(path)?;
    while let Some(chunk) = stream.next().await {
        file.write_all(&chunk?)?;
    }
    file.flush()
}
