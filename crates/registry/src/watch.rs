//! WATCH: the state at a revision, then every change after it, filtered for one reader.
//!
//! Upstream counterpart: `storage/cacher`, without the second copy.

use crate::{
    Answer, Context, Door, Reply, VersionMatch, convert,
    read::{self, Filter},
};
use env::BoxFuture;
use futures::{FutureExt, select_biased};
use kinds::Kind;
use machinery::{FieldError, Object, Status, Value, json};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use store::{Change, Subscription};

/// Bookmarks come about this often (upstream: every minute, with jitter).
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);

/// Room for events that an idle watch keeps; what a burst took beyond goes.
const PENDING_KEPT: usize = 8;

/// Type of a watch event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum EventType {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

impl EventType {
    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            EventType::Added => "ADDED",
            EventType::Modified => "MODIFIED",
            EventType::Deleted => "DELETED",
            EventType::Bookmark => "BOOKMARK",
            EventType::Error => "ERROR",
        }
    }
}

/// One watch event.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// Something about an object.
    Object(EventType, Arc<Object>),
    /// A bookmark at a revision; `initial_end` closes the initial events.
    Bookmark {
        /// Everything up to here has been sent.
        revision: u64,
        /// Whether it marks the end of the initial events.
        initial_end: bool,
    },
    /// The watch ends with this failure.
    Error(Status),
}

/// A running watch.
pub struct WatchStream {
    /// Kind of the objects.
    pub kind: Arc<Kind>,
    door: Door,
    filter: Filter,
    /// What of the first state has not been told; it comes before all else.
    present: std::vec::IntoIter<Arc<Object>>,
    /// The bookmark that ends the first state.
    initial_end: Option<WatchEvent>,
    /// Objects in here are as they are stored, or as they are shown.
    pending: VecDeque<WatchEvent>,
    /// Changes that can be judged only once their objects are shown in the version asked for.
    unjudged: VecDeque<Arc<Change>>,
    subscription: Subscription,
    seen: u64,
    /// When the next bookmark is due; kept from event to event, because starting a timer costs
    /// more than passing on an event. `None` for a reader that wants no bookmarks.
    bookmark: Option<BoxFuture<'static, ()>>,
    failed: bool,
}

impl Door {
    pub(crate) async fn watch(&self, context: Context<'_>) -> Result<Reply, Status> {
        read::check_field_selector(&context)?;
        let options = &context.call.options;
        check_initial_events(&context)?;
        let snapshot = self.snapshot();
        let asked = options.resource_version;
        if let Some(wanted) = asked {
            read::check_not_ahead(&snapshot, wanted)?;
        }
        let initial = options
            .initial_events
            .unwrap_or(matches!(asked, None | Some(0)));
        let filter = Filter::new(&context);
        let (mut present, mut initial_end) = (Vec::new(), None);
        let start = if initial {
            snapshot.revision
        } else {
            asked.filter(|&v| v > 0).unwrap_or(snapshot.revision)
        };
        if initial {
            let placed = filter.candidates(&snapshot, &context.kind.storage, None);
            let by_version = filter.is_of_version();
            present = placed
                .filter(|object| by_version || filter.accepts(object))
                .cloned()
                .collect();
            if by_version || context.kind.conversion_webhook.is_some() {
                present = self.all_to_requested(present, &context.kind).await?;
            }
            present.retain(|object| !by_version || filter.accepts(object));
            present.shrink_to_fit();
            let ends = options.initial_events == Some(true) && options.bookmarks;
            initial_end = ends.then_some(WatchEvent::Bookmark {
                revision: start,
                initial_end: true,
            });
        }
        let subscription = self
            .inner()
            .store
            .subscribe_resource(&context.kind.storage, start)
            .map_err(|_| read::too_old(start, self.inner().store.oldest_revision()))?;
        let stream = WatchStream {
            kind: context.kind.clone(),
            door: self.clone(),
            filter,
            present: present.into_iter(),
            initial_end,
            pending: VecDeque::new(),
            unjudged: VecDeque::new(),
            subscription,
            seen: start,
            bookmark: options
                .bookmarks
                .then(|| self.world().sleep(BOOKMARK_PERIOD)),
            failed: false,
        };
        Ok(context.reply(Answer::Watch(Box::new(stream))))
    }
}

