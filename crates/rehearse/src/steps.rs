//! What is done to the cluster in a rehearsal, and the words for it.
//!
//! Upstream counterpart: chaos-mesh's actions.

use crate::{
    Cluster, Error,
    expect::{self, Chosen},
    manifests,
    scenario::{Named, NodeChoice, Step},
};
use machinery::Value;
use std::{collections::BTreeSet, path::Path, time::Duration};

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

/// The node a choice falls on.
fn choose(cluster: &Cluster, choice: &NodeChoice, chosen: &Chosen) -> Result<String, Error> {
    if let Some(name) = &choice.name {
        return expect::resolve(name, chosen)
            .map(str::to_owned)
            .map_err(Error::Scenario);
    }
    let snapshot = cluster.snapshot();
    let on = |pattern: &Option<String>| -> Option<BTreeSet<String>> {
        let pods = expect::pods_of(&snapshot, pattern.as_ref()?);
        Some(
            pods.iter()
                .map(|pod| pod.at("spec.nodeName").str().to_owned())
                .collect(),
        )
    };
    let (with, without) = (on(&choice.runs), on(&choice.runs_not).unwrap_or_default());
    let fits = |node: &&str| {
        with.as_ref().is_none_or(|with| with.contains(*node)) && !without.contains(*node)
    };
    let node = cluster.nodes().find(fits).map(str::to_owned);
    node.ok_or_else(|| Error::Scenario("no node runs these pods".into()))
}

/// Carries out a step; its description.
pub(crate) fn perform(
    cluster: &mut Cluster,
    step: &Step,
    (folder, chosen): (&Path, &mut Chosen),
) -> Result<String, Error> {
    type Deed = fn(&mut Cluster, &str) -> Result<(), Error>;
    let deeds: [(&Option<NodeChoice>, Deed, &str); 4] = [
        (&step.kill_node, Cluster::kill_node, "lost its power"),
        (&step.start_node, Cluster::start_node, "powered on"),
        (&step.freeze_agent, Cluster::freeze_agent, "agent frozen"),
        (&step.thaw_agent, Cluster::thaw_agent, "agent goes on"),
    ];
    for (choice, deed, words) in deeds {
        if let Some(choice) = choice {
            let node = choose(cluster, choice, chosen)?;
            deed(cluster, &node)?;
            chosen.insert(step.name.clone(), node.clone());
            return Ok(format!("{node} {words}"));
        }
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
    if let Some(pattern) = &step.delete_pod {
        let found = expect::pods_of(&cluster.snapshot(), pattern);
        let none = || Error::Scenario(format!("no pod matches {pattern:?}"));
        let pod = found.first().ok_or_else(none)?;
        let name = pod.name().to_owned();
        let done = cluster.delete("pods", (pod.namespace(), &name));
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
