//! The events of one watch, as they come.
//!
//! Knows the frame `{type, object}` and no kind. Upstream counterpart: `apimachinery/pkg/watch`.

use crate::http::Body;
use serde_json::Value;
use std::io::{BufRead, BufReader};

/// A stream of watch events; it ends with the server's end of the stream, or panics when the
/// server falls silent.
pub struct Watch(BufReader<Body>);

impl Watch {
    pub(crate) fn new(body: Body) -> Self {
        Self(BufReader::new(body))
    }

    /// Takes events up to and including the first for which `last` holds.
    #[track_caller]
    pub fn until(&mut self, last: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut seen = Vec::new();
        for event in &mut *self {
            let ends = last(&event);
            seen.push(event);
            if ends {
                return seen;
            }
        }
        panic!("the watch ended before what was awaited: {seen:?}");
    }

    /// The next event that came whole; none after the stream's end, however it ended.
    pub fn next_or_end(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.0.read_line(&mut line).ok()?;
        serde_json::from_str(line.strip_suffix('\n')?).ok()
    }
}

impl Iterator for Watch {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        let got = self.0.read_line(&mut line).expect("the watch goes on");
        (got > 0).then(|| serde_json::from_str(&line).expect("an event is JSON"))
    }
}
