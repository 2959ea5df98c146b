//! The commands of scripts.
//!
//! Each goes through the door as a client would; faults go to the simulated nodes.

use crate::show;
use machinery::{LabelSelector, Object, Value, json};
use registry::{Answer, FieldValidation, PatchKind, Verb};
use rehearse::{Cluster, ClusterPlan, NodePlan, scenario};
use sim_env::{Exit, Profile, Profiles, Rule, Span};
use std::{sync::Arc, time::Duration};

/// Where a Deployment and its ReplicaSets carry the number of a revision.
const REVISION: &str = "deployment.kubernetes.io/revision";

type Answered = Result<String, String>;

/// A cluster and the script that plays on it.
pub struct Session {
    cluster: Cluster,
}

/// Images with a story: `crash` fails, `task` completes, `never-ready` runs and answers no probe.
fn profiles() -> Profiles {
    let rule = |image: &str, profile| Rule {
        image: image.into(),
        profile,
        ..Rule::default()
    };
    let exit = |after, code| Profile {
        exit: Some(Exit {
            after: Span::millis(after, after),
            code,
            oom: false,
        }),
        ..Profile::default()
    };
    let never = Span::millis(u64::from(u32::MAX), u64::from(u32::MAX));
    Profiles {
        rules: vec![
            rule("crash*", exit(1_000, 1)),
            rule("task*", exit(5_000, 0)),
            rule(
                "never-ready*",
                Profile {
                    ready_after: never,
                    ..Profile::default()
                },
            ),
            rule(
                "missing*",
                Profile {
                    missing: true,
                    ..Profile::default()
                },
            ),
        ],
    }
}

fn place(text: &str) -> (&str, &str) {
    text.split_once('/').unwrap_or(("", text))
}

fn words<const N: usize>(rest: &str) -> Result<[&str; N], String> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    words
        .try_into()
        .map_err(|_| format!("expected {N} words after the command"))
}

impl Session {
    /// A cluster without nodes.
    pub fn start() -> Self {
        let plan = ClusterPlan {
            seed: 1,
            profiles: profiles(),
            ..ClusterPlan::default()
        };
        let cluster = Cluster::start(plan).expect("the platform starts");
        Self { cluster }
    }

    /// Carries out one command; its output.
    pub fn run(&mut self, command: &str, input: &str) -> Answered {
        let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
        match word {
            "nodes" => self.nodes(rest),
            "run" => self.pass(rest),
            "apply" | "create" => self.apply(word, input),
            "get" => self.get(rest),
            "field" => self.field(rest),
            "contents" => Ok(show::contents(&self.cluster.snapshot(), rest)),
            "endpoints" => {
                let (namespace, name) = place(rest);
                Ok(show::endpoints(&self.cluster.snapshot(), namespace, name))
            }
            "on" => Ok(show::on_node(&self.cluster.snapshot(), rest)),
            "scale" => self.scale(rest),
            "image" => self.image(rest),
            "undo" => self.undo(rest),
            "delete" => self.delete(rest),
            "kill" => self.cluster.kill_node(rest).map(done).map_err(text),
            "start" => self.cluster.start_node(rest).map(done).map_err(text),
            "freeze" => self.cluster.freeze_agent(rest).map(done).map_err(text),
            "thaw" => self.cluster.thaw_agent(rest).map(done).map_err(text),
            _ => Err(format!("no command {word:?}")),
        }
    }

    fn nodes(&mut self, rest: &str) -> Answered {
        let [count] = words(rest)?;
        for number in 1..=count.parse::<u32>().map_err(text)? {
            let plan = NodePlan::new(&format!("node-{number}"));
            self.cluster.add_node(plan).map_err(text)?;
        }
        self.cluster.run_for(Duration::from_secs(1));
        Ok(String::new())
    }

    fn pass(&mut self, rest: &str) -> Answered {
        let duration = scenario::parse_duration(rest).ok_or("not a duration")?;
        self.cluster.run_for(duration);
        Ok(String::new())
    }

    fn apply(&self, word: &str, input: &str) -> Answered {
        let documents = codec::yaml_documents(input.as_bytes()).map_err(text)?;
        let mut output = String::new();
        for document in documents {
            let what = format!("{} {}", document["kind"].str(), document.name());
            let outcome = match word {
                "apply" => self.cluster.apply(&document).map(|(_, created)| created),
                _ => self.create(document).map(|_| true),
            };
            output.push_str(&match outcome {
                Ok(true) => format!("{what} created\n"),
                Ok(false) => format!("{what} configured\n"),
                Err(status) => format!("{what}: {:?}: {}\n", status.reason(), status.message()),
            });
        }
        Ok(output)
    }

