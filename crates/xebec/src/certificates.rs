//! Keeps a running cluster's certificates from ending: the authority's, and what it issued.
//!
//! Everything that shows or believes them follows before their old ones end. Upstream
//! counterpart: `k8s.io/client-go/util/certificate`, and what `kubeadm certs renew` leaves to hands.

use crate::{
    home::Home,
    kubeconfig,
    pki::Pki,
    server::{Issuer, Server},
};
use apiserver::LiveTls;
use env::{Time, World};
use platform::Roots;
use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Certificates are looked at this often; they are renewed months before their end.
const CHECK: Duration = Duration::from_secs(3600);

/// What holds certificates, and where they are written.
pub struct Keeper {
    home: Home,
    kubeconfig: PathBuf,
    url: String,
    pki: Pki,
    issuer: Arc<Issuer>,
    tls: Arc<LiveTls>,
    roots: Roots,
}

impl Keeper {
    /// Keeps a server's.
    pub fn new(server: &Server, home: &Home, kubeconfig: &Path) -> Self {
        Self {
            home: home.clone(),
            kubeconfig: kubeconfig.to_owned(),
            url: server.url.clone(),
            pki: server.pki.clone(),
            issuer: server.issuer.clone(),
            tls: server.tls.clone(),
            roots: server.platform.roots.clone(),
        }
    }

    /// Looks from time to time, for ever.
    pub async fn keep(mut self, world: World) {
        loop {
            world.sleep(CHECK).await;
            if let Err(why) = self.look(world.now()).await {
                eprintln!("xebec: certificates could not be renewed, it is tried again: {why}");
            }
        }
    }

    /// Renews what is due. The server believes a new authority before anybody shows what it
    /// signed; what fails is done again at the next look.
    async fn look(&mut self, now: Time) -> Result<(), Box<dyn Error>> {
        let Some(renewed) = self.pki.renewed(&self.home, now)? else {
            return Ok(());
        };
        self.tls.replace(&renewed.trust(), &renewed.server)?;
        self.roots.believe(&renewed.trust()).await?;
        self.issuer.replace(&renewed);
        kubeconfig::merge(&self.kubeconfig, &self.home, &self.url, &renewed)?;
        self.pki = renewed;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
