//! The read path: get and list, each from one snapshot.

use crate::{Answer, Context, Door, List, Options, Reply, VersionMatch};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use machinery::{FieldError, Object, Status, Value, json};
use std::{ops::Bound, sync::Arc};
use store::{Key, Snapshot, Table};

/// Pages are at most this long, whatever `limit` asks for.
const PAGE_MAX: usize = 1_000_000;
/// Revision of a token that goes on in whatever state is the latest then.
const LATEST: i64 = -1;
/// Said of a token whose state is no longer kept.
const CONTINUE_TOO_OLD: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

impl Door {
    pub(crate) async fn get(&self, context: Context<'_>) -> Result<Reply, Status> {
        let call = context.call;
        let key = Key::new(&call.namespace, &call.name);
        let snapshot = self.snapshot();
        if let Some(wanted) = call.options.resource_version {
            check_not_ahead(&snapshot, wanted)?;
        }
        let found = snapshot
            .get(&context.kind.storage, &key)
            .ok_or_else(|| context.missing())?;
        let object = self.to_requested(found, &context.kind).await?;
        let kind = context.kind.clone();
        Ok(context.reply(Answer::Object(kind, object)))
    }

    pub(crate) async fn list(&self, context: Context<'_>) -> Result<Reply, Status> {
        check_list_options(&context.call.options)?;
        let mut list = if Filter::new(&context).is_of_version() {
            self.page_of_version(&context).await?
        } else {
            self.page(&context)?
        };
        list.items = self.all_to_requested(list.items, &list.kind).await?;
        Ok(context.reply(Answer::List(list)))
    }

    /// A page of objects chosen by fields of the version asked for: all in its place are shown in
    /// that version first.
    async fn page_of_version(&self, context: &Context<'_>) -> Result<List, Status> {
        let (options, kind) = (&context.call.options, &context.kind);
        check_field_selector(context)?;
        let (snapshot, start) = self.list_source(options)?;
        let filter = Filter::new(context);
        let placed = filter
            .candidates(&snapshot, &kind.storage, start.as_ref())
            .filter(|object| filter.accepts_place(object))
            .cloned();
        let shown = self.all_to_requested(placed.collect(), kind).await?;
        let mut matching = shown.into_iter().filter(|object| filter.accepts(object));
        let items: Vec<_> = matching.by_ref().take(page_length(options)).collect();
        let next = match (items.last(), matching.next()) {
            (Some(last), Some(_)) => continue_token(snapshot.revision, last),
            _ => String::new(),
        };
        Ok(List {
            kind: kind.clone(),
            items,
            revision: snapshot.revision,
            next,
            remaining: None,
        })
    }

    /// All that a filter chooses, as stored unless only the version asked for tells.
    pub(crate) async fn chosen(
        &self,
        filter: &Filter,
        snapshot: &Snapshot,
        kind: &Arc<kinds::Kind>,
    ) -> Result<Vec<Arc<Object>>, Status> {
        let by_version = filter.is_of_version();
        let placed = filter
            .candidates(snapshot, &kind.storage, None)
            .filter(|object| filter.accepts_place(object))
            .filter(|object| by_version || filter.accepts(object));
        let mut chosen: Vec<_> = placed.cloned().collect();
        if by_version {
            chosen = self.all_to_requested(chosen, kind).await?;
            chosen.retain(|object| filter.accepts(object));
        }
        Ok(chosen)
    }

