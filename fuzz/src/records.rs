//! Bytes that are not text: the log on the disk, objects at rest, frames of streams.

use crate::Target;
use apiserver::spdy::{Decoder, Encoder, SpdyFrame};
use env::Time;
use machinery::{Object, Value, json};
use sim_env::{DiskImage, DiskSpeed, Sim, SimDisk};
use std::sync::LazyLock;
use store::{Expected, Key, Operation, Store, StoreOptions, Transaction, Write};

/// Objects in the log that is damaged.
const OBJECTS: usize = 6;
/// Frames taken from one input.
const FRAMES_MAX: usize = 10_000;

/// The store's files: the input is a list of edits, four bytes each (file, place, place, byte).
pub const LOG: Target = Target {
    name: "log",
    run: log,
    seeds: &[
        b"\x00\x00\x10\x01",
        b"\x00\x40\x00\xff\x01\x10\x00\x00",
        b"\x00\xff\xff\x00",
    ],
};

/// A log of a few objects, as written.
static WRITTEN: LazyLock<DiskImage> = LazyLock::new(|| {
    let sim = Sim::new(1, Time::from_unix_seconds(1_800_000_000));
    let disk = SimDisk::new(sim.fork("disk"), DiskSpeed::default(), DiskImage::default());
    sim.block_on(async {
        let store = Store::open(&sim.world(), disk.clone(), options()).await;
        let store = store.expect("an empty disk is a store");
        for number in 0..OBJECTS {
            let write = Write::put(&thing(number));
            let operation = Operation::new("things", key(number), Expected::Absent, write);
            let committed = store.commit(Transaction::single(operation)).await;
            committed.expect("nothing stands in the way");
        }
        store.close().await;
    });
    disk.crash()
});

fn options() -> StoreOptions {
    StoreOptions {
        segment_bytes: 8 << 10,
        ..StoreOptions::default()
    }
}

fn key(number: usize) -> Key {
    Key::new("ns", &format!("n{number}"))
}

fn thing(number: usize) -> Value {
    json!({"metadata": {"name": format!("n{number}")}, "spec": {"number": number as i64}})
}

/// A damaged log is refused or cut at its torn end, never served wrong: what is served is a
/// prefix of what was written.
fn log(bytes: &[u8]) {
    let mut image = WRITTEN.clone();
    let names: Vec<String> = image.files.keys().cloned().collect();
    for edit in bytes.chunks_exact(4) {
        let name = &names[edit[0] as usize % names.len()];
        let file = image.files.get_mut(name).expect("named above");
        if !file.is_empty() {
            let at = u16::from_be_bytes([edit[1], edit[2]]) as usize % file.len();
            file[at] ^= edit[3];
        }
    }
    let sim = Sim::new(1, Time::from_unix_seconds(1_800_000_001));
    let disk = SimDisk::new(sim.fork("disk"), DiskSpeed::default(), image);
    let Ok(store) = sim.block_on(Store::open(&sim.world(), disk, options())) else {
        return;
    };
    let snapshot = store.snapshot();
    let served = snapshot.list("things", None).count();
    for number in 0..served {
        let object = snapshot.get("things", &key(number)).expect("a prefix");
        assert_eq!(object.root().to_value(), thing(number));
    }
    sim.block_on(store.close());
}

/// Objects at rest, as read from files.
pub const FLAT: Target = Target {
    name: "flat",
    run: |bytes| {
        if machinery::flat::check(bytes) {
            let object = Object::from_bytes(bytes, 1);
            let value = object.root().to_value();
            assert_eq!(Object::new(&value, 1).root().to_value(), value);
        }
        let words = ["kind".to_owned(), "metadata".to_owned()];
        let _value_or_none = machinery::flat::decode_foreign(bytes, &words);
    },
    seeds: &[b"\x00", b"\x05\x01\x01a\x00", b"\x06\x02\x01\x03\x01\x03"],
};

/// Frames of port-forward and exec streams.
pub const SPDY: Target = Target {
    name: "spdy",
    run: spdy,
    seeds: &[
        b"\x80\x03\x00\x06\x00\x00\x00\x04\x00\x00\x00\x01",
        b"\x00\x00\x00\x01\x01\x00\x00\x03abc",
        b"\x80\x03\x00\x03\x00\x00\x00\x08\x00\x00\x00\x01\x00\x00\x00\x05\x80\x03\x00\x07\x00\x00\x00\x08\x00\x00\x00\x01\x00\x00\x00\x00",
    ],
};

fn spdy(bytes: &[u8]) {
    let (mut whole, mut pieces) = (Decoder::default(), Decoder::default());
    whole.push(bytes);
    let mut at_once = Vec::new();
    let _sound = frames(&mut whole, &mut at_once);
    let mut one_by_one = Vec::new();
    for byte in bytes {
        pieces.push(std::slice::from_ref(byte));
        if !frames(&mut pieces, &mut one_by_one) {
            break;
        }
    }
    assert_eq!(
        control(&at_once),
        control(&one_by_one),
        "pieces make no difference"
    );
    let mut encoder = Encoder::default();
    for frame in &at_once {
        let mut decoder = Decoder::default();
        if matches!(frame, SpdyFrame::Ping(_)) {
            decoder.push(&encoder.encode(frame));
            let mut again = Vec::new();
            assert!(frames(&mut decoder, &mut again) && again.len() == 1);
        }
    }
}

/// Takes what is complete; false after an error, when the connection is of no use.
fn frames(decoder: &mut Decoder, into: &mut Vec<SpdyFrame>) -> bool {
    for _ in 0..FRAMES_MAX {
        match decoder.next_frame() {
            Ok(Some(frame)) => into.push(frame),
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
    true
}

/// The frames that come whole however the bytes arrive.
fn control(frames: &[SpdyFrame]) -> Vec<String> {
    let whole = frames
        .iter()
        .filter(|frame| !matches!(frame, SpdyFrame::Data { .. }));
    whole.map(|frame| format!("{frame:?}")).collect()
}
