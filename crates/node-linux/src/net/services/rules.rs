//! The constant rules of a node and the shape of the elements they look up.
//!
//! Must not know which services exist. Upstream counterpart: the base chains of kube-proxy's nftables mode.

use super::{
    ServiceNet,
    nft::{
        Batch, Element,
        Expression::{self, *},
        Hook, R0, Type, VERDICT, Value,
    },
    slots::Class,
};
use crate::net::links::LOOPBACK;
use env::{Backend, Frontend};

/// (address or 0, protocol, port) to (class, mark).
pub(super) const FRONTENDS: &str = "frontends";
/// (address or 0, protocol, port, slot) to (address, port).
pub(super) const SLOTS: &str = "slots";
/// (client, address or 0, protocol, port) to (address, port), for clients that stay with their
/// endpoint.
pub(super) const CLIENTS: &str = "clients";
/// (address or 0, protocol, port, address, port) of endpoints that clients may stay with.
pub(super) const BACKENDS: &str = "backends";
/// Pods of the node paired with themselves: a pod that reaches itself through a service.
const HAIRPINS: &str = "hairpins";
/// Class to chain, for frontends with an address.
const CLASSES: &str = "classes";
/// Class to chain, for node ports.
const PORT_CLASSES: &str = "port-classes";

/// Clients remembered at a time. Beyond, new ones are served and not remembered.
const CLIENTS_MAX: u32 = 1 << 18;

/// Marks connections whose source is rewritten, kube-proxy's bit.
pub(super) const MASQUERADE_MARK: u32 = 0x4000;

const PREROUTING: u32 = 0;
const FORWARD: u32 = 2;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;
/// Before connections are tracked.
const FIRST: i32 = -300;
const BEFORE_ROUTING: i32 = -100;
const AFTER_ROUTING: i32 = 100;
const FILTER: i32 = 0;

const SOURCE: Expression = Payload {
    network: true,
    offset: 12,
    length: 4,
    to: R0,
};
const DESTINATION: Expression = destination(R0);
const NO_ADDRESS: Expression = no_address(R0);
const TRANSPORT: Expression = Protocol { to: R0 + 1 };
const PORT: Expression = port(R0 + 2);

const fn destination(to: u32) -> Expression<'static> {
    Payload {
        network: true,
        offset: 16,
        length: 4,
        to,
    }
}

const fn no_address(to: u32) -> Expression<'static> {
    Constant { to, value: [0; 4] }
}

const fn port(to: u32) -> Expression<'static> {
    Payload {
        network: false,
        offset: 2,
        length: 2,
        to,
    }
}

/// Kind of an address that belongs to the node, `RTN_LOCAL`.
const LOCAL: [u8; 4] = 2u32.to_ne_bytes();

/// Writes the whole table without any service.
pub(super) fn base(batch: &mut Batch, net: &ServiceNet) {
    batch.fresh_table();
    sets(batch, net);
    Class::forgetful().for_each(|class| class_chains(batch, class));
    dispatch(batch);
    hooks(batch, net);
}

fn sets(batch: &mut Batch, net: &ServiceNet) {
    let frontend = [Type::Address, Type::Protocol, Type::Port];
    let slot = [Type::Address, Type::Protocol, Type::Port, Type::Mark];
    batch.set(
        FRONTENDS,
        1,
        &frontend,
        Value::Fields(&[Type::Mark, Type::Mark]),
    );
    batch.set(SLOTS, 2, &slot, Value::Fields(&[Type::Address, Type::Port]));
    let client = [Type::Address, Type::Address, Type::Protocol, Type::Port];
    let endpoint = Value::Learned(&[Type::Address, Type::Port], CLIENTS_MAX);
    batch.set(CLIENTS, 6, &client, endpoint);
    let backend = [
        Type::Address,
        Type::Protocol,
        Type::Port,
        Type::Address,
        Type::Port,
    ];
    batch.set(BACKENDS, 7, &backend, Value::Nothing);
    batch.set(HAIRPINS, 3, &[Type::Address, Type::Address], Value::Nothing);
    batch.set(CLASSES, 4, &[Type::Mark], Value::Chain);
    batch.set(PORT_CLASSES, 5, &[Type::Mark], Value::Chain);
    for address in (0..net.pods.size()).filter_map(|n| net.pods.nth(n)) {
        let key = [address.octets(), address.octets()].concat();
        batch.add(HAIRPINS, Element::new(key, None));
    }
}

