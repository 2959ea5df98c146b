//! Puts the control plane together.

use crate::{
    CertificateSigner, custom,
    pods::PodRouter,
    policies,
    services::ServiceNet,
    trust::{Keys, Roots},
};
use auth::TokenKey;
use controllers::{ControllersConfig, RootBundle};
use driver::{Recorder, Workqueue, drive};
use env::{Callout, Disk, World};
use kinds::Catalogue;
use machinery::Status;
use reconcile::Brain;
use registry::{Door, DoorConfig};
use std::{fmt, sync::Arc};
use store::{OpenError, Store, StoreOptions};

/// What a cluster is told about itself.
pub struct PlatformConfig {
    /// Signs service-account tokens.
    pub tokens: Arc<TokenKey>,
    /// Signs certificates.
    pub certificates: Arc<dyn CertificateSigner>,
    /// PEM text of the authorities that clients check the server with, and it them.
    pub root_ca: String,
    /// Domain of the cluster's names.
    pub cluster_domain: String,
    /// Directory (on each node) that directory volumes live below.
    pub volume_directory: String,
    /// Admission.
    pub admission: admission::AdmissionConfig,
    /// First objects.
    pub bootstrap: admission::bootstrap::Config,
    /// The store's sizes.
    pub store: StoreOptions,
    /// The way to webhooks.
    pub callout: Arc<dyn Callout>,
}

/// A running control plane.
pub struct Platform {
    /// The door.
    pub door: Door,
    /// Services and names.
    pub services: Arc<ServiceNet>,
    /// Counts events for all nodes.
    pub recorder: Arc<Recorder>,
    /// The store, for its end.
    pub store: Arc<Store>,
    pub(crate) pods: Arc<PodRouter>,
    /// Whom clients and server believe.
    pub roots: Roots,
}

/// Why a control plane could not be put together.
#[derive(Debug)]
pub enum AssembleError {
    /// The store could not be opened.
    Store(OpenError),
    /// A first object was refused.
    Bootstrap {
        /// Which.
        object: String,
        /// Why.
        status: Status,
    },
    /// A part could not start.
    Start(Status),
}

impl fmt::Display for AssembleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(why) => write!(f, "{why}"),
            Self::Bootstrap { object, status } => write!(f, "{object} was refused: {status}"),
            Self::Start(status) => write!(f, "{status}"),
        }
    }
}
impl std::error::Error for AssembleError {}

/// Builds the control plane in a world, on a disk: store, door, first objects, controllers, scheduler.
pub async fn assemble(
    world: &World,
    disk: Arc<dyn Disk>,
    config: PlatformConfig,
) -> Result<Platform, AssembleError> {
    let store = Store::open(world, disk, config.store)
        .await
        .map_err(AssembleError::Store)?;
    let builtin = Catalogue::builtin();
    let mut compiled = custom::Compiled::default();
    let catalogue = compiled.start(&builtin, &store.snapshot());
    let door = Door::new(DoorConfig {
        world: world.clone(),
        store: store.clone(),
        catalogue,
        admission: admission::chain(config.admission),
        webhooks: Some(Arc::new(admission::webhooks::Webhooks::new(
            config.callout,
            Some(Arc::new(admission::MatchConditions::default())),
        ))),
        tokens: config.tokens.clone(),
    });
    custom::follow(&door, builtin, compiled).map_err(AssembleError::Start)?;
    crate::bootstrap::bootstrap(&door, config.bootstrap).await?;
    policies::follow(&door).map_err(AssembleError::Start)?;
    let services =
        ServiceNet::start(&door, &config.cluster_domain).map_err(AssembleError::Start)?;
    let pods = PodRouter::start(&door).map_err(AssembleError::Start)?;
    let roots = Roots {
        door: door.clone(),
        bundle: RootBundle::default(),
    };
    let published = roots.believe(&config.root_ca).await;
    published.map_err(AssembleError::Start)?;
    let controllers = ControllersConfig {
        root_ca: roots.bundle.clone(),
        volume_directory: config.volume_directory,
        trust: Some(Arc::new(Keys {
            signer: config.certificates,
            tokens: config.tokens,
            door: door.clone(),
        })),
    };
    let mut brains: Vec<Box<dyn Brain>> = controllers::all(controllers)
        .into_iter()
        .map(|controller| {
            let queue = Workqueue::new(controller);
            let counts = queue.counts().clone();
            let name = controllers::queue_name(queue.name());
            door.measures().queue(name, counts);
            Box::new(queue) as Box<dyn Brain>
        })
        .collect();
    brains.push(Box::new(scheduler::Scheduler::default()));
    drive(&door, brains).map_err(AssembleError::Start)?;
    Ok(Platform {
        door,
        services,
        recorder: Arc::default(),
        store,
        pods,
        roots,
    })
}
