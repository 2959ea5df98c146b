//! The cluster's certificates and keys on disk: made at the first start, read
//! afterwards, renewed before they end.

use crate::home::Home;
use apiserver::{Credential, Validity};
use auth::{MASTERS, TokenKey};
use env::Time;
use std::{
    error::Error,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Who issues the cluster's tokens, by default name of the API server inside the cluster.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The certificate of the authority before this one.
const PREDECESSOR: &str = "ca-before.crt";

/// Everything secret of a cluster.
#[derive(Clone)]
pub struct Pki {
    /// The authority that signs.
    pub authority: Credential,
    /// Certificates of all authorities that are believed: the one that signs, and its predecessor.
    pub trust: String,
    /// The server's certificate.
    pub server: Credential,
    /// The administrator's certificate.
    pub admin: Credential,
    /// Signs service-account tokens.
    pub tokens: Arc<TokenKey>,
}

impl Pki {
    /// Reads what is there and makes what is missing, or soon will not hold any more.
    pub fn open(
        home: &Home,
        entropy: &dyn env::Entropy,
        now: Time,
    ) -> Result<Self, Box<dyn Error>> {
        let directory = home.pki();
        fs::create_dir_all(&directory)?;
        let (authority, trust) = authority(&directory, now)?;
        let (server, admin) = leaves(&directory, &authority, now)?;
        Ok(Self {
            tokens: Arc::new(tokens(&directory, entropy)?),
            authority,
            trust,
            server,
            admin,
        })
    }

    /// Renews what the authority issued, where it is time; nothing if it is not.
    pub fn renewed(&self, home: &Home, now: Time) -> Result<Option<Self>, Box<dyn Error>> {
        let (server, admin) = leaves(&home.pki(), &self.authority, now)?;
        if server == self.server && admin == self.admin {
            return Ok(None);
        }
        Ok(Some(Self {
            server,
            admin,
            ..self.clone()
        }))
    }
}

/// The authority, renewed at a start that finds it near its end; whoever it vouched for is still believed.
fn authority(directory: &Path, now: Time) -> Result<(Credential, String), Box<dyn Error>> {
    let make = || apiserver::new_authority("kubernetes", now);
    let known = read(directory, "ca")?;
    let due = |known: &Credential| {
        Validity::of(&known.certificate).is_ok_and(|holds| holds.authority_is_due(now))
    };
    let current = match known {
        Some(known) if !due(&known) => known,
        Some(known) => {
            fs::write(directory.join(PREDECESSOR), &known.certificate)?;
            write(directory, "ca", make()?)?
        }
        None => write(directory, "ca", make()?)?,
    };
    let mut trust = current.certificate.clone();
    if let Ok(before) = fs::read_to_string(directory.join(PREDECESSOR)) {
        trust.push_str(&before);
    }
    Ok((current, trust))
}

/// The server's and the administrator's certificates.
fn leaves(
    directory: &Path,
    authority: &Credential,
    now: Time,
) -> Result<(Credential, Credential), Box<dyn Error>> {
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
    let server = leaf(directory, "apiserver", (authority, now), || {
        apiserver::new_server(authority, &names, &addresses, now)
    })?;
    let admin = leaf(directory, "admin", (authority, now), || {
        apiserver::new_client(authority, "kubernetes-admin", &[MASTERS], now)
    })?;
    Ok((server, admin))
}

/// What is there, unless it is due or another authority's.
fn leaf<E: Error + 'static>(
    directory: &Path,
    name: &str,
    (authority, now): (&Credential, Time),
    make: impl FnOnce() -> Result<Credential, E>,
) -> Result<Credential, Box<dyn Error>> {
    let holds = |known: &Credential| {
        let own = apiserver::is_issued_by(&known.certificate, &authority.certificate);
        own && Validity::of(&known.certificate).is_ok_and(|holds| !holds.leaf_is_due(now))
    };
    match read(directory, name)?.filter(holds) {
        Some(known) => Ok(known),
        None => Ok(write(directory, name, make()?)?),
    }
}

fn read(directory: &Path, name: &str) -> io::Result<Option<Credential>> {
    let (certificate, key) = paths(directory, name);
    if !certificate.exists() || !key.exists() {
        return Ok(None);
    }
    Ok(Some(Credential {
        certificate: fs::read_to_string(certificate)?,
        key: fs::read_to_string(key)?,
    }))
}

fn write(directory: &Path, name: &str, made: Credential) -> io::Result<Credential> {
    let (certificate, key) = paths(directory, name);
    write_secret(&key, &made.key)?;
    fs::write(certificate, &made.certificate)?;
    Ok(made)
}

fn paths(directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    let file = |kind: &str| directory.join(format!("{name}.{kind}"));
    (file("crt"), file("key"))
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
