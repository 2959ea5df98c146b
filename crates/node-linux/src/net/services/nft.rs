//! The part of nf_tables that service rules need, encoded for netlink.
//!
//! Must not know what the rules mean. Upstream counterpart: libnftnl.

use crate::net::netlink::{ACK, CREATE, DUMP, Messages, Socket, attributes};
use std::io;

const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = SUBSYSTEM;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const NEW_SET: u16 = SUBSYSTEM | 9;
const NEW_ELEMENT: u16 = SUBSYSTEM | 12;
const GET_ELEMENTS: u16 = SUBSYSTEM | 13;
const DELETE_ELEMENT: u16 = SUBSYSTEM | 14;
const APPEND: u16 = 0x800;

const FAMILY_IPV4: u8 = 2;
/// `nfgenmsg` of nf_tables messages.
const HEADER: [u8; 4] = [FAMILY_IPV4, 0, 0, 0];
/// `nfgenmsg` of batch marks: the resource id names the subsystem, in network order.
const BATCH_HEADER: [u8; 4] = [0, 0, 0, 10];
/// Element messages end here: their list is one attribute with a 16-bit length.
const MESSAGE_LIMIT: usize = 60_000;

const SET_MAP: u32 = 8;
/// Members go when their time is over.
const SET_TIMEOUT: u32 = 0x10;
/// Rules add members.
const SET_LEARNS: u32 = 0x20;
const DATA_VERDICT: u32 = 0xffff_ff00;
const VERDICT_DROP: u32 = 0;
const VERDICT_GOTO: i32 = -4;
const VERDICT_JUMP: i32 = -3;

/// Register that takes verdicts.
pub(super) const VERDICT: u32 = 0;
/// The first of sixteen 4-byte registers.
pub(super) const R0: u32 = 8;

/// One member of a set; `data` makes it a map entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub key: Vec<u8>,
    pub data: Option<Vec<u8>>,
    /// How long it is kept, and how long still, in milliseconds.
    pub time: Option<(u64, u64)>,
}

impl Element {
    pub fn new(key: Vec<u8>, data: Option<Vec<u8>>) -> Self {
        Self {
            key,
            data,
            time: None,
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let part = |kind| attributes(bytes).find(|one| one.0 == kind).map(|one| one.1);
        let inner = |kind| Some(attributes(part(kind)?).next()?.1.to_vec());
        let millis = |kind| Some(u64::from_be_bytes(*part(kind)?.first_chunk()?));
        Some(Self {
            key: inner(1)?,
            data: inner(2),
            time: millis(4).zip(millis(5)),
        })
    }
}

/// The members of a set or map; none where there is no such set.
pub(super) fn members(socket: &mut Socket, set: &str) -> io::Result<Vec<Element>> {
    const LIST: u16 = 3;
    let mut request = Messages::default();
    let message = request.begin(GET_ELEMENTS, DUMP, &HEADER);
    message.text(1, TABLE).text(2, set).end();
    let mut found = Vec::new();
    let outcome = socket.dump(request, |body| {
        let lists = attributes(body.get(4..).unwrap_or_default());
        for (_, list) in lists.filter(|(kind, _)| *kind == LIST) {
            found.extend(attributes(list).filter_map(|(_, one)| Element::read(one)));
        }
    });
    match outcome {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Vec::new()),
        outcome => outcome.map(|()| found),
    }
}

/// Types of keys and values as `nft` prints them (`enum nft_datatypes` of the program).
#[derive(Clone, Copy)]
pub(super) enum Type {
    Address = 7,
    Protocol = 12,
    Port = 13,
    Mark = 19,
}

