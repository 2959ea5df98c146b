//! IPv4 ranges, how a VPC is divided, and which pod has which address.
//!
//! Pure arithmetic: must not know namespaces or links. Upstream counterpart: `ipamd` of the Amazon VPC CNI plugin.

use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, fmt, net::Ipv4Addr, str::FromStr};

/// An IPv4 range in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Ipv4Net {
    address: Ipv4Addr,
    prefix: u8,
}

impl Ipv4Net {
    /// Every address.
    pub const ALL: Self = Self::of(Ipv4Addr::UNSPECIFIED, 0);

    const fn of(address: Ipv4Addr, prefix: u8) -> Self {
        Self { address, prefix }
    }

    /// The range of `prefix` leading bits around `address`; `None` if the prefix exceeds 32.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        let mask = u32::MAX
            .checked_shl(32 - u32::from(prefix.min(32)))
            .unwrap_or(0);
        let base = Ipv4Addr::from(u32::from(address) & mask);
        (prefix <= 32).then_some(Self::of(base, prefix))
    }

    /// The range of one address.
    pub const fn host(address: Ipv4Addr) -> Self {
        Self::of(address, 32)
    }

    /// First address.
    pub const fn address(self) -> Ipv4Addr {
        self.address
    }

    /// Number of leading bits.
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// Bits that belong to the network.
    pub fn mask(self) -> u32 {
        u32::MAX
            .checked_shl(32 - u32::from(self.prefix))
            .unwrap_or(0)
    }

    /// How many addresses the range has.
    pub const fn size(self) -> u64 {
        1 << (32 - self.prefix)
    }

    /// Whether `address` lies in the range.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == u32::from(self.address)
    }

    /// The address `offset` after the first, if still in the range.
    pub fn nth(self, offset: u64) -> Option<Ipv4Addr> {
        let offset = u32::try_from(offset)
            .ok()
            .filter(|o| u64::from(*o) < self.size())?;
        Some(Ipv4Addr::from(u32::from(self.address) + offset))
    }

    /// The `index`-th part of the range when cut into ranges of `prefix` bits.
    pub fn subnet(self, prefix: u8, index: u64) -> Option<Self> {
        let count = 1u64.checked_shl(u32::from(prefix.checked_sub(self.prefix)?))?;
        let start = self.nth(index * (1u64 << (32 - prefix.min(32))))?;
        (index < count).then(|| Self::new(start, prefix))?
    }
}

impl fmt::Display for Ipv4Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Ipv4Net {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an IPv4 range like 10.0.0.0/16");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let (address, prefix) = (address.parse(), prefix.parse());
        let (Ok(address), Ok(prefix)) = (address, prefix) else {
            return Err(wrong());
        };
        Self::new(address, prefix).ok_or_else(wrong)
    }
}

impl From<Ipv4Net> for String {
    fn from(net: Ipv4Net) -> String {
        net.to_string()
    }
}

impl TryFrom<String> for Ipv4Net {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Leading bits of a node's pod range: 256 addresses, more than the 110 pods a kubelet allows
/// twice over, so that an address rests before it is used again.
const POD_RANGE_PREFIX: u8 = 24;
/// Addresses at the start of a subnet that AWS keeps for itself (network, router, DNS, future).
const RESERVED: u64 = 4;

/// Where the addresses of a VPC are: one subnet per zone; in each, the first block holds the
/// nodes' own addresses and every further block is one node's pod range.
#[derive(Clone, Copy, Debug)]
pub(super) struct AddressPlan {
    cidr: Ipv4Net,
    subnet_prefix: u8,
}

impl AddressPlan {
    /// Divides `cidr` for `zones` zones; refuses a range too small for one node in each.
    pub fn new(cidr: Ipv4Net, zones: usize) -> Result<Self, String> {
        let zone_bits = zones.max(1).next_power_of_two().trailing_zeros() as u8;
        let subnet_prefix = cidr.prefix() + zone_bits;
        if subnet_prefix >= POD_RANGE_PREFIX {
            return Err(format!(
                "the VPC range {cidr} is too small for {zones} zones: each needs at least a /{}",
                POD_RANGE_PREFIX - 1
            ));
        }
        Ok(Self {
            cidr,
            subnet_prefix,
        })
    }

