//! Forgetting connections of UDP services whose endpoint is gone.
//!
//! UDP has no end of connection, so a client with a fixed port would be sent to a removed
//! endpoint for as long as it keeps sending. Upstream counterpart: kube-proxy's conntrack cleanup.

use crate::net::netlink::{ACK, DUMP, Messages, Socket, attributes};
use env::{Backend, Frontend};
use std::{io, net::Ipv4Addr};

const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const HEADER: [u8; 4] = [2, 0, 0, 0];
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;

/// A kind of connection to forget.
pub(super) struct Stale {
    /// What the client sent to.
    pub frontend: Frontend,
    /// Where it was led; `None` for connections that were led nowhere.
    pub backend: Option<Backend>,
}

/// One direction of a tracked connection.
#[derive(Clone, Copy, Default)]
struct Tuple {
    source: Option<Ipv4Addr>,
    destination: Option<Ipv4Addr>,
    protocol: u8,
    source_port: u16,
    destination_port: u16,
}

/// The connection tracking table of one namespace.
pub(super) struct Conntrack(Socket);

impl Conntrack {
    /// Opens a socket in the calling thread's namespace.
    pub fn open() -> io::Result<Self> {
        Socket::open(libc::NETLINK_NETFILTER).map(Self)
    }

    /// Forgets all connections described; costs nothing if there is nothing to forget.
    pub fn forget(&mut self, stale: Vec<Stale>) -> io::Result<()> {
        if stale.is_empty() {
            return Ok(());
        }
        let mut request = Messages::default();
        request.begin(GET, DUMP, &HEADER).end();
        let mut delete = Messages::default();
        let mut found = false;
        self.0.dump(request, |body| {
            let Some(original) = matching(body, &stale) else {
                return;
            };
            found = true;
            delete
                .begin(DELETE, ACK, &HEADER)
                .attr(TUPLE_ORIGINAL, original)
                .end();
        })?;
        if !found {
            return Ok(());
        }
        let failed = self.0.request(delete)?.into_iter().flatten();
        // A connection that ended meanwhile is as good as deleted.
        let mut real = failed.filter(|e| e.raw_os_error() != Some(libc::ENOENT));
        real.next().map_or(Ok(()), Err)
    }
}

/// The original tuple of a dumped connection if it is stale.
fn matching<'a>(body: &'a [u8], stale: &[Stale]) -> Option<&'a [u8]> {
    let find = |kind| {
        attributes(body.get(4..)?)
            .find(|a| a.0 == kind)
            .map(|a| a.1)
    };
    let bytes = find(TUPLE_ORIGINAL)?;
    let (original, reply) = (tuple(bytes), tuple(find(TUPLE_REPLY)?));
    stale
        .iter()
        .any(|s| is_stale(s, &original, &reply))
        .then_some(bytes)
}

fn is_stale(stale: &Stale, original: &Tuple, reply: &Tuple) -> bool {
    let frontend = &stale.frontend;
    let address = frontend.address.or(original.destination);
    let to_frontend = original.protocol == libc::IPPROTO_UDP as u8
        && (original.destination, original.destination_port) == (address, frontend.port);
    let led_to = (reply.source, reply.source_port);
    to_frontend
        && match stale.backend {
            Some(backend) => led_to == (Some(backend.address), backend.port),
            None => led_to == (original.destination, original.destination_port),
        }
}

fn tuple(bytes: &[u8]) -> Tuple {
    let mut tuple = Tuple::default();
    for (outer, value) in attributes(bytes) {
        for (inner, value) in attributes(value) {
            let address = value.first_chunk::<4>().map(|b| Ipv4Addr::from(*b));
            let port = || {
                value
                    .first_chunk::<2>()
                    .map_or(0, |b| u16::from_be_bytes(*b))
            };
            match (outer, inner) {
                (1, 1) => tuple.source = address,
                (1, 2) => tuple.destination = address,
                (2, 1) => tuple.protocol = value.first().copied().unwrap_or(0),
                (2, 2) => tuple.source_port = port(),
                (2, 3) => tuple.destination_port = port(),
                _ => {}
            }
        }
    }
    tuple
}