    /// A page of objects as they are stored.
    fn page(&self, context: &Context<'_>) -> Result<List, Status> {
        let (call, kind) = (context.call, &context.kind);
        let options = &call.options;
        check_field_selector(context)?;
        let (snapshot, start) = self.list_source(options)?;
        let limit = page_length(options);
        let filter = Filter::new(context);
        let mut matching = filter
            .candidates(&snapshot, &kind.storage, start.as_ref())
            .filter(|object| filter.accepts(object));
        let items: Vec<_> = matching.by_ref().take(limit).cloned().collect();
        let follows = matching.next().is_some();
        let next = match items.last() {
            Some(last) if follows => continue_token(snapshot.revision, last),
            _ => String::new(),
        };
        let all = match (&start, snapshot.tables.get(&kind.storage)) {
            (None, Some(table)) => size_at_sight(table, filter.namespace()),
            _ => None,
        };
        let remaining = (follows && filter.is_plain()).then(|| match all {
            Some(all) => all - items.len(),
            None => 1 + matching.count(),
        });
        Ok(List {
            kind: kind.clone(),
            items,
            revision: snapshot.revision,
            next,
            remaining,
        })
    }

    /// The snapshot a list is read from, and the key it continues after.
    fn list_source(&self, options: &Options) -> Result<(Snapshot, Option<Key>), Status> {
        if !options.continue_token.is_empty() {
            if options.resource_version.is_some_and(|version| version != 0) {
                return Err(Status::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let (revision, key) = parse_continue(&options.continue_token)?;
            let snapshot = match revision {
                Some(revision) => self.at_revision(revision).ok_or_else(|| {
                    Status::expired(CONTINUE_TOO_OLD).go_on_with(token(LATEST, &key))
                })?,
                None => self.snapshot(),
            };
            return Ok((snapshot, Some(key)));
        }
        let latest = self.snapshot();
        match (options.resource_version, options.version_match) {
            (None, _) => Ok((latest, None)),
            (Some(wanted), VersionMatch::Exact) => {
                check_not_ahead(&latest, wanted)?;
                let found = self.at_revision(wanted);
                Ok((found.ok_or_else(|| too_old(wanted, self.oldest()))?, None))
            }
            (Some(wanted), _) => {
                check_not_ahead(&latest, wanted)?;
                // A legacy exact read: a limited list at a version names that version.
                if wanted != 0 && options.limit > 0 && options.version_match == VersionMatch::Unset
                {
                    let found = self.at_revision(wanted);
                    return Ok((found.ok_or_else(|| too_old(wanted, self.oldest()))?, None));
                }
                Ok((latest, None))
            }
        }
    }

    fn at_revision(&self, revision: u64) -> Option<Snapshot> {
        self.inner().store.snapshot_at(revision).ok()
    }

    fn oldest(&self) -> u64 {
        self.inner().store.oldest_revision()
    }
}

/// The rules of the options of a list (`ValidateListOptions`).
fn check_list_options(options: &Options) -> Result<(), Status> {
    const MATCH: &str = "resourceVersionMatch";
    let mut errors = Vec::new();
    let mut forbid = |when: bool, field: &str, why: &str| {
        if when {
            errors.push(FieldError::forbidden(field, why));
        }
    };
    let matches = options.version_match != VersionMatch::Unset;
    forbid(
        matches && options.resource_version.is_none(),
        MATCH,
        "resourceVersionMatch is forbidden unless resourceVersion is provided",
    );
    forbid(
        matches && !options.continue_token.is_empty(),
        MATCH,
        "resourceVersionMatch is forbidden when continue is provided",
    );
    forbid(
        options.version_match == VersionMatch::Exact && options.resource_version == Some(0),
        MATCH,
        "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
    );
    forbid(
        options.initial_events.is_some(),
        "sendInitialEvents",
        "sendInitialEvents is forbidden for list",
    );
    refuse_options(&errors)
}

/// 422 about the options of a list or a watch, if anything is wrong with them.
pub(crate) fn refuse_options(errors: &[FieldError]) -> Result<(), Status> {
    match errors {
        [] => Ok(()),
        _ => Err(Status::invalid("meta.k8s.io", "ListOptions", "", errors)),
    }
}

fn page_length(options: &Options) -> usize {
    match options.limit {
        0 => PAGE_MAX,
        limit => limit.min(PAGE_MAX),
    }
}

/// 410 for a version whose state is no longer kept.
pub(crate) fn too_old(wanted: u64, oldest: u64) -> Status {
    Status::expired(format!("too old resource version: {wanted} ({oldest})"))
}

/// Versions of the future cannot be waited for here: clients try again.
pub(crate) fn check_not_ahead(snapshot: &Snapshot, wanted: u64) -> Result<(), Status> {
    if wanted <= snapshot.revision {
        return Ok(());
    }
    let message = format!(
        "Too large resource version: {wanted}, current: {}",
        snapshot.revision
    );
    Err(Status::new(machinery::Reason::Timeout, message)
        .cause("ResourceVersionTooLarge", "Too large resource version", "")
        .retry_after(1))
}

fn continue_token(revision: u64, last: &Object) -> String {
    token(revision as i64, &Key::new(last.namespace(), last.name()))
}

fn token(revision: i64, after: &Key) -> String {
    let token = json!({
        "v": "meta.k8s.io/v1", "rv": revision,
        "ns": after.namespace.as_str(), "start": after.name.as_str(),
    });
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a tree serializes"))
}

/// The revision (`None`: the latest) and the key to go on after.
fn parse_continue(token: &str) -> Result<(Option<u64>, Key), Status> {
    let refuse = || {
        Status::bad_request(
            "continue key is not valid: encoded continue token has unknown version or is damaged",
        )
    };
    let bytes = URL_SAFE_NO_PAD
        .decode(token.trim_end_matches('='))
        .map_err(|_| refuse())?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| refuse())?;
    if value["v"].str() != "meta.k8s.io/v1" {
        return Err(refuse());
    }
    let revision = match value["rv"].as_i64().ok_or_else(refuse)? {
        LATEST => None,
        number => Some(u64::try_from(number).map_err(|_| refuse())?),
    };
    Ok((revision, Key::new(value["ns"].str(), value["start"].str())))
}

/// Field selectors name fields that the kind lets be selected by.
pub(crate) fn check_field_selector(context: &Context<'_>) -> Result<(), Status> {
    for term in &context.call.options.fields.terms {
        if !context.kind.is_selectable(&term.field) {
            // Kinds without fields of their own to select by have upstream's common words.
            let common = !context.kind.custom && context.kind.selectable.is_empty();
            let message = if common {
                format!(
                    "{:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                    term.field
                )
            } else {
                format!("field label not supported: {}", term.field)
            };
            return Err(Status::bad_request(message));
        }
    }
    Ok(())
}

/// Which objects of a resource a read is about.
#[derive(Clone)]
pub(crate) struct Filter {
    namespace: Option<machinery::SmolStr>,
    name: Option<machinery::SmolStr>,
    labels: machinery::LabelSelector,
    fields: machinery::FieldSelector,
    kind: Arc<kinds::Kind>,
}

impl Filter {
    pub fn new(context: &Context<'_>) -> Self {
        let call = context.call;
        let own = |text: &str| (!text.is_empty()).then(|| text.into());
        let fields = &call.options.fields;
        Self {
            namespace: own(&call.namespace)
                .or_else(|| fields.required("metadata.namespace").map(Into::into)),
            name: own(&call.name).or_else(|| fields.required("metadata.name").map(Into::into)),
            labels: call.options.labels.clone(),
            fields: fields.clone(),
            kind: context.kind.clone(),
        }
    }

