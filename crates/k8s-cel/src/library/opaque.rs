//! Values of Kubernetes' own types.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/cel/{quantity,ip,cidr,url,semver,format}.go`.

use super::{AuthorizationCheck, Cidr, NamedFormat, Semver, Url, Verdict, authz::Asker};
use machinery::Quantity;
use std::{fmt, net::IpAddr, sync::Arc};

/// A value that only functions look into.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Opaque<'a> {
    Quantity(Quantity),
    Url(Arc<Url>),
    Ip(IpAddr),
    Cidr(Cidr),
    Semver(Arc<Semver>),
    Format(&'static NamedFormat),
    /// Who can be asked.
    Authorizer(Arc<Asker<'a>>),
    /// A question about a path.
    PathCheck(Arc<(Asker<'a>, AuthorizationCheck)>),
    /// A question about a group.
    GroupCheck(Arc<(Asker<'a>, AuthorizationCheck)>),
    /// A question about a resource.
    ResourceCheck(Arc<(Asker<'a>, AuthorizationCheck)>),
    /// An answer.
    Decision(Arc<Verdict>),
}

/// Short names as signatures have them, and full ones.
const NAMES: &[(&str, &str)] = &[
    ("Quantity", "kubernetes.Quantity"),
    ("URL", "kubernetes.URL"),
    ("IP", "net.IP"),
    ("CIDR", "net.CIDR"),
    ("Semver", "kubernetes.Semver"),
    ("Format", "kubernetes.NamedFormat"),
    ("Authorizer", "kubernetes.authorization.Authorizer"),
    ("PathCheck", "kubernetes.authorization.PathCheck"),
    ("GroupCheck", "kubernetes.authorization.GroupCheck"),
    ("ResourceCheck", "kubernetes.authorization.ResourceCheck"),
    ("Decision", "kubernetes.authorization.Decision"),
];

/// The full name of a type in a signature.
pub(crate) fn full_name(short: &str) -> &'static str {
    NAMES
        .iter()
        .find(|(known, _)| *known == short)
        .map(|(_, full)| *full)
        .expect("signatures name known types")
}

/// The full name, if there is such a type.
pub(crate) fn known(name: &str) -> Option<&'static str> {
    NAMES
        .iter()
        .find(|(_, full)| *full == name)
        .map(|(_, full)| *full)
}

impl Opaque<'_> {
    /// Full name of its type.
    pub fn type_name(&self) -> &'static str {
        full_name(match self {
            Self::Quantity(_) => "Quantity",
            Self::Url(_) => "URL",
            Self::Ip(_) => "IP",
            Self::Cidr(_) => "CIDR",
            Self::Semver(_) => "Semver",
            Self::Format(_) => "Format",
            Self::Authorizer(_) => "Authorizer",
            Self::PathCheck(_) => "PathCheck",
            Self::GroupCheck(_) => "GroupCheck",
            Self::ResourceCheck(_) => "ResourceCheck",
            Self::Decision(_) => "Decision",
        })
    }

    /// Size for costs.
    pub fn size(&self) -> u64 {
        match self {
            Self::Ip(IpAddr::V4(_)) => 4,
            Self::Ip(IpAddr::V6(_)) => 16,
            Self::Cidr(cidr) => u64::from(cidr.bits).div_ceil(8),
            _ => 1,
        }
    }
}

impl PartialEq for Opaque<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a), Self::Cidr(b)) => a == b,
            (Self::Semver(a), Self::Semver(b)) => a.compare(b).is_eq(),
            (Self::Format(a), Self::Format(b)) => a.name == b.name,
            (Self::PathCheck(a), Self::PathCheck(b))
            | (Self::GroupCheck(a), Self::GroupCheck(b))
            | (Self::ResourceCheck(a), Self::ResourceCheck(b)) => a.1 == b.1,
            (Self::Decision(a), Self::Decision(b)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Display for Opaque<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quantity(quantity) => write!(f, "{quantity}"),
            Self::Url(url) => f.write_str(&url.text),
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Cidr(cidr) => write!(f, "{cidr}"),
            Self::Semver(version) => write!(f, "{version}"),
            Self::Format(format) => f.write_str(format.name),
            _ => f.write_str(self.type_name()),
        }
    }
}
