//! Printed objects, kept for the next reader: one revision of an object is printed once per
//! form, and every get, list and watch sends the same bytes.
//!
//! Keeps watch frames, because an object's bytes are a part of its frame. Bounded in bytes and
//! in idle time; being empty costs printing again and nothing else. Knows no kind by name.
//! Upstream counterpart: `cachingObject` of `storage/cacher`.

use bytes::Bytes;
use codec::Encoding;
use kinds::Kind;
use machinery::Object;
use registry::EventType;
use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

/// All printed objects together, bytes: the pods of a middling cluster in one form.
const PRINTED_MAX: usize = 32 << 20;
/// A list larger than this is printed past the cache, which it would only sweep out, bytes.
const LIST_KEPT_MAX: usize = PRINTED_MAX / 2;
/// What an entry costs beside its bytes (map, queue, counters), bytes.
const ENTRY_COST: usize = 160;
/// What nobody has asked for between two sweeps goes.
pub const SWEEP_PERIOD: Duration = Duration::from_secs(30);

/// One revision of an object in one version and form. A removal shows the state before it
/// under the removal's revision, which may show another state to another reader: `gone`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    revision: u64,
    kind: usize,
    protobuf: bool,
    gone: bool,
}

impl Key {
    fn new(kind: &Arc<Kind>, object: &Object, encoding: Encoding, event: EventType) -> Self {
        Self {
            revision: object.revision(),
            kind: Arc::as_ptr(kind) as usize,
            protobuf: encoding == Encoding::Protobuf,
            gone: event == EventType::Deleted,
        }
    }
}

/// A printed watch event.
#[derive(Clone)]
struct Frame {
    bytes: Bytes,
    event: EventType,
    object: Range<usize>,
    /// Where the object goes on after its version and kind (JSON only).
    members: usize,
}

impl Frame {
    /// Appends the object as an item of a JSON list. Items of typed kinds leave to the list
    /// what they are; custom kinds have no such types upstream, so theirs say it.
    fn append_item(&self, out: &mut Vec<u8>, kind: &Kind) {
        if kind.custom {
            out.extend_from_slice(&self.bytes[self.object.clone()]);
            return;
        }
        out.push(b'{');
        out.extend_from_slice(&self.bytes[self.members..self.object.end]);
    }
}

struct Entry {
    frame: Frame,
    used: bool,
    /// Keeps the address in the key from being another kind's.
    _kind: Arc<Kind>,
}

#[derive(Default)]
struct Kept {
    entries: HashMap<Key, Entry>,
    /// Oldest first; entries in use get a second round.
    order: VecDeque<Key>,
    bytes: usize,
}

/// The cache of one server.
#[derive(Default)]
pub struct Printed(Mutex<Kept>);

impl Printed {
    /// The frame of a watch event, printed by whoever comes first and left here if `keep`:
    /// what has just been written is sent to others, too, but the state a watch begins with
    /// would only push that out.
    pub fn frame(
        &self,
        kind: &Arc<Kind>,
        object: &Object,
        encoding: Encoding,
        event: EventType,
        keep: bool,
    ) -> Bytes {
        let key = Key::new(kind, object, encoding, event);
        match self.find(key) {
            Some(frame) if frame.event == event => frame.bytes,
            Some(frame) => reframe(&frame, encoding, event),
            None => {
                let frame = print(kind, object, encoding, event);
                if keep {
                    self.keep(key, kind, frame.clone());
                }
                frame.bytes
            }
        }
    }

    /// An object that somebody gets.
    pub fn object(&self, kind: &Arc<Kind>, object: &Object, encoding: Encoding) -> Bytes {
        match self.find(Key::new(kind, object, encoding, EventType::Added)) {
            Some(frame) => frame.bytes.slice(frame.object),
            None if encoding == Encoding::Protobuf => {
                codec::encode_object_protobuf(object, &kind.gvk, &kind.type_ref).into()
            }
            None => codec::encode_json(object).into(),
        }
    }

