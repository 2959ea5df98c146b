//! Interfaces, addresses, routes and neighbours over rtnetlink.
//!
//! Must not know why a link exists. Upstream counterpart: the vishvananda/netlink Go library as CNI plugins use it.

use super::{
    addresses::Ipv4Net,
    netlink::{ACK, CREATE, CREATE_NEW, Messages, REPLACE, Socket},
};
use std::{io, net::Ipv4Addr, os::fd::AsRawFd};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const NEW_NEIGHBOUR: u16 = 28;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;

const AF_INET: u8 = 2;
const IFF_UP: u32 = 1;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RTN_UNICAST: u8 = 1;
const RTN_UNREACHABLE: u8 = 7;
const RTNH_F_ONLINK: u32 = 4;
const NUD_PERMANENT: u16 = 0x80;

/// Index of the loopback interface in every namespace.
pub(super) const LOOPBACK: u32 = 1;
/// Visible everywhere.
pub(super) const SCOPE_GLOBAL: u8 = 0;
/// Valid on one link only.
pub(super) const SCOPE_LINK: u8 = 253;
/// Valid on this node only: never chosen as a source towards others.
pub(super) const SCOPE_HOST: u8 = 254;

/// A hardware address.
pub(super) type Mac = [u8; 6];

/// One end of a veth pair.
pub(super) struct VethEnd<'a> {
    pub name: &'a str,
    pub index: u32,
    pub mac: Mac,
}

/// A route in the main table.
pub(super) struct Route {
    pub to: Ipv4Net,
    /// Link to leave by.
    pub index: u32,
    /// Next hop, reached over the link even if no address of the link covers it.
    pub gateway: Option<Ipv4Addr>,
    /// Source address to prefer.
    pub source: Option<Ipv4Addr>,
}

impl Route {
    /// A route to hosts directly on a link.
    pub fn direct(to: Ipv4Net, index: u32) -> Self {
        Self {
            to,
            index,
            gateway: None,
            source: None,
        }
    }
}

/// A batch of link changes.
#[derive(Default)]
pub(super) struct LinkBatch(Messages);

