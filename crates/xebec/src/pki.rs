//! The cluster's certificates and keys on disk: made at the first start, read
//! afterwards, renewed before they end.

use crate::home::Home;
use apiserver::{Authority, Credential, Validity};
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

/// What authorities of this cluster are called.
const AUTHORITY: &str = "kubernetes";
/// Certificates of the authorities before this one.
const BEFORE: &str = "ca-before.crt";
/// This one's key, vouched for by those.
const CROSS: &str = "ca-cross.crt";

/// Everything secret of a cluster.
#[derive(Clone)]
pub struct Pki {
    /// The authority that signs.
    pub authority: Authority,
    /// The server's certificate, and what leads from there to authorities before this one.
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
        let authority = authority(&directory, now)?;
        let (server, admin) = leaves(&directory, &authority, now)?;
        Ok(Self {
            tokens: Arc::new(tokens(&directory, entropy)?),
            authority,
            server,
            admin,
        })
    }

    /// Renews the authority and what it issued, where it is time; nothing if it is not.
    pub fn renewed(&self, home: &Home, now: Time) -> Result<Option<Self>, Box<dyn Error>> {
        let directory = home.pki();
        let authority = advanced(&directory, self.authority.clone(), now)?;
        let (server, admin) = leaves(&directory, &authority, now)?;
        let same = authority == self.authority && server == self.server && admin == self.admin;
        Ok((!same).then(|| Self {
            authority,
            server,
            admin,
            tokens: self.tokens.clone(),
        }))
    }

    /// Certificates of all authorities that are believed.
    pub fn trust(&self) -> String {
        self.authority.trust()
    }
}

/// The authority that is there, or the first one.
fn authority(directory: &Path, now: Time) -> Result<Authority, Box<dyn Error>> {
    let Some(signing) = read(directory, "ca")? else {
        let first = Authority::first(AUTHORITY, now)?;
        write(directory, "ca", first.signing.clone())?;
        return Ok(first);
    };
    let text = |name| match fs::read_to_string(directory.join(name)) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        found => found,
    };
    let known = Authority {
        before: text(BEFORE)?,
        cross: text(CROSS)?,
        signing,
    };
    advanced(directory, known, now)
}

/// The authority by now: what believes its predecessors is on disk before it signs.
fn advanced(directory: &Path, known: Authority, now: Time) -> Result<Authority, Box<dyn Error>> {
    let Some(next) = known.advanced(AUTHORITY, now)? else {
        return Ok(known);
    };
    replace(&directory.join(BEFORE), &next.before)?;
    replace(&directory.join(CROSS), &next.cross)?;
    if next.signing != known.signing {
        write(directory, "ca", next.signing.clone())?;
    }
    Ok(next)
}

/// The server's and the administrator's certificates.
fn leaves(
    directory: &Path,
    authority: &Authority,
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
    let signing = &authority.signing;
    let server = leaf(directory, "apiserver", (signing, now), || {
        apiserver::new_server(signing, &names, &addresses, now)
    })?;
    let admin = leaf(directory, "admin", (signing, now), || {
        apiserver::new_client(signing, "kubernetes-admin", &[MASTERS], now)
    })?;
    Ok((authority.shown(&server), admin))
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
    finish(directory, name)?;
    let (certificate, key) = paths(directory, name);
    if !certificate.exists() || !key.exists() {
        return Ok(None);
    }
    Ok(Some(Credential {
        certificate: fs::read_to_string(certificate)?,
        key: fs::read_to_string(key)?,
    }))
}

/// Replaces a pair as one: it counts from the moment its new certificate lies beside the old one.
fn write(directory: &Path, name: &str, made: Credential) -> io::Result<Credential> {
    let (certificate, key) = paths(directory, name);
    write_secret(&fresh(&key), &made.key)?;
    replace(&fresh(&certificate), &made.certificate)?;
    finish(directory, name)?;
    Ok(made)
}

/// Finishes a replacement, also one that an earlier process did not live to finish.
fn finish(directory: &Path, name: &str) -> io::Result<()> {
    let (certificate, key) = paths(directory, name);
    if !fresh(&certificate).exists() {
        return Ok(());
    }
    if fresh(&key).exists() {
        fs::rename(fresh(&key), key)?;
    }
    fs::rename(fresh(&certificate), certificate)
}

/// Where a file's successor lies until it takes its place.
fn fresh(path: &Path) -> PathBuf {
    path.with_added_extension("new")
}

/// Writes a file that is never seen half written.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let part = path.with_added_extension("part");
    fs::write(&part, text)?;
    fs::rename(part, path)
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
