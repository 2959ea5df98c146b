//! Addresses and networks.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/cel/library/{ip,cidr}.go`.

use super::{Opaque, Row, text, wrong};
use crate::{EvalError, Val};
use std::{fmt, net::IpAddr};

pub(crate) const TABLE: &[Row] = &[
    ("ip", "string_to_ip", "(string) -> IP", |args| {
        parse_ip(text(&args[0])?)
            .map(ip_val)
            .map_err(EvalError::new)
    }),
    ("family", "ip_family", "IP.() -> int", |args| {
        Ok(Val::Int(if ip(&args[0])?.is_ipv4() { 4 } else { 6 }))
    }),
    (
        "ip.isCanonical",
        "ip_is_canonical",
        "(string) -> bool",
        |args| {
            let text = text(&args[0])?;
            let parsed = parse_ip(text).map_err(EvalError::new)?;
            Ok(Val::Bool(parsed.to_string() == text))
        },
    ),
    (
        "isUnspecified",
        "ip_is_unspecified",
        "IP.() -> bool",
        |args| Ok(Val::Bool(ip(&args[0])?.is_unspecified())),
    ),
    ("isLoopback", "ip_is_loopback", "IP.() -> bool", |args| {
        Ok(Val::Bool(ip(&args[0])?.is_loopback()))
    }),
    (
        "isLinkLocalMulticast",
        "ip_is_link_local_multicast",
        "IP.() -> bool",
        |args| {
            Ok(Val::Bool(match ip(&args[0])? {
                IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
                IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
            }))
        },
    ),
    (
        "isLinkLocalUnicast",
        "ip_is_link_local_unicast",
        "IP.() -> bool",
        |args| Ok(Val::Bool(link_local(ip(&args[0])?))),
    ),
    (
        "isGlobalUnicast",
        "ip_is_global_unicast",
        "IP.() -> bool",
        |args| Ok(Val::Bool(global(ip(&args[0])?))),
    ),
    ("isIP", "is_ip", "(string) -> bool", |args| {
        Ok(Val::Bool(parse_ip(text(&args[0])?).is_ok()))
    }),
    ("cidr", "string_to_cidr", "(string) -> CIDR", |args| {
        Cidr::parse(text(&args[0])?).map(cidr_val).map_err(|why| {
            EvalError::new(format!(
                "network address parse error during conversion from string: {why}"
            ))
        })
    }),
    (
        "containsIP",
        "cidr_contains_ip_string",
        "CIDR.(string) -> bool",
        |args| {
            let other = parse_ip(text(&args[1])?).map_err(EvalError::new)?;
            Ok(Val::Bool(cidr(&args[0])?.contains(other)))
        },
    ),
    (
        "containsIP",
        "cidr_contains_ip_ip",
        "CIDR.(IP) -> bool",
        |args| Ok(Val::Bool(cidr(&args[0])?.contains(ip(&args[1])?))),
    ),
    (
        "containsCIDR",
        "cidr_contains_cidr_string",
        "CIDR.(string) -> bool",
        |args| {
            let other = Cidr::parse(text(&args[1])?).map_err(EvalError::new)?;
            Ok(Val::Bool(cidr(&args[0])?.covers(&other)))
        },
    ),
    (
        "containsCIDR",
        "cidr_contains_cidr",
        "CIDR.(CIDR) -> bool",
        |args| Ok(Val::Bool(cidr(&args[0])?.covers(cidr(&args[1])?))),
    ),
    ("ip", "cidr_ip", "CIDR.() -> IP", |args| {
        Ok(ip_val(cidr(&args[0])?.address))
    }),
    (
        "prefixLength",
        "cidr_prefix_length",
        "CIDR.() -> int",
        |args| Ok(Val::Int(cidr(&args[0])?.bits.into())),
    ),
    ("masked", "cidr_masked", "CIDR.() -> CIDR", |args| {
        Ok(cidr_val(cidr(&args[0])?.masked()))
    }),
    ("isCIDR", "is_cidr", "(string) -> bool", |args| {
        Ok(Val::Bool(Cidr::parse(text(&args[0])?).is_ok()))
    }),
];

/// A network: an address in it and how many bits it fixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The address as written.
    pub address: IpAddr,
    /// Length of the prefix in bits.
    pub bits: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

fn number(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u32::from(v4).into(), 32),
        IpAddr::V6(v6) => (v6.into(), 128),
    }
}

impl Cidr {
    /// Reads `192.0.2.0/24`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(raw: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("netip.ParsePrefix({raw:?}): {why}");
        let (address, bits) = raw.rsplit_once('/').ok_or_else(|| bad("no '/'"))?;
        let address: IpAddr = address
            .parse()
            .map_err(|_| bad("ParseAddr: unable to parse IP"))?;
        if bits.len() > 1 && !matches!(bits.as_bytes()[0], b'1'..=b'9') {
            return Err(bad("bad bits after slash"));
        }
        let bits: u8 = bits.parse().map_err(|_| bad("bad bits after slash"))?;
        if bits > number(address).1 {
            return Err(bad("prefix length out of range"));
        }
        if mapped(address) {
            return Err(format!("IPv4-mapped IPv6 address {raw:?} is not allowed"));
        }
        Ok(Self { address, bits })
    }

    fn prefix(&self, address: IpAddr) -> u128 {
        let (number, width) = number(address);
        let free = u32::from(width - self.bits);
        number.checked_shr(free).unwrap_or(0)
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && self.prefix(self.address) == self.prefix(address)
    }

    fn covers(&self, other: &Self) -> bool {
        self.bits <= other.bits && self.contains(other.address)
    }

    fn masked(&self) -> Self {
        let (_, width) = number(self.address);
        let free = u32::from(width - self.bits);
        let kept = self.prefix(self.address).checked_shl(free).unwrap_or(0);
        let address = match self.address {
            IpAddr::V4(_) => IpAddr::V4((kept as u32).into()),
            IpAddr::V6(_) => IpAddr::V6(kept.into()),
        };
        Self { address, ..*self }
    }
}

fn mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

fn parse_ip(raw: &str) -> Result<IpAddr, String> {
    let parsed: IpAddr = raw.parse().map_err(|_| {
        let zoned = raw.split_once('%').is_some_and(|(ip, _)| ip.parse::<IpAddr>().is_ok());
        if zoned {
            format!("IP address {raw:?} with zone value is not allowed")
        } else {
            format!("IP Address {raw:?} parse error during conversion from string: ParseAddr({raw:?}): unable to parse IP")
        }
    })?;
    if mapped(parsed) {
        return Err(format!("IPv4-mapped IPv6 address {raw:?} is not allowed"));
    }
    Ok(parsed)
}

fn link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn global(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !broadcast && !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() && !link_local(ip)
}

fn ip(val: &Val) -> Result<IpAddr, EvalError> {
    match val {
        Val::Opaque(Opaque::Ip(ip)) => Ok(*ip),
        _ => Err(wrong()),
    }
}

fn cidr<'v>(val: &'v Val) -> Result<&'v Cidr, EvalError> {
    match val {
        Val::Opaque(Opaque::Cidr(cidr)) => Ok(cidr),
        _ => Err(wrong()),
    }
}

fn ip_val<'a>(ip: IpAddr) -> Val<'a> {
    Val::Opaque(Opaque::Ip(ip))
}

fn cidr_val<'a>(cidr: Cidr) -> Val<'a> {
    Val::Opaque(Opaque::Cidr(cidr))
}
