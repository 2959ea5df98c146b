//! The door itself: what it holds, and the one way in.

use crate::{
    Admission, Answer, Body, Call, Complaints, Measures, PatchKind, Reply, Verb, Webhooks,
    authorize::RbacCache,
};
use auth::{TokenKey, User};
use env::{Time, World};
use futures::FutureExt;
use kinds::{Catalogue, Kind};
use machinery::{GroupVersion, Status, Value};
use std::sync::{Arc, Mutex, RwLock};
use store::{Snapshot, Store, Subscription};

/// The one way to every object. Cheap to clone.
#[derive(Clone)]
pub struct Door(Arc<Inner>);

pub(crate) struct Inner {
    pub world: World,
    pub store: Arc<Store>,
    pub catalogue: RwLock<Arc<Catalogue>>,
    pub admission: Vec<Arc<dyn Admission>>,
    pub webhooks: Option<Arc<dyn Webhooks>>,
    pub tokens: Arc<TokenKey>,
    pub rbac: Mutex<RbacCache>,
    pub measures: Measures,
}

/// What a door is made of.
pub struct DoorConfig {
    /// Time and chance.
    pub world: World,
    /// Where objects are.
    pub store: Arc<Store>,
    /// Which kinds there are at first.
    pub catalogue: Catalogue,
    /// Admission plug-ins, in order.
    pub admission: Vec<Arc<dyn Admission>>,
    /// Asks programs outside; none where there is no way to reach one.
    pub webhooks: Option<Arc<dyn Webhooks>>,
    /// Signs service-account tokens.
    pub tokens: Arc<TokenKey>,
}

/// A call on its way through the steps.
pub(crate) struct Context<'a> {
    /// The request, without its body.
    pub call: &'a Call,
    /// What was sent, until a step takes it.
    pub body: Body,
    /// Whether it is a server-side apply.
    pub applies: bool,
    pub kind: Arc<Kind>,
    pub now: Time,
    pub warnings: Vec<String>,
    pub revision: u64,
    pub created: bool,
}

impl<'a> Context<'a> {
    pub fn new(call: &'a Call, body: Body, kind: Arc<Kind>, now: Time) -> Self {
        let applies = matches!(&body, Body::Patch { kind, .. } if *kind == PatchKind::Apply);
        Self {
            call,
            body,
            applies,
            kind,
            now,
            warnings: Vec::new(),
            revision: 0,
            created: false,
        }
    }

    pub fn reply(self, answer: Answer) -> Reply {
        Reply {
            answer,
            created: self.created,
            warnings: self.warnings,
            revision: self.revision,
        }
    }

    /// The object sent, and complaints about its repeated fields. Those of a custom kind hold as
    /// said last.
    pub fn take_object(&mut self) -> Result<(Value, Complaints), Status> {
        match std::mem::take(&mut self.body) {
            Body::Object { value, duplicates } if self.kind.custom => Ok((value, duplicates)),
            Body::Object { value, duplicates } => {
                let overlaid = duplicates.overlaid().map(|(value, _)| value);
                Ok((overlaid.unwrap_or(value), duplicates))
            }
            _ => Err(Status::bad_request("a body with an object is required")),
        }
    }

    /// The 409 of a write that another one overtook.
    pub fn outdated(&self) -> Status {
        Status::modified(&self.call.resource.group_resource(), &self.call.name)
    }

    /// `pods "x" not found` for the object of this call.
    pub fn missing(&self) -> Status {
        Status::not_found(&self.call.resource.group_resource(), &self.call.name)
    }
}

