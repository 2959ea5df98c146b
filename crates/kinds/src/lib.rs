//! The catalogue of kinds: what each kind is called, how it is shown, what it defaults to and
//! what is refused, as values and pure functions.
//!
//! A plain kind is a row of `discovery.txt`; one with rules of its own adds a [`Part`] to the
//! file of its group. Knows no store, transport or clock. Upstream counterparts: `pkg/apis/*`,
//! `pkg/registry/*/strategy.go`, `pkg/printers/internalversion`.

mod access;
mod apps;
mod batch;
mod catalogue;
mod certificates;
mod check;
mod cluster;
mod columns;
mod convert;
mod core;
mod crd;
mod defaults;
mod devices;
mod diff;
mod expressions;
mod fields;
mod flow;
mod internal;
mod kind;
mod meta;
mod network;
mod path;
mod pod;
mod policies;
mod policy;
mod print;
mod ranges;
mod required;
pub mod resources;
mod service;
mod storage;
mod strategy;
mod subresource;
mod type_check;
mod volume;
mod warnings;
mod webhooks;
mod zeros;

pub use catalogue::*;
pub use columns::*;
pub use crd::{kinds_of_crd, kinds_of_definition};
pub use defaults::apply_builtin;
pub use expressions::*;
pub use kind::*;
pub use path::Path;
pub use pod::qos_class;
pub use resources::*;
pub use strategy::*;
pub use subresource::body_type;
pub use type_check::type_check;

use std::{collections::BTreeMap, sync::OnceLock};

const FILES: [&[Part]; 12] = [
    &[pod::PART],
    core::PARTS,
    service::PARTS,
    volume::PARTS,
    apps::PARTS,
    batch::PARTS,
    policy::PARTS,
    access::PARTS,
    network::PARTS,
    cluster::PARTS,
    flow::PARTS,
    devices::PARTS,
];

/// The parts of built-in kinds by resource in the store.
pub(crate) fn parts() -> &'static BTreeMap<&'static str, Part> {
    static PARTS: OnceLock<BTreeMap<&'static str, Part>> = OnceLock::new();
    PARTS.get_or_init(|| {
        FILES
            .into_iter()
            .flatten()
            .map(|part| (part.storage, *part))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_belongs_to_a_kind_and_its_heads_fit() {
        let catalogue = Catalogue::builtin();
        let rows: usize = FILES.iter().map(|file| file.len()).sum();
        assert_eq!(parts().len(), rows, "two parts of one kind");
        for (storage, part) in parts() {
            let kind = catalogue.by_storage(storage).expect(storage);
            assert_eq!(part.heads.is_empty(), part.row.is_none(), "{storage}");
            let status = kind.subresource("status").is_some();
            let expected = status && *storage != NODES;
            assert_eq!(part.strategy.has_status, expected, "{storage}");
        }
        for kind in catalogue
            .iter()
            .filter(|kind| kind.subresource("status").is_some())
        {
            assert!(parts().contains_key(kind.storage.as_str()), "{kind:?}");
        }
    }
}
