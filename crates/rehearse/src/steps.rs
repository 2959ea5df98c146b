//! What is done to the cluster in a rehearsal, and the words for it.
//!
//! Upstream counterpart: chaos-mesh's actions.

use crate::{
    Cluster, Error, expect, manifests,
    scenario::{Named, NodeChoice, Step},
};
use machinery::Value;
use std::{path::Path, time::Duration};

/// How long an object waits for its kind or its namespace's account, in virtual time.
const APPLY_LIMIT: Duration = Duration::from_secs(30);
/// Pause between tries.
const APPLY_PAUSE: Duration = Duration::from_millis(200);

fn refused(what: &str, why: impl std::fmt::Display) -> Error {
    Error::Refused {
        what: what.to_owned(),
        why: why.to_string(),
    }
}

fn label(object: &Value) -> String {
    match object.namespace() {
        "" => format!("{} {}", object["kind"].str(), object.name()),
        namespace => format!("{} {namespace}/{}", object["kind"].str(), object.name()),
    }
}

/// Applies objects as a client does that tries again while a kind or a service account is
/// about to appear.
pub fn apply_all(cluster: &Cluster, objects: &[Value]) -> Result<(), Error> {
    for object in objects {
        let end = cluster.sim().now() + APPLY_LIMIT;
        while let Err(status) = cluster.apply(object) {
            let message = status.message();
            let soon = message.starts_with("no matches for kind")
                || message.contains("error looking up service account");
            if !soon || cluster.sim().now() >= end {
                return Err(refused(&label(object), message));
            }
            cluster.run_for(APPLY_PAUSE);
        }
    }
    Ok(())
}

fn choose(cluster: &Cluster, choice: &NodeChoice) -> Result<String, Error> {
    match (&choice.name, &choice.of) {
        (Some(name), _) => Ok(name.clone()),
        (None, Some(pods)) => {
            let found = expect::pods_of(&cluster.snapshot(), &pods.namespace, &pods.selector);
            let mut nodes = found
                .iter()
                .map(|pod| pod.at("spec.nodeName").str().to_owned());
            let node = nodes.find(|node| !node.is_empty());
            let none = || Error::Scenario(format!("no scheduled pod matches {:?}", pods.selector));
            node.ok_or_else(none)
        }
        (None, None) => Err(Error::Scenario("no node is named".into())),
    }
}

/// Carries out a step; its description.
pub(crate) fn perform(cluster: &mut Cluster, step: &Step, folder: &Path) -> Result<String, Error> {
    if let Some(choice) = &step.kill_node {
        let node = choose(cluster, choice)?;
        cluster.kill_node(&node)?;
        return Ok(format!("power of {node} cut"));
    }
    if let Some(node) = &step.start_node {
        cluster.start_node(node)?;
        return Ok(format!("{node} powered on"));
    }
    if let Some(choice) = &step.freeze_agent {
        let node = choose(cluster, choice)?;
        cluster.freeze_agent(&node)?;
        return Ok(format!("agent of {node} frozen"));
    }
    if let Some(node) = &step.thaw_agent {
        cluster.thaw_agent(node)?;
        return Ok(format!("agent of {node} goes on"));
    }
    change(cluster, step, folder)
}

fn change(cluster: &Cluster, step: &Step, folder: &Path) -> Result<String, Error> {
    if let Some(Named {
        resource,
        namespace,
        name,
    }) = &step.delete
    {
        let text = format!("{resource} {name} deleted");
        let done = cluster.delete(resource, (namespace, name));
        return done
            .map(|()| text.clone())
            .map_err(|why| refused(&text, why));
    }
    if let Some(pods) = &step.delete_pod {
        let found = expect::pods_of(&cluster.snapshot(), &pods.namespace, &pods.selector);
        let none = || Error::Scenario(format!("no pod matches {:?}", pods.selector));
        let name = found.first().ok_or_else(none)?.name().to_owned();
        let done = cluster.delete("pods", (&pods.namespace, &name));
        return done
            .map(|()| format!("pod {name} deleted"))
            .map_err(|why| refused(&name, why));
    }
    if let Some(scale) = &step.scale {
        let place = (scale.namespace.as_str(), scale.name.as_str());
        let text = format!("{} scaled to {}", scale.name, scale.replicas);
        let done = cluster.scale(&scale.resource, place, scale.replicas);
        return done
            .map(|()| text.clone())
            .map_err(|why| refused(&text, why));
    }
    if let Some(set) = &step.set_image {
        let place = (set.namespace.as_str(), set.name.as_str());
        let text = format!("image of {} set to {}", set.name, set.image);
        let done = cluster.set_image(&set.resource, place, (&set.container, &set.image));
        return done
            .map(|()| text.clone())
            .map_err(|why| refused(&text, why));
    }
    let file = step.apply.as_ref().expect("steps were checked on loading");
    apply_all(cluster, &manifests::load(&folder.join(file))?)?;
    Ok(format!("{file} applied"))
}