/// The rules of `sendInitialEvents` (`ValidateListOptions`).
fn check_initial_events(context: &Context<'_>) -> Result<(), Status> {
    let options = &context.call.options;
    let mut errors = Vec::new();
    const MATCH: &str = "resourceVersionMatch";
    let mut forbid = |why: &str| errors.push(FieldError::forbidden(MATCH, why));
    match (options.initial_events, options.version_match) {
        (Some(_), VersionMatch::NotOlderThan) | (None, VersionMatch::Unset) => {}
        (Some(_), _) => {
            forbid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        }
        (None, _) => forbid(
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
    }
    if options.version_match == VersionMatch::Exact {
        errors.push(FieldError::not_supported(MATCH, "Exact", &["NotOlderThan"]));
    }
    if !options.continue_token.is_empty() {
        let why = "resourceVersionMatch is forbidden when continue is provided";
        errors.push(FieldError::forbidden(MATCH, why));
    }
    read::refuse_options(&errors)
}

impl WatchStream {
    /// The next event; `None` after a failure was reported.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            self.tell_present();
            if self.converts_next() {
                self.convert_next().await;
            }
            if self.pending.is_empty() && !self.failed {
                self.judge_next().await;
            }
            if let Some(event) = self.pop() {
                return Some(event);
            }
            if self.failed {
                return None;
            }
            if !self.unjudged.is_empty() {
                continue;
            }
            if self.pending.capacity() > PENDING_KEPT {
                self.pending = VecDeque::new();
            }
            self.wait().await;
        }
    }

    /// Makes the next of the first state pending, if nothing is.
    fn tell_present(&mut self) {
        if !self.pending.is_empty() {
            return;
        }
        match self.present.next() {
            Some(object) => {
                let added = WatchEvent::Object(EventType::Added, object);
                self.pending.push_back(added);
            }
            None => {
                let end = self.end_present();
                self.pending.extend(end);
            }
        }
    }

    /// Lets go of the first state; what remains to be told of it.
    fn end_present(&mut self) -> Option<WatchEvent> {
        self.present = Vec::new().into_iter();
        self.initial_end.take()
    }

    /// Whether the next event's object is waiting for a program outside to convert it.
    fn converts_next(&self) -> bool {
        match self.pending.front() {
            Some(WatchEvent::Object(_, object)) => convert::waits(object, &self.kind),
            _ => false,
        }
    }

    /// Converts the next event where it stands, so that giving up waiting loses nothing. What
    /// cannot be converted ends the watch.
    async fn convert_next(&mut self) {
        let Some(WatchEvent::Object(_, object)) = self.pending.front() else {
            return;
        };
        let converted = self.door.to_requested(object, &self.kind).await;
        match (converted, self.pending.front_mut()) {
            (Ok(converted), Some(WatchEvent::Object(_, object))) => *object = converted,
            (Err(status), _) => {
                self.failed = true;
                self.pending.clear();
                // The failure is the last that is told.
                let _ = self.end_present();
                self.pending.push_back(WatchEvent::Error(status));
            }
            (Ok(_), _) => {}
        }
    }

    /// Shows the next unjudged change in the version asked for and takes it in if it matters.
    /// The change stays where it is until then, so that giving up waiting loses nothing.
    async fn judge_next(&mut self) {
        let Some(change) = self.unjudged.front().cloned() else {
            return;
        };
        let mut shown = Change::clone(&change);
        for object in [&mut shown.old, &mut shown.new].into_iter().flatten() {
            match self.door.to_requested(object, &self.kind).await {
                Ok(converted) => *object = converted,
                Err(status) => {
                    self.failed = true;
                    self.unjudged.clear();
                    self.pending.push_back(WatchEvent::Error(status));
                    return;
                }
            }
        }
        self.unjudged.pop_front();
        self.pending.extend(self.event(&shown));
    }

    fn pop(&mut self) -> Option<WatchEvent> {
        Some(match self.pending.pop_front()? {
            WatchEvent::Object(kind, object) => {
                WatchEvent::Object(kind, convert::at_once(&object, &self.kind))
            }
            other => other,
        })
    }

    /// The namespace (empty for all) of which everything is told; nothing for a watch that
    /// chooses by names, labels or fields.
    pub fn place(&self) -> Option<&str> {
        let everything = self.filter.is_plain();
        everything.then(|| self.filter.namespace().unwrap_or_default())
    }

    /// The next event if there is one without waiting.
    pub fn ready(&mut self) -> Option<WatchEvent> {
        self.tell_present();
        if self.pending.is_empty() && !self.failed {
            match self.subscription.try_next() {
                Ok(changes) => self.take_in(&changes),
                Err(_) => self.fail(),
            }
        }
        match self.converts_next() {
            true => None,
            false => self.pop(),
        }
    }

    async fn wait(&mut self) {
        let news = match &mut self.bookmark {
            None => Some(self.subscription.next().await),
            Some(due) => select_biased! {
                changes = self.subscription.next().fuse() => Some(changes),
                () = due.fuse() => None,
            },
        };
        match news {
            Some(Ok(changes)) => self.take_in(&changes),
            Some(Err(_)) => self.fail(),
            None => {
                self.bookmark = Some(self.door.world().sleep(BOOKMARK_PERIOD));
                self.pending.push_back(WatchEvent::Bookmark {
                    revision: self.seen,
                    initial_end: false,
                });
            }
        }
    }

    /// A reader that cannot keep up is told, never skipped.
    fn fail(&mut self) {
        self.failed = true;
        let status = Status::expired(format!("too old resource version: {}", self.seen));
        self.pending.push_back(WatchEvent::Error(status));
    }

    fn take_in(&mut self, changes: &[Arc<Change>]) {
        for change in changes {
            self.seen = change.revision;
            if change.resource != self.kind.storage || !self.filter.covers(&change.key) {
                continue;
            }
            if self.filter.is_of_version() {
                self.unjudged.push_back(change.clone());
            } else {
                self.pending.extend(self.event(change));
            }
        }
    }

    /// What a change looks like through the filter.
    fn event(&self, change: &Change) -> Option<WatchEvent> {
        let before = change
            .old
            .as_ref()
            .filter(|object| self.filter.accepts(object));
        let after = change
            .new
            .as_ref()
            .filter(|object| self.filter.accepts(object));
        let (kind, object) = match (before, after) {
            (None, None) => return None,
            (None, Some(new)) => (EventType::Added, new.clone()),
            (Some(_), Some(new)) => (EventType::Modified, new.clone()),
            // A removal shows the last state, at the revision that removed it (or let it out of the filter).
            (Some(old), None) => (
                EventType::Deleted,
                Arc::new(Object::from_bytes(old.bytes(), change.revision)),
            ),
        };
        Some(WatchEvent::Object(kind, object))
    }

    /// The object of a bookmark event.
    pub fn bookmark_object(&self, revision: u64, initial_end: bool) -> Value {
        let mut object = json!({
            "apiVersion": self.kind.api_version(), "kind": &self.kind.gvk.kind,
            "metadata": {"resourceVersion": revision.to_string(), "creationTimestamp": null},
        });
        if initial_end {
            object.set_at(
                &["metadata", "annotations", "k8s.io/initial-events-end"],
                "true",
            );
        }
        object
    }
}