/// Writes the rules of a class.
pub(super) fn class_chains(batch: &mut Batch, class: Class) {
    for (map, address) in [
        (CLASSES, destination as fn(u32) -> Expression<'static>),
        (PORT_CLASSES, no_address),
    ] {
        let name = format!("{map}-{}", class.number());
        batch.chain(&name, None);
        if class.slots > 0 {
            if class.seconds > 0 {
                stay(batch, &name, class, address);
            }
            choose(batch, &name, class, address);
        }
        batch.goto_element(map, &class.number().to_ne_bytes(), &name);
    }
}

/// Choose a slot, look it up, rewrite the destination. The class without slots leaves the packet
/// alone; the filter rejects it later.
fn choose(batch: &mut Batch, name: &str, class: Class, address: fn(u32) -> Expression<'static>) {
    let random = Random {
        below: class.slots,
        to: R0 + 3,
    };
    let lookup = Lookup {
        map: SLOTS,
        from: R0,
        to: R0 + 4,
    };
    let rewrite = DestinationNat {
        address: R0 + 4,
        port: R0 + 5,
    };
    let rule = [address(R0), TRANSPORT, PORT, random, lookup, rewrite];
    batch.rule(name, &rule);
}

/// A client that is known goes where it went, while that is an endpoint; another one, or one whose
/// endpoint is gone, is remembered with the endpoint it gets.
fn stay(batch: &mut Batch, name: &str, class: Class, address: fn(u32) -> Expression<'static>) {
    let client = || {
        [
            SOURCE,
            address(R0 + 1),
            Protocol { to: R0 + 2 },
            port(R0 + 3),
        ]
    };
    let learn = |data, again| Learn {
        map: CLIENTS,
        key: R0,
        data,
        seconds: class.seconds,
        again,
    };
    let rewrite = |to| DestinationNat {
        address: to,
        port: to + 1,
    };
    let lookup = |map, from, to| Lookup { map, from, to };
    let known = [
        lookup(CLIENTS, R0, R0 + 4),
        Member {
            set: BACKENDS,
            from: R0 + 1,
        },
        learn(R0 + 4, true),
        rewrite(R0 + 4),
    ];
    let rule: Vec<Expression> = client().into_iter().chain(known).collect();
    batch.rule(name, &rule);
    let new = [
        Random {
            below: class.slots,
            to: R0 + 4,
        },
        lookup(SLOTS, R0 + 1, R0 + 5),
        Forget {
            map: CLIENTS,
            key: R0,
            data: R0 + 5,
        },
        learn(R0 + 5, false),
        rewrite(R0 + 5),
    ];
    let rule: Vec<Expression> = client().into_iter().chain(new).collect();
    batch.rule(name, &rule);
}

/// The chain every new connection passes: frontends by address, then node ports.
fn dispatch(batch: &mut Batch) {
    let class = || Lookup {
        map: FRONTENDS,
        from: R0,
        to: R0 + 4,
    };
    let mark = || SetMark { from: R0 + 5 };
    let chain = |map| Lookup {
        map,
        from: R0 + 4,
        to: VERDICT,
    };
    batch.chain("services", None);
    batch.rule(
        "services",
        &[
            DESTINATION,
            TRANSPORT,
            PORT,
            class(),
            mark(),
            chain(CLASSES),
        ],
    );
    // Node ports on 127.0.0.0/8 would need answers to travel from other hosts to loopback.
    let not_loopback = [
        DESTINATION,
        Mask {
            register: R0,
            mask: [255, 0, 0, 0],
        },
        Compare {
            register: R0,
            equal: false,
            value: [127, 0, 0, 0],
        },
        DestinationKind { to: R0 },
        Compare {
            register: R0,
            equal: true,
            value: LOCAL,
        },
    ];
    let by_port = [
        NO_ADDRESS,
        TRANSPORT,
        PORT,
        class(),
        mark(),
        chain(PORT_CLASSES),
    ];
    let rule: Vec<Expression> = not_loopback.into_iter().chain(by_port).collect();
    batch.rule("services", &rule);
}

/// The node's loopback is for the node: packets to it that come from elsewhere are lost before
/// a host port can lead them anywhere.
fn guard_loopback(batch: &mut Batch) {
    let hook = Hook {
        kind: "filter",
        number: PREROUTING,
        priority: FIRST,
    };
    batch.chain("guard", Some(&hook));
    let elsewhere = [
        DESTINATION,
        Mask {
            register: R0,
            mask: [255, 0, 0, 0],
        },
        Compare {
            register: R0,
            equal: true,
            value: [127, 0, 0, 0],
        },
        InputInterface { to: R0 },
        Compare {
            register: R0,
            equal: false,
            value: LOOPBACK.to_ne_bytes(),
        },
        Drop,
    ];
    batch.rule("guard", &elsewhere);
}

fn hooks(batch: &mut Batch, net: &ServiceNet) {
    guard_loopback(batch);
    let nat = |number, priority| Hook {
        kind: "nat",
        number,
        priority,
    };
    let filter = |number| Hook {
        kind: "filter",
        number,
        priority: FILTER,
    };
    batch.chain("prerouting", Some(&nat(PREROUTING, BEFORE_ROUTING)));
    batch.rule("prerouting", &[Jump("services")]);
    batch.chain("output", Some(&nat(OUTPUT, BEFORE_ROUTING)));
    batch.rule("output", &[Jump("services")]);
    batch.chain("postrouting", Some(&nat(POSTROUTING, AFTER_ROUTING)));
    masquerade(batch, net);
    for (name, hook) in [("filter-forward", FORWARD), ("filter-output", OUTPUT)] {
        batch.chain(name, Some(&filter(hook)));
        reject_unserved(batch, name, net);
    }
}

fn masquerade(batch: &mut Batch, net: &ServiceNet) {
    let node = || Constant {
        to: R0,
        value: net.node.octets(),
    };
    let mask = MASQUERADE_MARK.to_ne_bytes();
    let marked = [
        Mark { to: R0 },
        Mask { register: R0, mask },
        Compare {
            register: R0,
            equal: true,
            value: mask,
        },
        node(),
        SourceNat { address: R0 },
    ];
    batch.rule("postrouting", &marked);
    let itself = [
        SOURCE,
        destination(R0 + 1),
        Member {
            set: HAIRPINS,
            from: R0,
        },
        node(),
        SourceNat { address: R0 },
    ];
    batch.rule("postrouting", &itself);
}

/// What still has a service's address here found no endpoint (or no such port): refuse at once.
fn reject_unserved(batch: &mut Batch, chain: &str, net: &ServiceNet) {
    let range = [
        DESTINATION,
        Mask {
            register: R0,
            mask: net.services.mask().to_be_bytes(),
        },
        Compare {
            register: R0,
            equal: true,
            value: net.services.address().octets(),
        },
        Reject,
    ];
    batch.rule(chain, &range);
    let frontend = Lookup {
        map: FRONTENDS,
        from: R0,
        to: R0 + 4,
    };
    let empty = Compare {
        register: R0 + 4,
        equal: true,
        value: [0; 4],
    };
    batch.rule(
        chain,
        &[DESTINATION, TRANSPORT, PORT, frontend, empty, Reject],
    );
}

/// The key of a frontend.
pub(super) fn frontend_key(frontend: &Frontend) -> Vec<u8> {
    let address = frontend.address.map_or([0; 4], |a| a.octets());
    let protocol = match frontend.protocol {
        env::Protocol::Tcp => libc::IPPROTO_TCP,
        env::Protocol::Udp => libc::IPPROTO_UDP,
        env::Protocol::Sctp => libc::IPPROTO_SCTP,
    };
    let [high, low] = frontend.port.to_be_bytes();
    let rest = [protocol as u8, 0, 0, 0, high, low, 0, 0];
    [&address[..], &rest].concat()
}

/// The key of a frontend's slot.
pub(super) fn slot_key(frontend: &Frontend, slot: u32) -> Vec<u8> {
    let mut key = frontend_key(frontend);
    key.extend(slot.to_ne_bytes());
    key
}

/// The key of an endpoint that clients may stay with.
pub(super) fn endpoint_key(frontend: &Frontend, backend: &Backend) -> Vec<u8> {
    let mut key = frontend_key(frontend);
    key.extend(backend_data(backend));
    key
}

/// The value of a slot.
pub(super) fn backend_data(backend: &Backend) -> Vec<u8> {
    let [high, low] = backend.port.to_be_bytes();
    [&backend.address.octets()[..], &[high, low, 0, 0]].concat()
}
