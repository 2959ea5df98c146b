//! The cluster's certificates and keys on disk: made at the first start, read afterwards.

use crate::home::Home;
use apiserver::Credential;
use auth::{MASTERS, TokenKey};
use std::{
    error::Error,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Who issues the cluster's tokens, by default name of the API server inside the cluster.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Everything secret of a cluster.
pub struct Pki {
    /// The authority.
    pub authority: Credential,
    /// The server's certificate.
    pub server: Credential,
    /// The administrator's certificate.
    pub admin: Credential,
    /// Signs service-account tokens.
    pub tokens: TokenKey,
}

impl Pki {
    /// Reads what is there and makes what is missing.
    pub fn open(home: &Home, entropy: &dyn env::Entropy) -> Result<Self, Box<dyn Error>> {
        let directory = home.pki();
        fs::create_dir_all(&directory)?;
        let authority = credential(&directory, "ca", || apiserver::new_authority("kubernetes"))?;
        let names = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ];
        let addresses: [IpAddr; 4] = [
            Ipv4Addr::LOCALHOST.into(),
            Ipv6Addr::LOCALHOST.into(),
            Ipv4Addr::new(10, 100, 0, 1).into(),
            node_linux::net::API_SERVER_ADDRESS.into(),
        ];
        let server = credential(&directory, "apiserver", || {
            apiserver::new_server(&authority, &names, &addresses)
        })?;
        let admin = credential(&directory, "admin", || {
            apiserver::new_client(&authority, "kubernetes-admin", &[MASTERS])
        })?;
        Ok(Self {
            tokens: tokens(&directory, entropy)?,
            authority,
            server,
            admin,
        })
    }
}

fn credential<E: Error + 'static>(
    directory: &Path,
    name: &str,
    make: impl FnOnce() -> Result<Credential, E>,
) -> Result<Credential, Box<dyn Error>> {
    let (certificate, key) = (
        directory.join(format!("{name}.crt")),
        directory.join(format!("{name}.key")),
    );
    if certificate.exists() && key.exists() {
        return Ok(Credential {
            certificate: fs::read_to_string(certificate)?,
            key: fs::read_to_string(key)?,
        });
    }
    let made = make()?;
    write_secret(&key, &made.key)?;
    fs::write(certificate, &made.certificate)?;
    Ok(made)
}

fn tokens(directory: &Path, entropy: &dyn env::Entropy) -> Result<TokenKey, Box<dyn Error>> {
    let path = directory.join("sa.key");
    if path.exists() {
        return Ok(TokenKey::from_pem(&fs::read_to_string(path)?, ISSUER)?);
    }
    let key = TokenKey::generate(entropy, ISSUER);
    write_secret(&path, &key.to_pem())?;
    Ok(key)
}

fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())
}