/// What a map leads to.
pub(super) enum Value<'a> {
    Nothing,
    Fields(&'a [Type]),
    /// As fields, of so many members at most, which rules add and time takes away.
    Learned(&'a [Type], u32),
    Chain,
}

/// Where a base chain hangs.
pub(super) struct Hook {
    pub kind: &'static str,
    pub number: u32,
    pub priority: i32,
}

/// Changes that take effect together or not at all.
pub(super) struct Batch {
    messages: Messages,
    /// Elements collected for the message under construction.
    pending: Option<(u16, &'static str, Vec<Element>, usize)>,
}

/// The one table all names live in.
const TABLE: &str = "services";

impl Default for Batch {
    fn default() -> Self {
        let mut messages = Messages::default();
        messages.begin(BATCH_BEGIN, 0, &BATCH_HEADER).end();
        Self {
            messages,
            pending: None,
        }
    }
}

impl Batch {
    /// Forgets the table with all it holds and begins it anew.
    pub fn fresh_table(&mut self) {
        // Deleting an absent table would fail, so it is made first.
        for (kind, flags) in [(NEW_TABLE, CREATE), (DELETE_TABLE, 0), (NEW_TABLE, CREATE)] {
            self.messages
                .begin(kind, flags, &HEADER)
                .text(1, TABLE)
                .end();
        }
    }

    /// Makes a chain, hung into packet processing if `hook` is given.
    pub fn chain(&mut self, name: &str, hook: Option<&Hook>) {
        let message = self.messages.begin(NEW_CHAIN, CREATE, &HEADER);
        message.text(1, TABLE).text(3, name);
        if let Some(hook) = hook {
            message
                .nest(4, |h| {
                    h.be32(1, hook.number).be32(2, hook.priority as u32);
                })
                .text(7, hook.kind);
        }
        message.end();
    }

    /// Appends a rule to a chain.
    pub fn rule(&mut self, chain: &str, expressions: &[Expression]) {
        let message = self.messages.begin(NEW_RULE, CREATE | APPEND, &HEADER);
        message.text(1, TABLE).text(2, chain);
        message.nest(4, |list| {
            for expression in expressions {
                list.nest(1, |e| expression.encode(e));
            }
        });
        message.end();
    }

    /// Makes a set or map; `id` is unique within the batch.
    pub fn set(&mut self, name: &str, id: u32, key: &[Type], value: Value) {
        let message = self.messages.begin(NEW_SET, CREATE, &HEADER);
        let flags = match value {
            Value::Nothing => 0,
            Value::Learned(..) => SET_MAP | SET_TIMEOUT | SET_LEARNS,
            Value::Fields(_) | Value::Chain => SET_MAP,
        };
        message.text(1, TABLE).text(2, name).be32(3, flags);
        message
            .be32(4, type_code(key))
            .be32(5, 4 * key.len() as u32);
        match value {
            Value::Nothing => {}
            Value::Fields(fields) | Value::Learned(fields, _) => {
                message
                    .be32(6, type_code(fields))
                    .be32(7, 4 * fields.len() as u32);
            }
            Value::Chain => {
                message.be32(6, DATA_VERDICT);
            }
        }
        if let Value::Learned(_, size) = value {
            message.nest(9, |description| {
                description.be32(1, size);
            });
        }
        message.be32(10, id).end();
    }

    /// Maps `key` to continuing in a chain.
    pub fn goto_element(&mut self, set: &str, key: &[u8], chain: &str) {
        self.flush();
        let message = self.messages.begin(NEW_ELEMENT, CREATE, &HEADER);
        message.text(1, TABLE).text(2, set);
        message.nest(3, |list| {
            list.nest(1, |e| {
                e.nest(1, |k| value(k, key));
                e.nest(2, |d| verdict(d, VERDICT_GOTO, chain));
            });
        });
        message.end();
    }

    /// Adds an element to a set or map.
    pub fn add(&mut self, set: &'static str, element: Element) {
        self.collect(NEW_ELEMENT, set, element);
    }

    /// Removes an element, which must be there, from a set or map.
    pub fn delete(&mut self, set: &'static str, element: Element) {
        self.collect(DELETE_ELEMENT, set, element);
    }

    /// Applies everything.
    pub fn send(mut self, socket: &mut Socket) -> io::Result<()> {
        self.flush();
        // Asks for an answer by a harmless message: kernels before 6.10 do not acknowledge the end mark.
        let message = self.messages.begin(NEW_TABLE, CREATE | ACK, &HEADER);
        message.text(1, TABLE).end();
        self.messages.begin(BATCH_END, 0, &BATCH_HEADER).end();
        socket.transaction(self.messages)
    }

    /// Gathers neighbours of one kind into one message, which is far cheaper than one each.
    fn collect(&mut self, kind: u16, set: &'static str, element: Element) {
        let size = 64 + element.key.len() + element.data.as_ref().map_or(0, Vec::len);
        let fits = |p: &(u16, &str, Vec<Element>, usize)| {
            p.0 == kind && p.1 == set && p.3 + size < MESSAGE_LIMIT
        };
        if !self.pending.as_ref().is_some_and(fits) {
            self.flush();
        }
        let pending = self.pending.get_or_insert((kind, set, Vec::new(), 0));
        pending.2.push(element);
        pending.3 += size;
    }

    fn flush(&mut self) {
        let Some((kind, set, elements, _)) = self.pending.take() else {
            return;
        };
        let flags = if kind == NEW_ELEMENT { CREATE } else { 0 };
        let message = self.messages.begin(kind, flags, &HEADER);
        message.text(1, TABLE).text(2, set);
        message.nest(3, |list| {
            for element in &elements {
                list.nest(1, |e| {
                    e.nest(1, |k| value(k, &element.key));
                    if let Some(data) = &element.data {
                        e.nest(2, |d| value(d, data));
                    }
                    if let Some((whole, left)) = element.time {
                        e.attr(4, &whole.to_be_bytes());
                        e.attr(5, &left.to_be_bytes());
                    }
                });
            }
        });
        message.end();
    }
}

/// One step of a rule.
pub(super) enum Expression<'a> {
    /// Loads bytes of the network (true) or transport (false) header.
    Payload {
        network: bool,
        offset: u32,
        length: u32,
        to: u32,
    },
    /// Loads the transport protocol.
    Protocol { to: u32 },
    /// Loads the packet's mark.
    Mark { to: u32 },
    /// Loads the number of the interface a packet came in by.
    InputInterface { to: u32 },
    /// Sets the packet's mark.
    SetMark { from: u32 },
    /// Keeps the bits of a mask.
    Mask { register: u32, mask: [u8; 4] },
    /// Goes on if the register is equal (or not).
    Compare {
        register: u32,
        equal: bool,
        value: [u8; 4],
    },
    /// Loads a constant.
    Constant { to: u32, value: [u8; 4] },
    /// Goes on if the registers from `from` are a member.
    Member { set: &'a str, from: u32 },
    /// Loads what the registers from `from` map to; goes on if there is such an entry.
    Lookup { map: &'a str, from: u32, to: u32 },
    /// A random number below `below`.
    Random { below: u32, to: u32 },
    /// Makes the registers from `key` lead to those from `data` for so many seconds in a map that
    /// learns, where they lead nowhere yet; or, with `again`, begins their time anew.
    Learn {
        map: &'a str,
        key: u32,
        data: u32,
        seconds: u32,
        again: bool,
    },
    /// Lets a map forget the registers from `key`.
    Forget { map: &'a str, key: u32, data: u32 },
    /// Loads the kind (local, unicast, ...) of the destination address.
    DestinationKind { to: u32 },
    /// Rewrites the destination: address and port from two registers.
    DestinationNat { address: u32, port: u32 },
    /// Rewrites the source address.
    SourceNat { address: u32 },
    /// Loses the packet.
    Drop,
    /// Refuses with "port unreachable".
    Reject,
    /// Continues in another chain and comes back.
    Jump(&'a str),
}

impl Expression<'_> {
    // long: one arm an expression, each a line or two; apart they would say less.
    fn encode(&self, m: &mut Messages) {
        match *self {
            Self::Payload {
                network,
                offset,
                length,
                to,
            } => {
                let base = if network { 1 } else { 2 };
                named(
                    m,
                    "payload",
                    &[(1, to), (2, base), (3, offset), (4, length)],
                );
            }
            Self::Protocol { to } => named(m, "meta", &[(1, to), (2, 16)]),
            Self::Mark { to } => named(m, "meta", &[(1, to), (2, 3)]),
            Self::InputInterface { to } => named(m, "meta", &[(1, to), (2, 4)]),
            Self::SetMark { from } => named(m, "meta", &[(2, 3), (3, from)]),
            Self::Mask { register, mask } => encode_mask(m, register, mask),
            Self::Compare {
                register,
                equal,
                value,
            } => encode_compare(m, register, equal, value),
            Self::Constant {
                to,
                value: constant,
            } => {
                m.text(1, "immediate").nest(2, |e| {
                    e.be32(1, to).nest(2, |d| value(d, &constant));
                });
            }
            Self::Member { set, from } => {
                m.text(1, "lookup").nest(2, |e| {
                    e.text(1, set).be32(2, from);
                });
            }
            Self::Lookup { map, from, to } => {
                m.text(1, "lookup").nest(2, |e| {
                    e.text(1, map).be32(2, from).be32(3, to);
                });
            }
            Self::Random { below, to } => {
                named(m, "numgen", &[(1, to), (2, below), (3, 1), (4, 0)])
            }
            Self::Learn {
                map,
                key,
                data,
                seconds,
                again,
            } => {
                let operation = if again { REFRESH } else { REMEMBER };
                encode_learning(m, (map, operation), (key, data), Some(seconds));
            }
            Self::Forget { map, key, data } => encode_learning(m, (map, FORGET), (key, data), None),
            Self::DestinationKind { to } => named(m, "fib", &[(1, to), (2, 3), (3, 2)]),
            Self::DestinationNat { address, port } => {
                named(m, "nat", &[(1, 1), (2, 2), (3, address), (5, port)]);
            }
            Self::SourceNat { address } => named(m, "nat", &[(1, 0), (2, 2), (3, address)]),
            Self::Drop => {
                m.text(1, "immediate").nest(2, |e| {
                    e.be32(1, VERDICT).nest(2, |d| {
                        d.nest(2, |v| {
                            v.be32(1, VERDICT_DROP);
                        });
                    });
                });
            }
            Self::Reject => {
                m.text(1, "reject").nest(2, |e| {
                    e.be32(1, 0).attr(2, &[PORT_UNREACHABLE]);
                });
            }
            Self::Jump(chain) => {
                m.text(1, "immediate").nest(2, |e| {
                    e.be32(1, VERDICT)
                        .nest(2, |d| verdict(d, VERDICT_JUMP, chain));
                });
            }
        }
    }
}

/// What a rule does to a map that learns.
const REMEMBER: u32 = 0;
const REFRESH: u32 = 1;
const FORGET: u32 = 2;
const MILLIS: u64 = 1000;
/// ICMP code.
const PORT_UNREACHABLE: u8 = 3;

fn named(m: &mut Messages, name: &str, fields: &[(u16, u32)]) {
    m.text(1, name).nest(2, |e| {
        for (kind, field) in fields {
            e.be32(*kind, *field);
        }
    });
}

fn encode_learning(
    m: &mut Messages,
    (map, operation): (&str, u32),
    (key, data): (u32, u32),
    seconds: Option<u32>,
) {
    m.text(1, "dynset").nest(2, |e| {
        e.text(1, map).be32(3, operation).be32(4, key).be32(5, data);
        if let Some(seconds) = seconds {
            e.attr(6, &(u64::from(seconds) * MILLIS).to_be_bytes());
        }
    });
}

fn encode_mask(m: &mut Messages, register: u32, mask: [u8; 4]) {
    m.text(1, "bitwise").nest(2, |e| {
        e.be32(1, register).be32(2, register).be32(3, 4);
        e.nest(4, |d| value(d, &mask));
        e.nest(5, |d| value(d, &[0; 4]));
    });
}

fn encode_compare(m: &mut Messages, register: u32, equal: bool, expected: [u8; 4]) {
    m.text(1, "cmp").nest(2, |e| {
        e.be32(1, register).be32(2, u32::from(!equal));
        e.nest(3, |d| value(d, &expected));
    });
}

fn value(m: &mut Messages, bytes: &[u8]) {
    m.attr(1, bytes);
}

fn verdict(m: &mut Messages, code: i32, chain: &str) {
    m.nest(2, |v| {
        v.be32(1, code as u32).text(2, chain);
    });
}

/// The code of a concatenation: six bits for each field.
fn type_code(fields: &[Type]) -> u32 {
    fields
        .iter()
        .fold(0, |code, field| code << 6 | *field as u32)
}
