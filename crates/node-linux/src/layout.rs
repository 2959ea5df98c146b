//! Where things are below the state directory. Only paths; creates nothing.

use std::path::{Path, PathBuf};

/// The state directory of one supervisor, shared by all nodes it serves.
#[derive(Clone, Debug)]
pub struct Layout(PathBuf);

impl Layout {
    /// A state directory.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// Held by the running supervisor.
    pub fn lock(&self) -> PathBuf {
        self.0.join("supervisor.lock")
    }

    /// What the supervisor has to say that no client asked for.
    pub fn journal(&self) -> PathBuf {
        self.0.join("supervisor.log")
    }

    /// All sandboxes.
    pub fn sandboxes(&self) -> PathBuf {
        self.0.join("sandboxes")
    }

    /// A sandbox: pinned namespaces, shared memory, files for /etc.
    pub fn sandbox(&self, id: &str) -> PathBuf {
        self.sandboxes().join(id)
    }

    /// All containers.
    pub fn containers(&self) -> PathBuf {
        self.0.join("containers")
    }

    /// A container: record, overlay directories, termination message.
    pub fn container(&self, id: &str) -> PathBuf {
        self.containers().join(id)
    }

    /// Directories given up, to be deleted at leisure.
    pub fn trash(&self) -> PathBuf {
        self.0.join("trash")
    }

    /// Logs of a pod.
    pub fn pod_logs(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.0
            .join("logs")
            .join(format!("{namespace}_{name}_{uid}"))
    }

    /// Volumes of a pod.
    pub fn pod_volumes(&self, uid: &str) -> PathBuf {
        self.pods().join(uid).join("volumes")
    }

    /// Everything of pods on the node, by their uid.
    pub fn pods(&self) -> PathBuf {
        self.0.join("pods")
    }

    /// Ids of the images that volumes of a pod show, a file each.
    pub fn pod_images(&self, uid: &str) -> PathBuf {
        self.pods().join(uid).join("images")
    }

    /// The image store.
    pub fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    /// Unpacked layers.
    pub fn layers(&self) -> PathBuf {
        self.images().join("layers")
    }
}
