//! Each target over its seeds and a few thousand seeded mutations of them: the same inputs on
//! every run, so that a failure is repeated by running again. Longer runs: see the crate's
//! feature `libfuzzer`, or `XEBEC_FUZZ_ROUNDS`.

use fuzz::{Chance, TARGETS, Target, mutated};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Inputs for each target where the environment names no other number.
const ROUNDS: u64 = 3_000;

fn rounds() -> u64 {
    let named = std::env::var("XEBEC_FUZZ_ROUNDS").ok();
    named.and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

fn feed(target: &Target, bytes: &[u8]) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| (target.run)(bytes)))
        .map_err(|_| format!("{}: \"{}\"", target.name, bytes.escape_ascii()))
}

#[test]
fn seeds_and_mutations() {
    let mut failures = Vec::new();
    for (number, target) in TARGETS.iter().enumerate() {
        let seeds = target.seeds.iter().map(|seed| feed(target, seed));
        let mut chance = Chance(number as u64);
        let changed = (0..rounds()).map(|_| feed(target, &mutated(target.seeds, &mut chance)));
        failures.extend(seeds.chain(changed).filter_map(Result::err).take(3));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
