//! Between the version an object is stored in and the version a client speaks.
//!
//! Most kinds need nothing here, and those that do convert by a function of their own. Custom
//! kinds may name a program outside that converts; only those wait. Upstream counterpart:
//! `apiextensions-apiserver/pkg/apiserver/conversion`.

use crate::{Conversion, Door};
use kinds::Kind;
use machinery::{Object, Status, Value};
use std::sync::Arc;

/// Whether the stored object can be shown in the version of `kind` only after a program outside
/// has converted it.
pub(crate) fn waits(object: &Object, kind: &Kind) -> bool {
    kind.conversion_webhook.is_some() && object.at("apiVersion").str() != kind.api_version()
}

/// The stored object in the version of `kind`, which no program outside is needed for; the same
/// `Arc` where nothing differs.
pub(crate) fn at_once(object: &Arc<Object>, kind: &Kind) -> Arc<Object> {
    differing(object, kind, &kind.api_version()).unwrap_or_else(|| object.clone())
}

/// The stored object in the version of `kind`, whose name is `wanted`; nothing where the stored
/// one is that already.
fn differing(object: &Object, kind: &Kind, wanted: &str) -> Option<Arc<Object>> {
    let restored = restored(object, kind);
    if object.at("apiVersion").str() == wanted {
        return restored.map(|value| Arc::new(Object::new(&value, object.revision())));
    }
    let mut value = restored.unwrap_or_else(|| object.root().to_value());
    kind.convert(&mut value, wanted);
    fit(&mut value, kind);
    Some(Arc::new(Object::new(&value, object.revision())))
}

/// The stored custom object as the type it is stored in now has it: without what that no longer
/// knows, with the defaults that were added; nothing where that is how it is stored.
fn restored(object: &Object, kind: &Kind) -> Option<Value> {
    if !kind.custom {
        return None;
    }
    let of = kind.type_in(object.at("apiVersion").str());
    // What was written after the definition was, fits it.
    let newer = |source: &schema::Source| object.revision() > source.definition.revision();
    let fits = of.schema.source.as_ref().is_some_and(newer);
    let stale = !fits && schema::has_unknown(object.root(), of);
    if !stale && !schema::lacks_defaults(object.root(), of) {
        return None;
    }
    let mut value = object.root().to_value();
    if stale {
        schema::prune(&mut value, of);
    }
    schema::apply_defaults(&mut value, of);
    Some(value)
}

/// Takes from a converted custom object what its new version does not know. Upstream gives it
/// no defaults of that version.
fn fit(value: &mut Value, kind: &Kind) {
    if kind.custom {
        schema::prune(value, kind.type_in(value["apiVersion"].str()));
    }
}

impl Door {
    /// The stored object in the version of `kind`; the same `Arc` where nothing differs.
    pub(crate) async fn to_requested(
        &self,
        object: &Arc<Object>,
        kind: &Arc<Kind>,
    ) -> Result<Arc<Object>, Status> {
        if !waits(object, kind) {
            return Ok(at_once(object, kind));
        }
        let value = restored(object, kind).unwrap_or_else(|| object.root().to_value());
        let mut value = self.by_webhook(value, kind, &kind.api_version()).await?;
        fit(&mut value, kind);
        Ok(Arc::new(Object::new(&value, object.revision())))
    }

    /// As [`Door::to_requested`] for many, which a program outside converts in one call.
    pub(crate) async fn all_to_requested(
        &self,
        objects: Vec<Arc<Object>>,
        kind: &Arc<Kind>,
    ) -> Result<Vec<Arc<Object>>, Status> {
        if kind.conversion_webhook.is_none() {
            let wanted = kind.api_version();
            let shown = |one: Arc<Object>| differing(&one, kind, &wanted).unwrap_or(one);
            return Ok(objects.into_iter().map(shown).collect());
        }
        let waiting: Vec<usize> = (0..objects.len())
            .filter(|at| waits(&objects[*at], kind))
            .collect();
        let mut objects: Vec<_> = objects
            .iter()
            .map(|one| match waits(one, kind) {
                true => one.clone(),
                false => at_once(one, kind),
            })
            .collect();
        if waiting.is_empty() {
            return Ok(objects);
        }
        let values = waiting
            .iter()
            .map(|at| &objects[*at])
            .map(|one| restored(one, kind).unwrap_or_else(|| one.root().to_value()))
            .collect();
        let converted = self.ask(values, kind, &kind.api_version(), true).await?;
        for (at, mut value) in waiting.into_iter().zip(converted) {
            fit(&mut value, kind);
            objects[at] = Arc::new(Object::new(&value, objects[at].revision()));
        }
        Ok(objects)
    }

    /// Turns a tree of any version of the kind into its storage version, with all that a read
    /// would add to it.
    pub(crate) async fn to_storage(&self, value: Value, kind: &Arc<Kind>) -> Result<Value, Status> {
        let mut stored = self.to_version(value, kind, &kind.storage_version).await?;
        fit(&mut stored, kind);
        if kind.custom {
            schema::apply_defaults(&mut stored, kind.type_in(&kind.storage_version));
        }
        Ok(stored)
    }

    /// Turns a tree of any version of the kind into the version `to`.
    pub async fn to_version(
        &self,
        mut value: Value,
        kind: &Arc<Kind>,
        to: &str,
    ) -> Result<Value, Status> {
        if kind.conversion_webhook.is_some() && value["apiVersion"].str() != to {
            return self.by_webhook(value, kind, to).await;
        }
        kind.convert(&mut value, to);
        Ok(value)
    }

    async fn by_webhook(&self, value: Value, kind: &Arc<Kind>, to: &str) -> Result<Value, Status> {
        let mut converted = self.ask(vec![value], kind, to, false).await?;
        let one = converted.pop();
        one.ok_or_else(|| Status::internal("the conversion webhook returned no object"))
    }

    async fn ask(
        &self,
        objects: Vec<Value>,
        kind: &Arc<Kind>,
        to: &str,
        list: bool,
    ) -> Result<Vec<Value>, Status> {
        let Some(webhooks) = &self.inner().webhooks else {
            let why = format!(
                "{} converts by webhook, and no webhook can be reached",
                kind.gvk
            );
            return Err(Status::internal(why));
        };
        let conversion = Conversion {
            door: self,
            kind: kind.clone(),
            to,
            list,
            objects,
        };
        webhooks.convert(conversion).await
    }
}