impl LinkBatch {
    /// Makes a veth pair: `near` in the socket's namespace and up, `far` in the namespace of the
    /// descriptor and down (the kernel refuses to set it up in the same message).
    pub fn veth(&mut self, near: &VethEnd, far: &VethEnd, far_netns: &impl AsRawFd) -> &mut Self {
        let far_fd = far_netns.as_raw_fd() as u32;
        let message = self
            .0
            .begin(NEW_LINK, ACK | CREATE_NEW | 0x200, &link(near.index, true));
        message
            .text(IFLA_IFNAME, near.name)
            .attr(IFLA_ADDRESS, &near.mac);
        message.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth")
                .nest(IFLA_INFO_DATA, |data| {
                    data.nest(VETH_INFO_PEER, |peer| {
                        peer.raw(&link(far.index, false))
                            .text(IFLA_IFNAME, far.name)
                            .attr(IFLA_ADDRESS, &far.mac)
                            .attr(IFLA_NET_NS_FD, &far_fd.to_ne_bytes());
                    });
                });
        });
        message.end();
        self
    }

    /// Sets a link up.
    pub fn up(&mut self, index: u32) -> &mut Self {
        self.0.begin(NEW_LINK, ACK, &link(index, true)).end();
        self
    }

    /// Deletes a link by name.
    pub fn delete(&mut self, name: &str) -> &mut Self {
        let message = self.0.begin(DELETE_LINK, ACK, &link(0, false));
        message.text(IFLA_IFNAME, name).end();
        self
    }

    /// Adds a single (/32) address to a link.
    pub fn address(&mut self, index: u32, address: Ipv4Addr, scope: u8) -> &mut Self {
        let mut header = [AF_INET, 32, 0, scope, 0, 0, 0, 0];
        header[4..].copy_from_slice(&index.to_ne_bytes());
        let message = self.0.begin(NEW_ADDRESS, ACK | CREATE | REPLACE, &header);
        message
            .attr(IFA_LOCAL, &address.octets())
            .attr(IFA_ADDRESS, &address.octets())
            .end();
        self
    }

    /// Answers packets to a range that has no better route with "unreachable".
    pub fn unreachable(&mut self, to: Ipv4Net) -> &mut Self {
        let kind = [RT_TABLE_MAIN, RTPROT_STATIC, SCOPE_GLOBAL, RTN_UNREACHABLE];
        let mut header = [0; 12];
        header[..2].copy_from_slice(&[AF_INET, to.prefix()]);
        header[4..8].copy_from_slice(&kind);
        let message = self.0.begin(NEW_ROUTE, ACK | CREATE | REPLACE, &header);
        message.attr(RTA_DST, &to.address().octets()).end();
        self
    }

    /// Adds or replaces a route.
    pub fn route(&mut self, route: &Route) -> &mut Self {
        let direct = route.gateway.is_none();
        let scope = if direct { SCOPE_LINK } else { SCOPE_GLOBAL };
        let mut header = [0; 12];
        header[..2].copy_from_slice(&[AF_INET, route.to.prefix()]);
        header[4..8].copy_from_slice(&[RT_TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST]);
        if !direct {
            header[8..].copy_from_slice(&RTNH_F_ONLINK.to_ne_bytes());
        }
        let message = self.0.begin(NEW_ROUTE, ACK | CREATE | REPLACE, &header);
        message
            .attr(RTA_DST, &route.to.address().octets())
            .attr(RTA_OIF, &route.index.to_ne_bytes());
        if let Some(gateway) = route.gateway {
            message.attr(RTA_GATEWAY, &gateway.octets());
        }
        if let Some(source) = route.source {
            message.attr(RTA_PREFSRC, &source.octets());
        }
        message.end();
        self
    }

    /// Fixes the hardware address of a neighbour, so that nobody needs to ask for it.
    pub fn neighbour(&mut self, index: u32, address: Ipv4Addr, mac: Mac) -> &mut Self {
        let mut header = [AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        header[4..8].copy_from_slice(&index.to_ne_bytes());
        header[8..10].copy_from_slice(&NUD_PERMANENT.to_ne_bytes());
        let message = self.0.begin(NEW_NEIGHBOUR, ACK | CREATE | REPLACE, &header);
        message
            .attr(NDA_DST, &address.octets())
            .attr(NDA_LLADDR, &mac)
            .end();
        self
    }
}

/// The rtnetlink socket of one namespace.
pub(super) struct Links(Socket);

impl Links {
    /// Opens a socket in the calling thread's namespace.
    pub fn open() -> io::Result<Self> {
        Socket::open(libc::NETLINK_ROUTE).map(Self)
    }

    /// Sets the loopback interface up.
    pub fn loopback_up(&mut self) -> io::Result<()> {
        let mut batch = LinkBatch::default();
        batch.up(LOOPBACK);
        self.apply(batch)
    }

    /// Applies all changes in order; the first failure is returned, later ones are still tried.
    pub fn apply(&mut self, batch: LinkBatch) -> io::Result<()> {
        let results = self.0.request(batch.0)?;
        let failed = results
            .into_iter()
            .enumerate()
            .find_map(|(at, error)| error.map(|e| (at, e)));
        match failed {
            None => Ok(()),
            Some((at, e)) => Err(io::Error::new(
                e.kind(),
                format!("network change {} of a batch: {e}", at + 1),
            )),
        }
    }

    /// Deletes a link by name; an absent one is success.
    pub fn delete(&mut self, name: &str) -> io::Result<()> {
        let mut batch = LinkBatch::default();
        batch.delete(name);
        let failed = self.0.request(batch.0)?.pop().flatten();
        match failed {
            Some(e) if e.raw_os_error() != Some(libc::ENODEV) => Err(e),
            _ => Ok(()),
        }
    }
}

/// `struct ifinfomsg`.
fn link(index: u32, up: bool) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let flags = if up { IFF_UP } else { 0 };
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}