    /// Appends an item of a JSON list, left in the cache if `keep`. Of a list that is not to be
    /// kept nearly nothing would be found, so it is not looked for.
    pub fn append(&self, out: &mut Vec<u8>, kind: &Arc<Kind>, object: &Object, keep: bool) {
        if !keep {
            return write_item(out, kind, object);
        }
        let key = Key::new(kind, object, Encoding::Json, EventType::Added);
        match self.find(key) {
            Some(frame) => frame.append_item(out, kind),
            None => {
                let frame = print(kind, object, Encoding::Json, EventType::Added);
                frame.append_item(out, kind);
                self.keep(key, kind, frame);
            }
        }
    }

    /// Whether a list of about this many bytes is worth keeping.
    pub fn keeps_list(size: usize) -> bool {
        size <= LIST_KEPT_MAX
    }

    /// Drops what nobody has asked for since the last sweep.
    pub fn sweep(&self) {
        let mut kept = self.lock();
        let before = kept.entries.len();
        kept.entries
            .retain(|_, entry| std::mem::take(&mut entry.used));
        if kept.entries.len() == before {
            return;
        }
        let Kept { entries, order, .. } = &mut *kept;
        order.retain(|key| entries.contains_key(key));
        entries.shrink_to_fit();
        order.shrink_to_fit();
        kept.bytes = kept.entries.values().map(|entry| cost(&entry.frame)).sum();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().expect("keeping bytes does not panic")
    }

    fn find(&self, key: Key) -> Option<Frame> {
        let mut kept = self.lock();
        let entry = kept.entries.get_mut(&key)?;
        entry.used = true;
        Some(entry.frame.clone())
    }

    /// Objects without a revision are made for one answer.
    fn keep(&self, key: Key, kind: &Arc<Kind>, frame: Frame) {
        if key.revision == 0 {
            return;
        }
        let mut kept = self.lock();
        kept.bytes += cost(&frame);
        let entry = Entry {
            frame,
            used: true,
            _kind: kind.clone(),
        };
        match kept.entries.insert(key, entry) {
            Some(twin) => kept.bytes -= cost(&twin.frame),
            None => kept.order.push_back(key),
        }
        while kept.bytes > PRINTED_MAX {
            kept.drop_one();
        }
    }
}

impl Kept {
    /// Drops the oldest entry, or gives it a second round.
    fn drop_one(&mut self) {
        let oldest = self.order.pop_front();
        let key = oldest.expect("bytes are kept, so something keeps them");
        let entry = self.entries.get_mut(&key);
        let entry = entry.expect("whatever is in the order is in the map");
        if std::mem::take(&mut entry.used) {
            self.order.push_back(key);
            return;
        }
        self.bytes -= cost(&entry.frame);
        self.entries.remove(&key);
    }
}

fn cost(frame: &Frame) -> usize {
    frame.bytes.len() + ENTRY_COST
}

fn print(kind: &Kind, object: &Object, encoding: Encoding, event: EventType) -> Frame {
    if encoding == Encoding::Protobuf {
        let object = codec::encode_object_protobuf(object, &kind.gvk, &kind.type_ref);
        let bytes: Bytes = codec::watch_frame_protobuf(event.name(), &object).into();
        let object = bytes.len() - object.len()..bytes.len();
        return Frame {
            bytes,
            event,
            members: object.start,
            object,
        };
    }
    let mut out = Vec::with_capacity(codec::printed_size(object));
    codec::open_watch_frame(&mut out, event.name());
    let start = out.len();
    let members = codec::write_object(&mut out, object, None);
    let object = start..out.len();
    codec::close_watch_frame(&mut out);
    out.shrink_to_fit();
    Frame {
        bytes: out.into(),
        event,
        object,
        members,
    }
}

/// Appends an object as an item of a JSON list of its kind, past any cache.
pub fn write_item(out: &mut Vec<u8>, kind: &Kind, object: &Object) {
    if kind.custom {
        codec::write_object(out, object, None);
    } else {
        codec::write_item(out, object);
    }
}

