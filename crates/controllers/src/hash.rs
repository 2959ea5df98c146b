//! Stable hashes of trees and names made from them.
//!
//! Upstream counterpart: `pkg/util/hash` and `k8s.io/apimachinery/pkg/util/rand`.

use machinery::Value;

const OFFSET: u32 = 2_166_136_261;
const PRIME: u32 = 16_777_619;
/// Letters and digits that spell no words and are not mistaken for each other.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of a generated name's suffix.
const SUFFIX: usize = 5;

fn feed(hash: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(PRIME)
    })
}

/// FNV-1a, 32 bits.
pub fn fnv(bytes: &[u8]) -> u32 {
    feed(OFFSET, bytes)
}

/// The label value of a tree's hash; `salt` resolves collisions. Equal trees hash equally.
pub fn of_tree(tree: &Value, salt: Option<i64>) -> String {
    let mut hash = fnv(&machinery::flat::encode(tree));
    if let Some(salt) = salt {
        hash = feed(hash, &salt.to_le_bytes());
    }
    safe(&hash.to_string())
}

/// Spells digits in the safe alphabet.
pub fn safe(text: &str) -> String {
    text.bytes()
        .map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]))
        .collect()
}

/// A suffix for a generated name: as good as random, yet the same for the same seed.
pub fn suffix(seed: &str, revision: u64, turn: usize) -> String {
    let mut state = feed(fnv(seed.as_bytes()), &revision.to_le_bytes());
    state = feed(state, &(turn as u64).to_le_bytes());
    let mut wide = u64::from(state) << 32 | u64::from(feed(state, b"tail"));
    wide ^= wide >> 29;
    wide = wide.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    wide ^= wide >> 32;
    let letters = ALPHABET.len() as u64;
    (0..SUFFIX)
        .map(|_| {
            let letter = ALPHABET[(wide % letters) as usize];
            wide /= letters;
            char::from(letter)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;
    use std::collections::BTreeSet;

    #[test]
    fn equal_trees_hash_equally_and_salt_changes_them() {
        let (one, other) = (json!({"a": 1, "b": 2}), json!({"b": 2, "a": 1}));
        assert_eq!(of_tree(&one, None), of_tree(&other, None));
        assert_ne!(of_tree(&one, None), of_tree(&one, Some(1)));
        assert_eq!(fnv(b"a"), 0xe40c_292c);
    }

    #[test]
    fn suffixes_differ_by_turn() {
        let seen: BTreeSet<_> = (0..500).map(|turn| suffix("uid", 7, turn)).collect();
        assert_eq!(seen.len(), 500);
        assert!(seen.iter().all(|name| name.len() == SUFFIX));
    }
}