    fn create(&self, mut object: Value) -> Result<registry::Reply, machinery::Status> {
        let gvk = object.gvk();
        let catalogue = self.cluster.platform().door.catalogue();
        let kind = catalogue
            .kind(&gvk)
            .ok_or_else(machinery::Status::no_such_path)?;
        let namespace = object.namespace().to_owned();
        object.make_object();
        let mut call = self
            .cluster
            .request(Verb::Create, &kind.storage, (&namespace, ""))?;
        call.options.field_validation = FieldValidation::Strict;
        self.cluster.call(call.with_object(object))
    }

    /// `get RESOURCE [NAMESPACE] [SELECTOR]`
    fn get(&self, rest: &str) -> Answered {
        let mut words = rest.split_whitespace();
        let resource = words.next().ok_or("get what?")?;
        let namespace = words.next().unwrap_or_default();
        let call = self.cluster.request(Verb::List, resource, (namespace, ""));
        let mut call = call.map_err(text)?;
        call.options.labels =
            LabelSelector::parse(words.next().unwrap_or_default()).map_err(text)?;
        match self.cluster.call(call).map_err(text)?.answer {
            Answer::List(list) => Ok(show::table(&list, self.cluster.sim().now().0)),
            _ => Err("the answer is not a list".into()),
        }
    }

    fn object(&self, resource: &str, named: &str) -> Result<Arc<Object>, String> {
        let (namespace, name) = place(named);
        let found = self.cluster.get(resource, namespace, name);
        found.ok_or_else(|| format!("{resource} {named} not found"))
    }

    /// `field RESOURCE NAMESPACE/NAME PATH`
    fn field(&self, rest: &str) -> Answered {
        let [resource, named, path] = words(rest)?;
        let object = self.object(resource, named)?;
        let value = object.at(path).to_value();
        Ok(format!("{}\n", codec::encode_yaml(&value).trim_end()))
    }

    fn scale(&self, rest: &str) -> Answered {
        let [resource, named, replicas] = words(rest)?;
        let replicas = replicas.parse().map_err(text)?;
        let scaled = self.cluster.scale(resource, place(named), replicas);
        scaled.map(done).map_err(text)
    }

    fn image(&self, rest: &str) -> Answered {
        let [resource, named, container, image] = words(rest)?;
        let set = self
            .cluster
            .set_image(resource, place(named), (container, image));
        set.map(done).map_err(text)
    }

    /// `undo NAMESPACE/NAME`: what `kubectl rollout undo deployment` does.
    fn undo(&self, named: &str) -> Answered {
        let deployment = self.object("deployments.apps", named)?;
        let snapshot = self.cluster.snapshot();
        let sets = snapshot.list("replicasets.apps", Some(deployment.namespace()));
        let own = sets.filter(|set| {
            set.controller()
                .is_some_and(|owner| owner.uid() == deployment.uid())
        });
        let number = |set: &Arc<Object>| -> u64 {
            set.annotation(REVISION)
                .and_then(|text| text.parse().ok())
                .unwrap_or(0)
        };
        let mut sets: Vec<&Arc<Object>> = own.collect();
        sets.sort_by_key(|set| number(set));
        let previous = sets
            .iter()
            .rev()
            .nth(1)
            .ok_or("no revision to go back to")?;
        let mut template = previous.at("spec.template").to_value();
        template.remove_at(&["metadata", "labels", "pod-template-hash"]);
        let patch = json!([{"op": "replace", "path": "/spec/template", "value": template}]);
        let call = self
            .cluster
            .request(Verb::Patch, "deployments.apps", place(named));
        let call = call.map_err(text)?.with_patch(PatchKind::Json, patch);
        self.cluster.call(call).map(|_| String::new()).map_err(text)
    }

    fn delete(&self, rest: &str) -> Answered {
        let [resource, named] = words(rest)?;
        self.cluster
            .delete(resource, place(named))
            .map(done)
            .map_err(text)
    }
}

fn done((): ()) -> String {
    String::new()
}

fn text(why: impl std::fmt::Display) -> String {
    why.to_string()
}