/// The same object in a frame of another event.
fn reframe(frame: &Frame, encoding: Encoding, event: EventType) -> Bytes {
    let object = &frame.bytes[frame.object.clone()];
    match encoding {
        Encoding::Protobuf => codec::watch_frame_protobuf(event.name(), object).into(),
        _ => codec::watch_frame(event.name(), object).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    fn kind() -> Arc<Kind> {
        let catalogue = kinds::Catalogue::builtin();
        let found = catalogue.resource("", "v1", "services");
        found.expect("a built-in kind").clone()
    }

    fn object(revision: u64, text: &str) -> Object {
        let tree = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "annotations": {"t": text}}});
        Object::new(&tree, revision)
    }

    #[test]
    fn every_reader_sees_what_printing_says() {
        let (printed, kind) = (Printed::default(), kind());
        let one = object(7, "x");
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            let plain = match encoding {
                Encoding::Protobuf => {
                    codec::encode_object_protobuf(&one, &kind.gvk, &kind.type_ref)
                }
                _ => codec::encode_json(&one),
            };
            let framed = |event: EventType| match encoding {
                Encoding::Protobuf => codec::watch_frame_protobuf(event.name(), &plain),
                _ => codec::watch_frame(event.name(), &plain),
            };
            // The first is printed, the second printed and kept, the third shared, the last framed anew.
            for (event, keep) in [
                (EventType::Modified, false),
                (EventType::Modified, true),
                (EventType::Modified, true),
                (EventType::Added, false),
            ] {
                let frame = printed.frame(&kind, &one, encoding, event, keep);
                assert_eq!(frame, framed(event));
            }
            assert_eq!(printed.object(&kind, &one, encoding), plain);
        }
        let mut item = Vec::new();
        codec::write_item(&mut item, &one);
        // Shared, printed past the cache, printed and kept.
        for (printed, keep) in [
            (&printed, true),
            (&Printed::default(), false),
            (&Printed::default(), true),
        ] {
            let mut out = Vec::new();
            printed.append(&mut out, &kind, &one, keep);
            assert_eq!(out, item);
        }
        let custom = Arc::new(Kind {
            custom: true,
            ..Kind::clone(&kind)
        });
        let mut out = Vec::new();
        printed.append(&mut out, &custom, &one, true);
        assert_eq!(out, codec::encode_json(&one));
    }

    #[test]
    fn a_removal_shows_another_state_under_its_revision() {
        let (printed, kind) = (Printed::default(), kind());
        let (before, after) = (object(7, "before"), object(7, "after"));
        let json = Encoding::Json;
        let modified = printed.frame(&kind, &after, json, EventType::Modified, true);
        let deleted = printed.frame(&kind, &before, json, EventType::Deleted, true);
        let framed =
            |name: &str, object: &Object| codec::watch_frame(name, &codec::encode_json(object));
        assert_eq!(modified, framed("MODIFIED", &after));
        assert_eq!(deleted, framed("DELETED", &before));
        assert_eq!(
            printed.object(&kind, &after, json),
            codec::encode_json(&after)
        );
    }

    #[test]
    fn stays_within_its_bounds_and_forgets() {
        let (printed, kind) = (Printed::default(), kind());
        let text = "x".repeat(1 << 20);
        for revision in 1..100 {
            let object = object(revision, &text);
            printed.frame(&kind, &object, Encoding::Json, EventType::Added, true);
            assert!(printed.lock().bytes <= PRINTED_MAX);
        }
        assert!(printed.lock().entries.len() > 10);
        printed.frame(
            &kind,
            &object(0, "made up"),
            Encoding::Json,
            EventType::Added,
            true,
        );
        printed.sweep();
        printed.sweep();
        let kept = printed.lock();
        assert_eq!(
            (kept.entries.len(), kept.order.len(), kept.bytes),
            (0, 0, 0)
        );
    }
}