    /// The router's own address.
    pub fn router(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.cidr.address()) + 1)
    }

    /// The subnet of a zone.
    pub fn subnet(&self, zone: usize) -> Option<Ipv4Net> {
        self.cidr.subnet(self.subnet_prefix, zone as u64)
    }

    /// Address and pod range of the node in slot `slot` of a zone; `None` when the zone is full.
    pub fn node(&self, zone: usize, slot: usize) -> Option<(Ipv4Addr, Ipv4Net)> {
        let subnet = self.subnet(zone)?;
        let pods = subnet.subnet(POD_RANGE_PREFIX, slot as u64 + 1)?;
        Some((subnet.nth(RESERVED + slot as u64)?, pods))
    }
}

/// The free addresses of a node's pod range, longest unused first.
pub(super) struct PodAddresses {
    free: VecDeque<Ipv4Addr>,
}

impl PodAddresses {
    /// All addresses of `range` but the first and the last and those in `used`, beginning after
    /// the highest used one.
    pub fn new(range: Ipv4Net, used: &[Ipv4Addr]) -> Self {
        let all = (1..range.size().saturating_sub(1)).filter_map(|n| range.nth(n));
        let mut free: VecDeque<_> = all.filter(|a| !used.contains(a)).collect();
        let highest = used.iter().copied().max();
        let passed = free.iter().filter(|a| Some(**a) < highest).count();
        free.rotate_left(passed);
        Self { free }
    }

    /// The address that has been free longest.
    pub fn take(&mut self) -> Option<Ipv4Addr> {
        self.free.pop_front()
    }

    /// Gives an address back; it is used again after all others.
    pub fn give(&mut self, address: Ipv4Addr) {
        self.free.push_back(address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_parse_and_divide() {
        let net: Ipv4Net = "10.0.3.7/16".parse().expect("valid");
        assert_eq!(net.to_string(), "10.0.0.0/16");
        assert!(net.contains(Ipv4Addr::new(10, 0, 255, 255)));
        assert!(!net.contains(Ipv4Addr::new(10, 1, 0, 0)));
        assert_eq!(
            net.subnet(18, 3).map(|n| n.to_string()),
            Some("10.0.192.0/18".into())
        );
        assert_eq!(net.subnet(18, 4), None);
        for wrong in ["10.0.0.0", "10.0.0.0/33", "10.0.0/8", "x/8"] {
            assert!(wrong.parse::<Ipv4Net>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn plan_gives_each_node_its_own_range() {
        let plan = AddressPlan::new("10.0.0.0/16".parse().expect("valid"), 3).expect("fits");
        let text = |zone, slot| plan.node(zone, slot).map(|(a, p)| format!("{a} {p}"));
        assert_eq!(text(0, 0), Some("10.0.0.4 10.0.1.0/24".into()));
        assert_eq!(text(2, 62), Some("10.0.128.66 10.0.191.0/24".into()));
        assert_eq!(text(0, 63), None);
        assert!(AddressPlan::new("10.0.0.0/24".parse().expect("valid"), 3).is_err());
    }

    #[test]
    fn addresses_rest_before_reuse() {
        let range = "10.0.1.0/29".parse().expect("valid");
        let last = |a: Ipv4Addr| a.octets()[3];
        let mut pods = PodAddresses::new(range, &[Ipv4Addr::new(10, 0, 1, 3)]);
        let taken = pods.take().expect("free");
        assert_eq!(last(taken), 4);
        pods.give(taken);
        let order: Vec<u8> = std::iter::from_fn(|| pods.take()).map(last).collect();
        assert_eq!(order, [5, 6, 1, 2, 4]);
    }
}