    /// The namespace it selects from, if one.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Whether it selects by place alone.
    pub fn is_plain(&self) -> bool {
        self.name.is_none() && self.labels.is_everything() && self.fields.is_everything()
    }

    /// Whether `key` may match at all.
    pub fn covers(&self, key: &Key) -> bool {
        self.namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == key.namespace)
            && self.name.as_ref().is_none_or(|name| *name == key.name)
    }

    pub fn accepts(&self, object: &Object) -> bool {
        self.accepts_place(object)
            && (self.fields.is_everything()
                || self.kind.matches_fields(&self.fields, object.root()))
    }

    /// Whether all but the fields fits.
    fn accepts_place(&self, object: &Object) -> bool {
        self.name.as_ref().is_none_or(|name| name == object.name())
            && (self.labels.is_everything() || self.labels.matches_object(object))
    }

    /// Whether it selects by fields that another version of the kind may not have: only an object
    /// in the version asked for can be compared with it.
    pub fn is_of_version(&self) -> bool {
        let own = |field: &str| !matches!(field, "metadata.name" | "metadata.namespace");
        self.kind.custom && self.fields.terms.iter().any(|term| own(&term.field))
    }

    /// Objects in the filter's place, in key order, after `start`.
    pub fn candidates<'a>(
        &self,
        snapshot: &'a Snapshot,
        storage: &str,
        start: Option<&Key>,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let bounds = bounds(self.namespace(), start);
        let table = snapshot.tables.get(storage).into_iter();
        let placed = table.flat_map(move |table| table.range(bounds.clone()));
        placed.map(|(_, object)| object)
    }
}

