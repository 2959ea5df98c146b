//! The ranges that addresses and ports come from, and which parts are given out by choice.
//!
//! Upstream counterparts: `pkg/registry/core/service/{ipallocator,portallocator}`.

use std::{fmt, net::Ipv4Addr, ops::Range, str::FromStr};

/// The addresses of services, in CIDR notation: `10.100.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceRange {
    base: u32,
    prefix: u8,
}

impl Default for ServiceRange {
    /// `10.100.0.0/16`, as EKS gives to clusters outside 10.0.0.0/8.
    fn default() -> Self {
        Self {
            base: u32::from(Ipv4Addr::new(10, 100, 0, 0)),
            prefix: 16,
        }
    }
}

impl FromStr for ServiceRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is not an IPv4 range of 4 to 2^20 addresses such as 10.100.0.0/16")
        };
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if !(12..=30).contains(&prefix) {
            return Err(wrong());
        }
        Ok(Self {
            base: u32::from(address) & (u32::MAX << (32 - prefix)),
            prefix,
        })
    }
}

impl fmt::Display for ServiceRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

impl ServiceRange {
    fn size(self) -> u32 {
        1 << (32 - self.prefix)
    }

    /// The address at `offset` from the start: 1 is the API server's, 10 the cluster DNS's.
    pub fn at(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.base + offset)
    }

    pub(super) fn address(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from(number)
    }

    /// The number of an address that can be given to a service.
    pub(super) fn number(self, text: &str) -> Option<u32> {
        let number = u32::from(text.parse::<Ipv4Addr>().ok()?);
        (self.base + 1..self.base + self.size() - 1)
            .contains(&number)
            .then_some(number)
    }

    /// Addresses for asking (lower) and for choosing (upper).
    pub(super) fn bands(self) -> (Range<u32>, Range<u32>) {
        let first = self.base + 1;
        let split = first + static_band(self.size(), 16, 16, 256);
        let end = self.base + self.size() - 1;
        (first..split.min(end), split.min(end)..end)
    }

    pub(super) fn outside(self, text: &str) -> String {
        format!(
            "the provided IP ({text}) is not in the valid range. The range of valid IPs is {self}"
        )
    }
}

/// The node ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl Default for PortRange {
    /// 30000-32767.
    fn default() -> Self {
        Self {
            first: 30_000,
            last: 32_767,
        }
    }
}

impl PortRange {
    pub(super) fn number(self, port: i64) -> Option<u32> {
        let port = u16::try_from(port).ok()?;
        (self.first..=self.last)
            .contains(&port)
            .then_some(port.into())
    }

    pub(super) fn bands(self) -> (Range<u32>, Range<u32>) {
        let (first, end) = (u32::from(self.first), u32::from(self.last) + 1);
        let split = (first + static_band(end - first, 32, 16, 128)).min(end);
        (first..split, split..end)
    }

    pub(super) fn outside(self) -> String {
        format!(
            "provided port is not in the valid range. The range of valid ports is {}-{}",
            self.first, self.last
        )
    }
}

/// How many of `size` numbers are kept for those who ask by number: a share, within bounds.
fn static_band(size: u32, share: u32, least: u32, most: u32) -> u32 {
    if size <= least {
        0
    } else {
        (size / share).clamp(least, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let range: ServiceRange = "10.100.7.9/16".parse().unwrap();
        assert_eq!(range, ServiceRange::default());
        assert_eq!(range.to_string(), "10.100.0.0/16");
        assert_eq!(range.at(10).to_string(), "10.100.0.10");
        for (text, inside) in [
            ("10.100.0.0", false),
            ("10.100.0.1", true),
            ("10.100.255.254", true),
            ("10.100.255.255", false),
            ("10.101.0.1", false),
            ("None", false),
        ] {
            assert_eq!(range.number(text).is_some(), inside, "{text}");
        }
        let (low, high) = range.bands();
        assert_eq!((low.len(), low.len() + high.len()), (256, 65_534));
        for wrong in ["10.0.0.0", "10.0.0.0/8", "x/16", "10.0.0.0/31"] {
            assert!(wrong.parse::<ServiceRange>().is_err(), "{wrong}");
        }
        let (low, high) = PortRange::default().bands();
        assert_eq!((low, high), (30_000..30_086, 30_086..32_768));
    }
}
