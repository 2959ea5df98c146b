//! The write path: the steps of every create and update, in their one order.
//!
//! | step | where |
//! |---|---|
//! | 1 resolve, 2 authenticate and authorize | `door.rs`, `authorize.rs` |
//! | 3 decode: addressing, types, unknown fields, defaults | `decode.rs` |
//! | 4 namespace exists and is not going away | here |
//! | 5 server-owned metadata | `meta.rs` |
//! | 6 field ownership: of what was asked for, not of what the server adds | `managed.rs` |
//! | 7 mutating admission (with defaults for what comes from outside), the kind's own preparation, generation | `admission.rs`, `kinds` |
//! | 8 validation | `kinds` |
//! | 9 validating admission, quota last | `admission.rs` |
//! | 10 nothing changed: nothing written | here |
//! | 11 dry run ends here; commit, retried where another write came between | here |

use crate::{
    Answer, Context, Door, Live, Operation, Pass, Put, Reply, Review, Rounds, Stage, Step, Verb,
    decode, managed,
    meta::{self, SUFFIX_LENGTH},
};
use env::Time;
use kinds::Kind;
use machinery::{Object, Status, Value, flat};
use std::sync::Arc;
use store::{CommitError, Expected, Key, Transaction, Write};

/// Names are drawn anew this often before a collision is reported (upstream's number).
const GENERATE_NAME_TRIES: usize = 8;
/// A write that keeps losing races gives up after this many; each loss means that another succeeded.
const RACES_MAX: usize = 10_000;

/// How one attempt at a write ended.
pub(crate) enum Attempt {
    /// Stored (or found to change nothing, or a dry run): the object in the version asked for.
    Done(Arc<Object>),
    /// Another write came between: read again and retry.
    Raced,
}

impl Door {
    pub(crate) async fn create(&self, mut context: Context<'_>) -> Result<Reply, Status> {
        let (mut value, duplicates) = context.take_object()?;
        if !context.kind.stored {
            decode::conform(&mut context, &mut value, &duplicates)?;
            return self.review(context, value).await;
        }
        decode::check_addressing(&context, &mut value)?;
        decode::conform(&mut context, &mut value, &duplicates)?;
        let created = self.create_object(&mut context, value).await;
        let object = created.map_err(|status| status.warned(&mut context.warnings))?;
        context.created = true;
        let kind = context.kind.clone();
        Ok(context.reply(Answer::Object(kind, object)))
    }

    /// Creates a decoded object, drawing generated names anew on collisions.
    pub(crate) async fn create_object(
        &self,
        context: &mut Context<'_>,
        value: Value,
    ) -> Result<Arc<Object>, Status> {
        self.check_namespace(context, value.name())?;
        if value.name().is_empty() {
            for _ in 1..GENERATE_NAME_TRIES {
                match self.create_once(context, value.clone()).await {
                    Err(status) if status.is_already_exists() => {}
                    outcome => return outcome,
                }
            }
        }
        self.create_once(context, value).await
    }

    async fn create_once(
        &self,
        context: &mut Context<'_>,
        mut value: Value,
    ) -> Result<Arc<Object>, Status> {
        let world = &self.inner().world;
        meta::prepare_create(
            context,
            &mut value,
            world.uuid(),
            &world.name_suffix(SUFFIX_LENGTH),
        )?;
        if !context.applies {
            value.metadata_mut().remove("managedFields");
        }
        managed::track_create(context, &mut value);
        let mut review = self.review_of(context, Operation::Create, value, None);
        let passed = self.review_creation(context, &mut review).await;
        context.warnings.append(&mut review.warnings);
        passed?;
        let committed = self.commit_create(context, &review).await;
        if committed.is_err() {
            self.roll_back(&review);
        }
        committed
    }

    /// Completes a new object and finds out whether anybody objects to it. That its name is
    /// taken is found last, as upstream does: who refuses it anyway says so.
    async fn review_creation(
        &self,
        context: &mut Context<'_>,
        review: &mut Review<'_>,
    ) -> Result<(), Status> {
        let kind = context.kind.clone();
        self.mutate(review).await?;
        debug_assert!(is_complete(&kind, &review.object), "{:?}", review.object);
        kind.prepare_create(&mut review.object);
        meta::note_changes(context, &mut review.object, &Value::Null);
        refuse_if_any(context, &review.object, kind.validate(&review.object))?;
        let warnings = kind.warnings(&review.object, None);
        review.warnings.extend(warnings);
        self.admit(review).await
    }

