//! What a write changed, as those who wrote in other API versions see it.
//!
//! Who holds a field said so in the version it wrote in. Upstream counterpart: the converter of
//! `structured-merge-diff/merge`.

use super::{
    compare::Difference,
    managed::{Manager, difference},
};
use crate::TypeRef;
use machinery::{SmolStr, Value};
use std::fmt;

/// What another API version makes of an object.
pub enum Version {
    /// Its fields have the same paths there.
    Alike,
    /// Its fields stand elsewhere: the type there, and how an object gets from one `apiVersion`
    /// to another.
    Elsewhere(TypeRef, fn(&mut Value, &str, &str)),
    /// There is no such version any more.
    Gone,
    /// That is not for this program to say.
    Unknown,
}

/// The versions of a kind, by `apiVersion`.
#[derive(Clone, Copy)]
pub struct Versions<'a>(pub &'a dyn Fn(&str) -> Version);

impl Versions<'_> {
    /// Those of a kind that has one version.
    pub const ONE: Versions<'static> = Versions(&|_| Version::Gone);
}

impl fmt::Debug for Versions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Versions")
    }
}

enum Seen {
    Alike,
    Elsewhere(Difference),
    Gone,
    Unknown,
}

/// What a write changed, in the version it was made in and in those of others.
pub(super) struct Changes<'a> {
    version: &'a str,
    own: Difference,
    others: Vec<(SmolStr, Seen)>,
}

impl<'a> Changes<'a> {
    /// What makes `new` of `old`; `own` says that in the version of `by`.
    pub fn new(own: Difference, by: &Manager<'a>, entries: &[Value], ends: [&Value; 2]) -> Self {
        let mut changes = Self {
            version: by.api_version,
            own,
            others: Vec::new(),
        };
        if changes.own.is_empty() {
            return changes;
        }
        for entry in entries {
            let version = entry["apiVersion"].str();
            if version != by.api_version && changes.other(version).is_none() {
                let seen = seen(version, by, ends);
                changes.others.push((version.into(), seen));
            }
        }
        changes
    }

    fn other(&self, version: &str) -> Option<&Seen> {
        let mut others = self.others.iter();
        others.find(|(name, _)| name == version).map(|(_, of)| of)
    }

    /// As whoever wrote the entry sees it.
    pub fn to(&self, entry: &Value) -> Option<&Difference> {
        let version = entry["apiVersion"].str();
        if version == self.version {
            return Some(&self.own);
        }
        match self.other(version)? {
            Seen::Alike => Some(&self.own),
            Seen::Elsewhere(found) => Some(found),
            Seen::Gone | Seen::Unknown => None,
        }
    }

    /// Whether the entry was written in a version that there is no more.
    pub fn outlived(&self, entry: &Value) -> bool {
        matches!(self.other(entry["apiVersion"].str()), Some(Seen::Gone))
    }

    /// In the version of the write.
    pub fn own(&self) -> &Difference {
        &self.own
    }
}

fn seen(version: &str, by: &Manager<'_>, ends: [&Value; 2]) -> Seen {
    match by.versions.0(version) {
        Version::Alike => Seen::Alike,
        Version::Gone => Seen::Gone,
        Version::Unknown => Seen::Unknown,
        Version::Elsewhere(of, convert) => {
            let [old, new] = ends.map(|end| {
                let mut end = end.clone();
                convert(&mut end, by.api_version, version);
                end
            });
            let mut found = difference(&old, &new, &of);
            if let Some(reset) = by.reset {
                found.each(|fields| fields.subtract_trees(reset));
            }
            Seen::Elsewhere(found)
        }
    }
}
