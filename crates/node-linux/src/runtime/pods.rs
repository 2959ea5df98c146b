//! Sandboxes: supervisor for the namespaces, pod network for the addresses, in that order.

use super::{Shared, io_error};
use crate::spec::{Phase, Request, SandboxRecord, SandboxSpec};
use env::{RuntimeError, RuntimeResult, SandboxConfig};
use std::{fs, io, path::PathBuf};

impl Shared {
    pub(super) fn run_sandbox(&self, config: &SandboxConfig) -> RuntimeResult<SandboxRecord> {
        let spec = self.sandbox_spec(config);
        let id = spec.id.clone();
        let record = self
            .client
            .sandbox(&Request::CreateSandbox(Box::new(spec)))?;
        if config.host_network || !record.ready || !record.ips.is_empty() {
            return Ok(record);
        }
        let netns = self.layout.sandbox(&id).join("net");
        let attached = self.network.attach(&config.uid, &netns, &config.ports);
        let addressed = attached.and_then(|ips| {
            self.client.sandbox(&Request::SetAddresses {
                id: id.clone(),
                ips,
            })
        });
        addressed.inspect_err(|_| {
            self.network.detach(&config.uid);
            // The error that is returned matters more; a leftover is removed as not ready.
            let _ = self.client.call(&Request::RemoveSandbox { id });
        })
    }

    fn sandbox_spec(&self, config: &SandboxConfig) -> SandboxSpec {
        let node = self.config.node.clone();
        let attempt = config.attempt.to_string();
        SandboxSpec {
            id: super::resolve::runtime_id(&["sandbox", &node, &config.uid, &attempt]),
            node,
            namespace: config.namespace.clone(),
            name: config.name.clone(),
            uid: config.uid.clone(),
            attempt: config.attempt,
            hostname: config.hostname.clone(),
            shared_network: config
                .host_network
                .then(|| self.network.node_netns().to_owned()),
            host_ipc: config.host_ipc,
            host_pid: config.host_pid,
            share_pid: config.share_process_namespace && !config.host_pid,
            sysctls: config.sysctls.clone(),
            resolv_conf: config.resolv_conf.clone(),
            cgroup: format!("{}/{}", self.config.cgroup, config.uid),
            limits: (&config.limits).into(),
            created_at: self.world.now().0,
        }
    }

    pub(super) fn find_sandbox(&self, id: &str) -> RuntimeResult<Option<SandboxRecord>> {
        let (sandboxes, _) = self.list()?;
        Ok(sandboxes.into_iter().find(|record| record.spec.id == id))
    }

    /// Where sockets of a sandbox live.
    pub(super) fn sandbox_netns(&self, id: &str) -> RuntimeResult<PathBuf> {
        let missing = || RuntimeError::new("NotFound", format!("sandbox {id:?} does not exist"));
        let record = self.find_sandbox(id)?.ok_or_else(missing)?;
        let own = || self.layout.sandbox(id).join("net");
        Ok(record.spec.shared_network.unwrap_or_else(own))
    }

    /// Releases network and namespaces of a sandbox without running containers.
    pub(super) fn stop_sandbox(&self, id: &str) -> RuntimeResult<()> {
        let (sandboxes, containers) = self.list()?;
        let Some(record) = sandboxes.iter().find(|record| record.spec.id == id) else {
            return Ok(());
        };
        let running = |phase: &Phase| matches!(phase, Phase::Running { .. });
        if containers
            .iter()
            .any(|found| found.sandbox == id && running(&found.phase))
        {
            let text = "a container was started meanwhile";
            return Err(RuntimeError::new("KillPodSandboxError", text));
        }
        let successor = |other: &&SandboxRecord| {
            other.ready && other.spec.uid == record.spec.uid && other.spec.id != id
        };
        // A newer sandbox of the same pod owns the pod's network now.
        if record.spec.shared_network.is_none() && !sandboxes.iter().any(|other| successor(&other))
        {
            self.network.detach(&record.spec.uid);
        }
        self.client
            .call(&Request::StopSandbox { id: id.to_owned() })
            .map(drop)
    }

    pub(super) fn remove_sandbox(&self, id: &str) -> RuntimeResult<()> {
        let Some(record) = self.find_sandbox(id)? else {
            return Ok(());
        };
        self.client
            .call(&Request::RemoveSandbox { id: id.to_owned() })?;
        let (left, _) = self.list()?;
        if left.iter().all(|other| other.spec.uid != record.spec.uid) {
            let spec = &record.spec;
            let logs = self.layout.pod_logs(&spec.namespace, &spec.name, &spec.uid);
            ignore_missing(fs::remove_dir_all(logs)).map_err(io_error("RemovePodSandboxError"))?;
        }
        self.empty_trash()
    }

    /// Deletes what the supervisor has put aside.
    pub(super) fn empty_trash(&self) -> RuntimeResult<()> {
        for entry in fs::read_dir(self.layout.trash())
            .into_iter()
            .flatten()
            .flatten()
        {
            // Two callers may delete the same directory at once.
            ignore_missing(fs::remove_dir_all(entry.path()))
                .map_err(io_error("RemoveContainerError"))?;
        }
        Ok(())
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
