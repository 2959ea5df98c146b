//! The API server of a cluster, listening.

use crate::{cluster::Start, home::Home, nodes::CLUSTER_DOMAIN, pki::Pki, streams::Kubelets};
use apiserver::{ApiServer, ApiServerConfig, Credential, LiveTls, Validity, listen};
use env::{Callout, Time, World};
use platform::{CertificateSigner, Platform, PlatformConfig, assemble};
use real_env::{RealCallout, RealDisk};
use std::{
    error::Error,
    fs, io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::{Arc, RwLock},
};
use tokio::net::TcpListener;

/// A control plane with its front, listening.
pub struct Server {
    /// The control plane.
    pub platform: Platform,
    /// The front.
    pub api: ApiServer,
    /// Ways into pods.
    pub kubelets: Arc<Kubelets>,
    /// Its address as a URL.
    pub url: String,
    /// Certificates.
    pub pki: Pki,
    /// Signs certificates that were asked for.
    pub issuer: Arc<Issuer>,
    /// What the front shows and believes; may be replaced while it serves.
    pub tls: Arc<LiveTls>,
}

impl Server {
    /// Opens the store, assembles the control plane and listens on a port of the loopback.
    pub async fn start(start: &Start, world: &World) -> Result<Self, Box<dyn Error>> {
        let home = &start.home;
        fs::create_dir_all(home.root())?;
        let listener = bind(home, start.port).await?;
        let pki = Pki::open(home, world.entropy.as_ref(), world.now())?;
        let disk = RealDisk::open(&home.store())?;
        let tls = LiveTls::new(&pki.trust(), &pki.server)?;
        let issuer = Arc::new(Issuer::new(&pki));
        let kubelets = Arc::new(Kubelets::default());
        let callout = RealCallout::new(kubelets.clone());
        let config = configured(home, &pki, issuer.clone(), callout);
        let platform = assemble(world, disk, config).await?;
        if let Some(torn) = platform.store.torn_tail() {
            eprintln!(
                "xebec: the last record of the log was torn ({} at offset {}) and is cut off; nothing acknowledged is lost",
                torn.file, torn.offset
            );
        }
        let api = ApiServer::new(ApiServerConfig {
            door: platform.door.clone(),
            nodes: kubelets.clone(),
            tokens: Default::default(),
            tls: tls.clone(),
            flags: start.flags(),
        });
        let url = format!("https://{}", listener.local_addr()?);
        serve(&api, listener);
        Ok(Self {
            platform,
            api,
            kubelets,
            url,
            pki,
            issuer,
            tls,
        })
    }
}

/// What the control plane of a cluster is told about itself.
pub fn configured(
    home: &Home,
    pki: &Pki,
    issuer: Arc<Issuer>,
    callout: Arc<dyn Callout>,
) -> PlatformConfig {
    PlatformConfig {
        tokens: pki.tokens.clone(),
        certificates: issuer,
        root_ca: pki.trust(),
        cluster_domain: CLUSTER_DOMAIN.into(),
        volume_directory: home.volumes().display().to_string(),
        admission: Default::default(),
        bootstrap: admission::bootstrap::Config {
            services: Default::default(),
            api_server: SocketAddrV4::new(
                node_linux::net::API_SERVER_ADDRESS,
                node_linux::net::API_SERVER_PORT,
            ),
            client_ca: pki.trust(),
            front_proxy_ca: String::new(),
        },
        store: Default::default(),
        callout,
    }
}

/// The cluster's authority, issuing what was approved. It may be succeeded while it serves.
pub struct Issuer(RwLock<Credential>);

impl Issuer {
    /// Signs with the authority of today.
    pub fn new(pki: &Pki) -> Self {
        Self(RwLock::new(pki.authority.signing.clone()))
    }

    /// From now on signs with this one's.
    pub fn replace(&self, pki: &Pki) {
        *self.0.write().expect("no holder panics") = pki.authority.signing.clone();
    }
}

impl CertificateSigner for Issuer {
    fn sign(
        &self,
        request: &str,
        usages: &[String],
        seconds: Option<u64>,
        now: Time,
    ) -> Result<String, String> {
        let authority = self.0.read().expect("no holder panics").clone();
        apiserver::sign_request(&authority, request, usages, seconds, now)
            .map_err(|why| why.to_string())
    }

    fn end(&self, certificate: &str) -> Option<Time> {
        let holds = Validity::of(certificate).ok()?;
        Some(Time::from_unix_seconds(holds.to))
    }
}

/// The port asked for, the last one, or a free one.
async fn bind(home: &Home, port: u16) -> io::Result<TcpListener> {
    let at = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    if port == 0 && home.last_port() != 0 {
        // Another program may have it by now; any free port will do then.
        if let Ok(listener) = listen(at(home.last_port())).await {
            return Ok(listener);
        }
    }
    listen(at(port)).await
}

fn serve(api: &ApiServer, listener: TcpListener) {
    let api = api.clone();
    tokio::spawn(async move { api.serve(listener).await });
}
