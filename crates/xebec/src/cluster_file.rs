//! Cluster files: eksctl's `ClusterConfig`, the parts that shape a local cluster.

use machinery::Value;
use std::{error::Error, fs, path::Path};

/// Zones of a cluster that names none.
const ZONES: [&str; 3] = ["local-1a", "local-1b", "local-1c"];
/// Region of a cluster that names none.
const REGION: &str = "local-1";
/// Nodes a local cluster may have.
const NODES_MAX: usize = 64;

/// A node to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePlan {
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// Its instance type, may be empty.
    pub instance_type: String,
    /// Its group, may be empty.
    pub group: String,
    /// Labels of the group.
    pub labels: Vec<(String, String)>,
}

/// The shape of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterPlan {
    /// Name, if the file gives one.
    pub name: Option<String>,
    /// Region.
    pub region: String,
    /// Nodes.
    pub nodes: Vec<NodePlan>,
}

impl ClusterPlan {
    /// `count` plain nodes over the default zones.
    pub fn plain(count: usize) -> Self {
        let nodes = (0..count).map(|at| NodePlan {
            name: format!("node-{}", at + 1),
            zone: ZONES[at % ZONES.len()].into(),
            instance_type: String::new(),
            group: String::new(),
            labels: Vec::new(),
        });
        Self {
            name: None,
            region: REGION.into(),
            nodes: nodes.collect(),
        }
    }

    /// Reads a cluster file; `count` overrides the number of nodes.
    pub fn read(file: &Path, count: Option<usize>) -> Result<Self, Box<dyn Error>> {
        let text = fs::read(file).map_err(|why| format!("{}: {why}", file.display()))?;
        let config = codec::decode_yaml(&text, codec::Limits::default())
            .map_err(|why| format!("{}: {why}", file.display()))?
            .value;
        if config["kind"].str() != "ClusterConfig" {
            return Err(format!(
                "{}: kind must be ClusterConfig (eksctl.io/v1alpha5)",
                file.display()
            )
            .into());
        }
        let region = config
            .at(&["metadata", "region"])
            .as_str()
            .unwrap_or(REGION)
            .to_owned();
        let zones = zones(&config, &region);
        let mut nodes = Vec::new();
        for group in config["managedNodeGroups"]
            .items()
            .iter()
            .chain(config["nodeGroups"].items())
        {
            group_nodes(group, &zones, &mut nodes);
        }
        if nodes.is_empty() {
            nodes = Self::plain(1).nodes;
        }
        if let Some(count) = count {
            let plain = Self::plain(count).nodes;
            nodes.truncate(count);
            nodes.extend(plain.into_iter().skip(nodes.len()));
        }
        if nodes.len() > NODES_MAX {
            return Err(format!(
                "{} nodes: a local cluster has at most {NODES_MAX}",
                nodes.len()
            )
            .into());
        }
        let name = config.at(&["metadata", "name"]).as_str().map(str::to_owned);
        Ok(Self {
            name,
            region,
            nodes,
        })
    }
}

fn zones(config: &Value, region: &str) -> Vec<String> {
    let given: Vec<String> = config["availabilityZones"]
        .items()
        .iter()
        .map(|zone| zone.str().to_owned())
        .collect();
    if !given.is_empty() {
        return given;
    }
    ["a", "b", "c"]
        .map(|letter| format!("{region}{letter}"))
        .into()
}

fn group_nodes(group: &Value, zones: &[String], nodes: &mut Vec<NodePlan>) {
    let name = group["name"].str();
    let size = group["desiredCapacity"]
        .as_i64()
        .or(group["minSize"].as_i64())
        .unwrap_or(2)
        .max(0);
    let own: Vec<String> = group["availabilityZones"]
        .items()
        .iter()
        .map(|zone| zone.str().to_owned())
        .collect();
    let zones = if own.is_empty() { zones } else { &own };
    let labels: Vec<(String, String)> = group["labels"]
        .entries()
        .map(|(key, value)| (key.to_string(), value.str().to_owned()))
        .collect();
    for at in 0..size as usize {
        nodes.push(NodePlan {
            name: format!("{name}-{}", at + 1),
            zone: zones[at % zones.len()].clone(),
            instance_type: group["instanceType"].str().into(),
            group: name.into(),
            labels: labels.clone(),
        });
    }
}