/// How many objects a place has, where that is to be seen without counting: the first and the
/// last of all are its own.
fn size_at_sight(table: &Table, namespace: Option<&str>) -> Option<usize> {
    let own = |key: &Key| namespace.is_none_or(|wanted| key.namespace == wanted);
    let ((first, _), (last, _)) = (table.get_min()?, table.get_max()?);
    (own(first) && own(last)).then(|| table.len())
}

/// The keys of a namespace, or of all, after `start`.
fn bounds(namespace: Option<&str>, start: Option<&Key>) -> (Bound<Key>, Bound<Key>) {
    let Some(namespace) = namespace else {
        let first = start.cloned().map_or(Bound::Unbounded, Bound::Excluded);
        return (first, Bound::Unbounded);
    };
    let first = Key::new(namespace, "");
    // No name sorts between a name and the same with a zero after it.
    let end = Key::new(&format!("{namespace}\0"), "");
    let first = match start {
        // A token made for a later place leaves nothing of this one.
        Some(start) if *start >= end => Bound::Excluded(end.clone()),
        Some(start) if *start > first => Bound::Excluded(start.clone()),
        _ => Bound::Included(first),
    };
    (first, Bound::Excluded(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_ends_where_the_next_begins() {
        let place = |text: &str| {
            text.split_once('/')
                .map(|(space, name)| Key::new(space, name))
        };
        let names = ["a/x", "a/y", "ab/x", "b/x", "b/y", "b/z", "d/x"];
        let object = Arc::new(Object::new(&json!({}), 1));
        let keys = names.iter().filter_map(|text| place(text));
        let table: Table = keys.map(|key| (key, object.clone())).collect();
        for (namespace, start, wanted) in [
            (None, None, "a/x a/y ab/x b/x b/y b/z d/x"),
            (None, Some("b/x"), "b/y b/z d/x"),
            (None, Some("b/xx"), "b/y b/z d/x"),
            (Some("a"), None, "a/x a/y"),
            (Some("a"), Some("a/x"), "a/y"),
            (Some("a"), Some("a/y"), ""),
            (Some("b"), None, "b/x b/y b/z"),
            (Some("b"), Some("a/y"), "b/x b/y b/z"),
            (Some("b"), Some("b/y"), "b/z"),
            (Some("b"), Some("d/x"), ""),
            (Some("c"), None, ""),
            (Some(""), None, ""),
            (Some("zz"), None, ""),
        ] {
            let bounds = bounds(namespace, start.and_then(place).as_ref());
            let found = table.range(bounds).map(|(key, _)| key);
            let found: Vec<_> = found
                .map(|key| format!("{}/{}", key.namespace, key.name))
                .collect();
            assert_eq!(found.join(" "), wanted, "{namespace:?} after {start:?}");
        }
        assert_eq!(size_at_sight(&table, None), Some(names.len()));
        assert_eq!(size_at_sight(&table, Some("b")), None);
        let own = bounds(Some("b"), None);
        let only: Table = table
            .range(own)
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        assert_eq!(size_at_sight(&only, Some("b")), Some(3));
        assert_eq!(size_at_sight(&only, Some("a")), None);
    }
}
