//! Which paths lead nowhere, and which methods a level does not take: a whole namespaced resource
//! is only read, for instance.
//!
//! Built-in groups and custom ones answer differently, for upstream serves them by different
//! programs: what the second does not know it leaves to the last one, which knows nothing and
//! answers with a page. Knows no kind. Upstream counterpart: `endpoints/installer.go` and
//! `apiextensions-apiserver/pkg/apiserver/customresource_handler.go`.

use crate::path::ResourcePath;
use kinds::{Catalogue, Kind, SubKind};
use machinery::Status;
use registry::Verb;

/// The answer to a request that leads nowhere.
#[derive(Debug, PartialEq)]
pub(crate) enum Nowhere {
    /// A page for people.
    Page,
    /// A refusal.
    Refused(Status),
}

fn refused(status: Status) -> Result<(), Nowhere> {
    Err(Nowhere::Refused(status))
}

/// Whether the words of a path are below a group that is not served, or a version that its custom
/// group does not have.
pub(crate) fn is_strange(catalogue: &Catalogue, words: &[&str]) -> bool {
    let ["apis", group, rest @ ..] = words else {
        return false;
    };
    let Some(found) = catalogue.group(group) else {
        return true;
    };
    let served = |version: &&str| found.versions.iter().any(|known| known == *version);
    rest.first().is_some_and(|version| !served(version)) && !catalogue.is_builtin(group)
}

/// The answer to a resource of `group` that is not served.
pub(crate) fn unknown(catalogue: &Catalogue, group: &str) -> Nowhere {
    match catalogue.is_builtin(group) {
        true => Nowhere::Refused(Status::no_such_path()),
        false => Nowhere::Page,
    }
}

/// Refuses what the level of a path does not take.
pub(crate) fn check(place: &ResourcePath, kind: &Kind, verb: Verb) -> Result<(), Nowhere> {
    if !place.subresource.is_empty() {
        return check_subresource(place, kind, verb);
    }
    let placed = !place.namespace.is_empty();
    let reads_all = matches!(verb, Verb::List | Verb::Watch);
    let misplaced = match (kind.custom, place.name.is_empty()) {
        (true, _) => placed != kind.namespaced && (placed || !reads_all),
        (false, true) => placed && !kind.namespaced,
        (false, false) => placed != kind.namespaced,
    };
    if misplaced {
        return Err(match kind.custom {
            true => Nowhere::Page,
            false => Nowhere::Refused(Status::no_such_path()),
        });
    }
    let fits = match verb {
        Verb::Update | Verb::Patch if kind.custom && place.name.is_empty() => {
            return refused(Status::bad_request("name must be provided"));
        }
        Verb::Get | Verb::Update | Verb::Patch | Verb::Delete => !place.name.is_empty(),
        Verb::Create => place.name.is_empty() && placed == kind.namespaced,
        Verb::DeleteCollection => placed == kind.namespaced,
        Verb::List | Verb::Watch | Verb::Connect => true,
    };
    allowed(fits && kind.verbs.contains(verb.name()))
}

fn check_subresource(place: &ResourcePath, kind: &Kind, verb: Verb) -> Result<(), Nowhere> {
    match kind.subresource(&place.subresource) {
        // Only what is connected to has places below it.
        Some(found) if !kind.custom && found.kind != SubKind::Connect && !place.rest.is_empty() => {
            refused(Status::no_such_path())
        }
        Some(found) => allowed(found.verbs.contains(verb.name())),
        None if kind.custom => refused(Status::not_found(&kind.group_resource(), &place.name)),
        None => refused(Status::no_such_path()),
    }
}

fn allowed(fits: bool) -> Result<(), Nowhere> {
    match fits {
        true => Ok(()),
        false => refused(Status::method_not_allowed()),
    }
}
