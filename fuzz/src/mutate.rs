//! Seeded mutations for runs without a coverage-guided fuzzer.

/// Pieces that steer decoders into corners: punctuation of the grammars, limits of numbers,
/// lengths that lie.
const PIECES: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b":",
    b",",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"-0",
    b"1e999",
    b"9223372036854775808",
    b"0.1",
    b"true",
    b"~1",
    b"/-",
    b"\n  - ",
    b"\n",
    b"\t",
    b"&a ",
    b"*a",
    b"!!str ",
    b"|-\n",
    b"---\n",
    b"\xff",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\x00",
    b"k8s\x00",
    b"$patch",
    b"k:{\"a\":1}",
    b"f:a",
    b"v:1",
    b"(",
    b")*",
    b"{1000}",
    b"[^]",
    b"in (",
    b"!=",
    b"Ki",
    b"e3",
    b"\xe2\x82\xac",
];
/// Inputs are kept below this length: what matters here is shape, not size.
const LENGTH_MAX: usize = 8 << 10;

/// A stream of numbers from a seed (SplitMix64).
pub struct Chance(pub u64);

impl Chance {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `limit`; zero if there is none.
    pub fn below(&mut self, limit: usize) -> usize {
        if limit == 0 {
            return 0;
        }
        (self.draw() % limit as u64) as usize
    }
}

/// One of `seeds`, changed a few times.
pub fn mutated(seeds: &[&[u8]], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = seeds[chance.below(seeds.len())].to_vec();
    for _ in 0..=chance.below(6) {
        change(&mut bytes, seeds, chance);
        bytes.truncate(LENGTH_MAX);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, seeds: &[&[u8]], chance: &mut Chance) {
    let at = chance.below(bytes.len() + 1);
    let end = at + chance.below((bytes.len() - at).min(24) + 1);
    match chance.below(7) {
        0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
        1 if at < bytes.len() => bytes[at] = chance.draw() as u8,
        2 => drop(bytes.drain(at..end)),
        3 => {
            let copy = bytes[at..end].to_vec();
            let to = chance.below(bytes.len() + 1);
            drop(bytes.splice(to..to, copy));
        }
        4 => bytes.truncate(at),
        5 => {
            let other = seeds[chance.below(seeds.len())];
            let from = chance.below(other.len() + 1);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        _ => {
            let piece = PIECES[chance.below(PIECES.len())];
            drop(bytes.splice(at..end, piece.iter().copied()));
        }
    }
}
