//! A request to the door and its answer, as values.

use crate::{Waited, WatchStream};
use auth::User;
use kinds::Kind;
use machinery::{FieldSelector, GroupVersionResource, LabelSelector, Object, SmolStr, Value};
use std::sync::Arc;

/// What is asked to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    /// Streams into a pod or a proxy; authorized as the HTTP method's verb.
    Connect,
}

impl Verb {
    /// Lower-case name as in roles and discovery.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create | Verb::Connect => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
        }
    }
}

/// The four patch languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' strategic merge patch; built-in kinds only.
    Strategic,
    /// Server-side apply.
    Apply,
}

/// A body's text, to be looked at again where fields of it are complained about.
pub trait Text: std::fmt::Debug + Send + Sync {
    /// Sentences about the repeated fields and the `unknown` ones (by their paths), in the order
    /// of the text.
    fn complaints(&self, unknown: &[String]) -> Vec<String>;

    /// The text read again, with repeated fields read over each other as Go's structs take them:
    /// what comes of it, and all that was said.
    fn overlaid(&self) -> Option<(Value, Value)>;
}

/// What a reader has to say about a body.
#[derive(Clone, Debug, Default)]
pub struct Complaints {
    /// Sentences about repeated fields.
    pub repeated: Vec<String>,
    /// What puts them and those about unknown fields in order, if the form of the body can.
    pub text: Option<Arc<dyn Text>>,
}

impl Complaints {
    /// The body as [`Text::overlaid`] tells, where it repeats fields.
    pub(crate) fn overlaid(&self) -> Option<(Value, Value)> {
        let text = self.text.as_ref().filter(|_| !self.repeated.is_empty());
        text?.overlaid()
    }
}

/// A decoded request body.
#[derive(Clone, Debug, Default)]
pub enum Body {
    /// None.
    #[default]
    None,
    /// An object; `duplicates` says which fields appeared twice.
    Object {
        /// The tree.
        value: Value,
        /// Complaints about repeated fields, in the reader's words.
        duplicates: Complaints,
    },
    /// A patch.
    Patch {
        /// Its language.
        kind: PatchKind,
        /// Its content.
        value: Value,
        /// Complaints about repeated fields, in the reader's words.
        duplicates: Complaints,
    },
}

impl Body {
    /// An object without duplicates.
    pub fn object(value: Value) -> Self {
        Self::Object {
            value,
            duplicates: Complaints::default(),
        }
    }
}

/// What to do about unknown and duplicate fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and warn.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

/// How a `resourceVersion` on a read is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VersionMatch {
    /// Not said.
    #[default]
    Unset,
    /// Exactly this one.
    Exact,
    /// This one or a newer one.
    NotOlderThan,
}

/// `DeleteOptions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// `gracePeriodSeconds`.
    pub grace_seconds: Option<i64>,
    /// `propagationPolicy` (or `orphanDependents`), `None` for the kind's default.
    pub propagation: Option<kinds::Propagation>,
    /// `preconditions.uid`.
    pub uid: Option<SmolStr>,
    /// `preconditions.resourceVersion`.
    pub revision: Option<SmolStr>,
}

/// Everything about a request besides what and where.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Do everything but commit.
    pub dry_run: bool,
    /// `fieldManager`; empty derives one from the caller.
    pub field_manager: SmolStr,
    /// `fieldValidation`.
    pub field_validation: FieldValidation,
    /// `force` of apply.
    pub force: bool,
    /// `labelSelector`.
    pub labels: LabelSelector,
    /// `fieldSelector`.
    pub fields: FieldSelector,
    /// `resourceVersion`, as sent; `None` if absent.
    pub resource_version: Option<u64>,
    /// `resourceVersionMatch`.
    pub version_match: VersionMatch,
    /// `limit`; zero for none.
    pub limit: usize,
    /// `continue`.
    pub continue_token: String,
    /// `allowWatchBookmarks`.
    pub bookmarks: bool,
    /// `sendInitialEvents`.
    pub initial_events: Option<bool>,
    /// `DeleteOptions`.
    pub delete: DeleteOptions,
    /// Time spent waiting for webhooks.
    pub waited: Waited,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who asks.
    pub user: Arc<User>,
    /// What is asked.
    pub verb: Verb,
    /// Of which resource.
    pub resource: GroupVersionResource,
    /// Subresource, or empty.
    pub subresource: SmolStr,
    /// Namespace; empty for cluster scope or all namespaces.
    pub namespace: SmolStr,
    /// Name; empty for collections.
    pub name: SmolStr,
    /// Body.
    pub body: Body,
    /// Options.
    pub options: Options,
}

impl Call {
    /// A call without subresource, body and options.
    pub fn new(
        user: Arc<User>,
        verb: Verb,
        resource: GroupVersionResource,
        namespace: &str,
        name: &str,
    ) -> Self {
        Self {
            user,
            verb,
            resource,
            subresource: SmolStr::default(),
            namespace: namespace.into(),
            name: name.into(),
            body: Body::None,
            options: Options::default(),
        }
    }

    /// The same on a subresource.
    pub fn on(mut self, subresource: &str) -> Self {
        self.subresource = subresource.into();
        self
    }

    /// The same with an object as body.
    pub fn with_object(mut self, value: Value) -> Self {
        self.body = Body::object(value);
        self
    }

    /// The same with a patch as body.
    pub fn with_patch(mut self, kind: PatchKind, value: Value) -> Self {
        self.body = Body::Patch {
            kind,
            value,
            duplicates: Complaints::default(),
        };
        self
    }
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct List {
    /// Kind of the items.
    pub kind: Arc<Kind>,
    /// The items, in key order, in the version asked for.
    pub items: Vec<Arc<Object>>,
    /// The snapshot they come from.
    pub revision: u64,
    /// Token of the next page, empty at the end.
    pub next: String,
    /// How many items follow, where it is cheap to know.
    pub remaining: Option<usize>,
}

/// What the door answers.
pub enum Answer {
    /// An object of a kind.
    Object(Arc<Kind>, Arc<Object>),
    /// Another value: `Status`, `Scale`, a review.
    Value(Value),
    /// A page of objects.
    List(List),
    /// A stream of events.
    Watch(Box<WatchStream>),
}

/// An answer with what goes beside it.
pub struct Reply {
    /// The answer.
    pub answer: Answer,
    /// Whether something was created (201).
    pub created: bool,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
    /// The revision of the last write made, zero for none.
    pub revision: u64,
}

impl Reply {
    /// The object answered, if it is one.
    pub fn object(&self) -> Option<&Arc<Object>> {
        if let Answer::Object(_, object) = &self.answer {
            Some(object)
        } else {
            None
        }
    }
}