impl Door {
    /// Opens a door.
    pub fn new(config: DoorConfig) -> Self {
        Self(Arc::new(Inner {
            measures: Measures::new(&config.admission),
            world: config.world,
            store: config.store,
            catalogue: RwLock::new(Arc::new(config.catalogue)),
            admission: config.admission,
            webhooks: config.webhooks,
            tokens: config.tokens,
            rbac: Mutex::default(),
        }))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    /// Time and chance.
    pub fn world(&self) -> &World {
        &self.0.world
    }

    /// What is counted.
    pub fn measures(&self) -> &Measures {
        &self.0.measures
    }

    /// The current time.
    pub fn now(&self) -> Time {
        self.0.world.now()
    }

    /// The latest state.
    pub fn snapshot(&self) -> Snapshot {
        self.0.store.snapshot()
    }

    /// The log after `revision`, for in-process observers.
    pub fn subscribe(&self, revision: u64) -> Result<Subscription, Status> {
        self.0
            .store
            .subscribe(revision)
            .map_err(|why| Status::expired(why.to_string()))
    }

    /// The log of one resource after `revision`.
    pub fn subscribe_to(&self, resource: &str, revision: u64) -> Result<Subscription, Status> {
        self.subscribe_to_each(&[resource], revision)
    }

    /// The log of these resources after `revision`; changes of others wake nobody.
    pub fn subscribe_to_each(
        &self,
        resources: &[&str],
        revision: u64,
    ) -> Result<Subscription, Status> {
        let subscribed = self.0.store.subscribe_resources(resources, revision);
        subscribed.map_err(|why| Status::expired(why.to_string()))
    }

    /// Why nothing can be written any more, if that is so.
    pub fn stopped(&self) -> Option<Arc<str>> {
        self.0.store.stopped().now_or_never()
    }

    /// Which kinds there are.
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.0
            .catalogue
            .read()
            .expect("no holder of the catalogue panics")
            .clone()
    }

    /// Replaces the catalogue (after a change of custom resource definitions).
    pub fn set_catalogue(&self, catalogue: Catalogue) {
        *self
            .0
            .catalogue
            .write()
            .expect("no holder of the catalogue panics") = Arc::new(catalogue);
    }

    /// The key that signs service-account tokens.
    pub fn tokens(&self) -> &Arc<TokenKey> {
        &self.0.tokens
    }

    /// Carries out a request: resolve, authorize, then the verb's own steps.
    pub async fn call(&self, mut call: Call) -> Result<Reply, Status> {
        let kind = self.resolve(&call)?;
        self.authorize(&call)?;
        let body = std::mem::take(&mut call.body);
        let context = Context::new(&call, body, kind, self.now());
        match call.verb {
            _ if !call.subresource.is_empty() => self.subresource(context).await,
            Verb::Get => self.get(context).await,
            Verb::List => self.list(context).await,
            Verb::Watch => self.watch(context).await,
            Verb::Create => self.create(context).await,
            Verb::Update => self.update(context).await,
            Verb::Patch => self.patch(context).await,
            Verb::Delete => self.delete(context).await,
            Verb::DeleteCollection => self.delete_collection(context).await,
            Verb::Connect => Err(Status::method_not_supported(
                &call.resource.group_resource(),
                "connect",
            )),
        }
    }

    /// The kind behind a request, if the resource is served and supports the verb.
    fn resolve(&self, call: &Call) -> Result<Arc<Kind>, Status> {
        let resource = &call.resource;
        let catalogue = self.catalogue();
        let kind = catalogue
            .resource(&resource.group, &resource.version, &resource.resource)
            .cloned()
            .ok_or_else(Status::no_such_path)?;
        let supported = if call.subresource.is_empty() {
            kind.verbs.contains(call.verb.name())
        } else {
            kind.subresource(&call.subresource)
                .ok_or_else(Status::no_such_path)?
                .verbs
                .contains(call.verb.name())
        };
        if !supported && call.verb != Verb::Connect {
            return Err(Status::method_not_supported(
                &resource.group_resource(),
                call.verb.name(),
            ));
        }
        Ok(kind)
    }

    /// Authorizes a stream into an object (`exec`, `log`, `proxy`) and returns the object.
    /// The verb is that of the HTTP method: `get` or `create`.
    pub fn connect(&self, call: &Call) -> Result<Arc<machinery::Object>, Status> {
        let kind = self.resolve(call)?;
        self.authorize(call)?;
        let key = store::Key::new(&call.namespace, &call.name);
        self.snapshot()
            .get(&kind.storage, &key)
            .cloned()
            .ok_or_else(|| Status::not_found(&call.resource.group_resource(), &call.name))
    }

    /// The served version of a storage resource (`deployments.apps`) to address it by.
    pub fn address(&self, storage: &str) -> Option<machinery::GroupVersionResource> {
        let catalogue = self.catalogue();
        let kind = catalogue.by_storage(storage)?;
        let GroupVersion { group, version } = kind.gvk.group_version();
        Some(machinery::GroupVersionResource {
            group,
            version,
            resource: kind.plural.clone(),
        })
    }

    /// A call for a part of the platform: `resource` is a storage resource name.
    pub fn component_call(
        &self,
        user: &Arc<User>,
        verb: Verb,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Call, Status> {
        let resource = self.address(resource).ok_or_else(Status::no_such_path)?;
        Ok(Call::new(user.clone(), verb, resource, namespace, name))
    }
}