    async fn commit_create(
        &self,
        context: &mut Context<'_>,
        review: &Review<'_>,
    ) -> Result<Arc<Object>, Status> {
        let bytes = self.stored_bytes(&review.object, &context.kind).await?;
        let key = Key::new(review.object.namespace(), review.object.name());
        if context.call.options.dry_run {
            self.roll_back(review);
            return match self.inner().store.head(&context.kind.storage, &key) {
                Some(_) => Err(self.taken(context, &key).await),
                None => self.unwritten(bytes, 0, &context.kind).await,
            };
        }
        match self
            .commit(context, key.clone(), Expected::Absent, Write::Put(bytes))
            .await?
        {
            Some(object) => self.to_requested(&object, &context.kind).await,
            None => Err(self.taken(context, &key).await),
        }
    }

    /// The refusal of a name that another object has, once everybody can see that object.
    async fn taken(&self, context: &Context<'_>, key: &Key) -> Status {
        // A write of nothing is done after all that were accepted before it. If the store has
        // stopped meanwhile, the refusal is as true as before.
        let nothing = Transaction::default().relaxed();
        let _ = self.inner().store.commit(nothing).await;
        let resource = context.call.resource.group_resource();
        let status = Status::already_exists(&resource, &key.name);
        match self.inner().store.head(&context.kind.storage, key) {
            Some(holder) if holder.is_deleting() => {
                let message = format!("object is being deleted: {}", status.message());
                status.with_message(message)
            }
            _ => status,
        }
    }

    /// What a write of `bytes` would have answered.
    async fn unwritten(
        &self,
        bytes: Vec<u8>,
        revision: u64,
        kind: &Arc<Kind>,
    ) -> Result<Arc<Object>, Status> {
        let object = Arc::new(Object::from_bytes(bytes, revision));
        self.to_requested(&object, kind).await
    }

    /// What the store holds of an object.
    async fn stored_bytes(&self, object: &Value, kind: &Arc<Kind>) -> Result<Vec<u8>, Status> {
        if object["apiVersion"].str() == kind.storage_version {
            return Ok(flat::encode(object));
        }
        let stored = self.to_storage(object.clone(), kind).await?;
        Ok(flat::encode(&stored))
    }

    pub(crate) async fn update(&self, mut context: Context<'_>) -> Result<Reply, Status> {
        let (mut value, duplicates) = context.take_object()?;
        decode::check_addressing(&context, &mut value)?;
        decode::conform(&mut context, &mut value, &duplicates)?;
        let mut put = Put::new(value);
        let rewritten = self
            .rewrite(&mut context, |context, _| put.again(context))
            .await;
        let object = rewritten.map_err(|status| status.warned(&mut context.warnings))?;
        let kind = context.kind.clone();
        Ok(context.reply(Answer::Object(kind, object)))
    }

