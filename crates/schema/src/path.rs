//! A field path that grows and shrinks with a walk: `spec.containers[0].name`.
//!
//! Upstream counterpart: `field.Path`.

use std::fmt::Write;

/// A path in one buffer; going back is a truncation.
#[derive(Debug, Default)]
pub(crate) struct Path(String);

impl Path {
    pub fn new(root: &str) -> Self {
        Path(root.to_owned())
    }

    /// Enters a member; the returned mark leads [`Path::back`].
    pub fn member(&mut self, key: &str) -> usize {
        let mark = self.0.len();
        if mark > 0 {
            self.0.push('.');
        }
        self.0.push_str(key);
        mark
    }

    /// Enters a member of an object with free keys.
    pub fn key(&mut self, key: &str) -> usize {
        let mark = self.0.len();
        write!(self.0, "[{key}]").expect("writing to a string succeeds");
        mark
    }

    /// Enters an item.
    pub fn index(&mut self, at: usize) -> usize {
        let mark = self.0.len();
        write!(self.0, "[{at}]").expect("writing to a string succeeds");
        mark
    }

    /// Returns to where `mark` was taken.
    pub fn back(&mut self, mark: usize) {
        self.0.truncate(mark);
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}