    /// The read-modify-write of every change to an existing object: `change` makes the new
    /// object (in the version asked for) from the current one, and is asked again after a race.
    pub(crate) async fn rewrite(
        &self,
        context: &mut Context<'_>,
        mut change: impl FnMut(&mut Context<'_>, Option<&Live>) -> Result<Value, Status>,
    ) -> Result<Arc<Object>, Status> {
        let key = Key::new(&context.call.namespace, &context.call.name);
        for _ in 0..RACES_MAX {
            let head = self.inner().store.head(&context.kind.storage, &key);
            let Some(stored) = head else {
                let value = self.creatable(context, &mut change)?;
                context.created = true;
                match self.create_object(context, value).await {
                    Err(status) if status.is_already_exists() => continue,
                    outcome => return outcome,
                }
            };
            let object = self.to_requested(&stored, &context.kind).await?;
            let live = Live::new(&stored, object);
            let value = change(context, Some(&live))?;
            match self.update_once(context, &stored, &live, value).await? {
                Attempt::Done(object) => return Ok(object),
                Attempt::Raced => {}
            }
        }
        Err(context.outdated())
    }

    /// The object to create where a PUT or an apply names one that does not exist.
    fn creatable(
        &self,
        context: &mut Context<'_>,
        change: &mut impl FnMut(&mut Context<'_>, Option<&Live>) -> Result<Value, Status>,
    ) -> Result<Value, Status> {
        let puts =
            context.call.verb == Verb::Update && context.kind.strategy.allow_create_on_update;
        if !context.call.subresource.is_empty() || !(context.applies || puts) {
            return Err(context.missing());
        }
        self.authorize_creation(context.call)?;
        let mut value = change(context, None)?;
        let metadata = value.metadata_mut();
        if metadata
            .get("resourceVersion")
            .is_some_and(|version| !version.str().is_empty())
            || metadata.contains_key("uid")
        {
            return Err(context.missing());
        }
        metadata.insert("name", &context.call.name);
        Ok(value)
    }

    async fn update_once(
        &self,
        context: &mut Context<'_>,
        stored: &Arc<Object>,
        live: &Live,
        mut value: Value,
    ) -> Result<Attempt, Status> {
        let kind = context.kind.clone();
        let old = &live.tree;
        meta::check_identity(context, &value, stored)?;
        meta::prepare_update(&mut value, old);
        managed::track_update(context, old, &mut value);
        let mut review = self.review_of(context, Operation::Update, value, Some(&live.object));
        let passed = self.review_update(context, &mut review, old).await;
        if passed.is_err() {
            context.warnings.append(&mut review.warnings);
        }
        // Whoever writes an object as it is moves it to the version that is stored by now.
        let unchanged = passed? && stored.at("apiVersion").str() == kind.storage_version;
        let outcome = if unchanged {
            Ok(Attempt::Done(live.object.clone()))
        } else {
            self.commit_update(context, stored, &review).await
        };
        if !matches!(outcome, Ok(Attempt::Done(_))) {
            self.roll_back(&review);
        } else {
            context.warnings.append(&mut review.warnings);
            if context.call.subresource.is_empty() {
                context
                    .warnings
                    .extend(kind.warnings(&review.object, Some(old)));
            }
        }
        outcome
    }

    /// Completes a changed object and finds out whether anybody objects to it; whether it is as
    /// it was.
    async fn review_update(
        &self,
        context: &Context<'_>,
        review: &mut Review<'_>,
        old: &Value,
    ) -> Result<bool, Status> {
        let kind = context.kind.clone();
        self.mutate(review).await?;
        // What is as it was is sound already; that somebody may object to it stays.
        let unchanged = review.object == *old && !meta::is_finished(&kind, &review.object);
        if !unchanged {
            debug_assert!(is_complete(&kind, &review.object), "{:?}", review.object);
            prepare_update(context, &mut review.object, old);
            let errors = match context.call.subresource.as_str() {
                "" | "scale" => kind.weigh_update(&review.object, old, &mut review.warnings),
                "status" => kind.validate_status_update(&review.object, old),
                part => kind.validate_part_update(part, &review.object, old),
            };
            refuse_if_any(context, &review.object, errors)?;
        }
        self.admit(review).await?;
        Ok(unchanged)
    }

    async fn commit_update(
        &self,
        context: &mut Context<'_>,
        stored: &Arc<Object>,
        review: &Review<'_>,
    ) -> Result<Attempt, Status> {
        let finished = meta::is_finished(&context.kind, &review.object);
        let bytes = self.stored_bytes(&review.object, &context.kind).await?;
        let same = || bytes[..] == *stored.bytes() || managed::only_times_differ(&bytes, stored);
        if !finished && same() {
            let unchanged = self.to_requested(stored, &context.kind).await?;
            return Ok(Attempt::Done(unchanged));
        }
        if context.call.options.dry_run {
            self.roll_back(review);
            let shown = self.unwritten(bytes, stored.revision(), &context.kind);
            return Ok(Attempt::Done(shown.await?));
        }
        let key = Key::new(stored.namespace(), stored.name());
        let write = if finished {
            Write::Delete
        } else {
            Write::Put(bytes)
        };
        let committed = self
            .commit(context, key, Expected::Revision(stored.revision()), write)
            .await?;
        Ok(match committed {
            Some(object) => Attempt::Done(self.to_requested(&object, &context.kind).await?),
            None if finished && context.revision > 0 => {
                Attempt::Done(Arc::new(Object::new(&review.object, context.revision)))
            }
            None => Attempt::Raced,
        })
    }

    /// Commits one write. `None`: for a put, the expectation did not hold; a delete returns
    /// `None` either way and sets `context.revision` where it held.
    pub(crate) async fn commit(
        &self,
        context: &mut Context<'_>,
        key: Key,
        expected: Expected,
        write: Write,
    ) -> Result<Option<Arc<Object>>, Status> {
        let kind = &context.kind;
        let expires = kind.ttl.map(|ttl| self.now() + ttl);
        let transaction = {
            let mut operation = store::Operation::new(kind.storage.clone(), key, expected, write);
            operation.lease = expires;
            let transaction = Transaction::single(operation);
            if kind.durable {
                transaction
            } else {
                transaction.relaxed()
            }
        };
        match self.inner().store.commit(transaction).await {
            Ok(committed) => {
                context.revision = committed.revision;
                Ok(committed
                    .changes
                    .last()
                    .and_then(|change| change.new.clone()))
            }
            Err(CommitError::Mismatch { .. }) => {
                context.revision = 0;
                Ok(None)
            }
            Err(stopped) => Err(Status::internal(stopped)),
        }
    }

    /// Step 4: the namespace of a new object exists and is not going away.
    fn check_namespace(&self, context: &Context<'_>, object: &str) -> Result<(), Status> {
        if !context.kind.namespaced {
            return Ok(());
        }
        let name = &context.call.namespace;
        let namespaces = machinery::GroupResource::new("", "namespaces");
        let head = self.inner().store.head("namespaces", &Key::new("", name));
        let namespace = head.ok_or_else(|| Status::not_found(&namespaces, name))?;
        if namespace.is_deleting() {
            let why = format!(
                "unable to create new content in namespace {name} because it is being terminated"
            );
            return Err(
                Status::forbidden(&context.call.resource.group_resource(), object, &why).cause(
                    "NamespaceTerminating",
                    format!("namespace {name} is being terminated"),
                    "metadata.namespace",
                ),
            );
        }
        Ok(())
    }

    pub(crate) fn review_of<'a>(
        &'a self,
        context: &Context<'a>,
        operation: Operation,
        object: Value,
        old: Option<&'a Arc<Object>>,
    ) -> Review<'a> {
        Review {
            door: self,
            user: &context.call.user,
            operation,
            kind: context.kind.clone(),
            subresource: &context.call.subresource,
            namespace: &context.call.namespace,
            name: if object.name().is_empty() {
                context.call.name.clone()
            } else {
                object.name().into()
            },
            object,
            old,
            options: &context.call.options,
            warnings: Vec::new(),
            rounds: Rounds::default(),
        }
    }

    /// Mutating plug-ins, then whoever is asked outside; what was changed there is seen by both
    /// once more (upstream's reinvocation).
    pub(crate) async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let since = self.now();
        let outcome = self.mutate_all(review).await;
        self.measure(review, Step::Admit, &outcome, since);
        outcome
    }

    fn measure(&self, review: &Review<'_>, step: Step, outcome: &Result<(), Status>, since: Time) {
        let took = self.now().since(since);
        self.measures()
            .step(review.operation, step, outcome.is_err(), took);
    }

    async fn mutate_all(&self, review: &mut Review<'_>) -> Result<(), Status> {
        self.mutate_inside(review)?;
        let Some(webhooks) = &self.inner().webhooks else {
            return Ok(());
        };
        if webhooks.mutate(review, Pass::First).await? {
            self.mutate_inside(review)?;
            webhooks.mutate(review, Pass::Again).await?;
        }
        Ok(())
    }

    fn mutate_inside(&self, review: &mut Review<'_>) -> Result<(), Status> {
        self.chain(review, Stage::Mutate)
    }

    /// Validating plug-ins, then webhooks, then what is counted; what was reserved is released on
    /// a refusal.
    pub(crate) async fn admit(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let since = self.now();
        let outcome = self.admit_all(review).await;
        self.measure(review, Step::Validate, &outcome, since);
        outcome
    }

    async fn admit_all(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let inside = self.chain(review, Stage::Validate);
        let passed = match (&self.inner().webhooks, inside) {
            (Some(webhooks), Ok(())) => webhooks.validate(review).await,
            (_, inside) => inside,
        };
        let passed = passed.and_then(|()| self.chain(review, Stage::Count));
        if passed.is_err() {
            self.roll_back(review);
        }
        passed
    }

    pub(crate) fn roll_back(&self, review: &Review<'_>) {
        self.inner()
            .admission
            .iter()
            .for_each(|plugin| plugin.rolled_back(review));
    }
}

/// Whether an object has its defaults. Decoding gives them, and who lets others change objects
/// (webhooks, policies) gives them again; built-in plug-ins write what is complete.
fn is_complete(kind: &Kind, object: &Value) -> bool {
    if kind.custom && kind.api_version() != kind.storage_version {
        // What is stored has the defaults of another version.
        return true;
    }
    let mut complete = object.clone();
    kind.apply_defaults(&mut complete);
    complete == *object
}

/// The kind's own preparation of an update, by what the subresource may touch.
fn prepare_update(context: &Context<'_>, new: &mut Value, old: &Value) {
    match context.call.subresource.as_str() {
        "" | "scale" => context.kind.prepare_update(new, old),
        "status" => {
            context.kind.prepare_status_update(new, old);
            meta::note_changes(context, new, old);
        }
        // Where a pod runs is the scheduler's to say and nothing that was wanted of the pod.
        "binding" => {}
        _ => context.kind.count_generation(new, old),
    }
}

/// 422 with all causes, if there are any.
pub(crate) fn refuse_if_any(
    context: &Context<'_>,
    value: &Value,
    errors: Vec<machinery::FieldError>,
) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    let gvk = &context.kind.gvk;
    Err(Status::invalid(
        &gvk.group,
        &gvk.kind,
        value.name(),
        &errors,
    ))
}
