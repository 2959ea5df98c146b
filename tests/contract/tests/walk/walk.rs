//! One resource's walk: its objects, its requests, and the order of its steps.

use crate::{
    APART, Failure, NAMESPACE, actions,
    compare::{Outcome, ensure},
    delete,
    discovery::Resource,
    forms, read, refuse,
    sample::{self, Sample},
    subresource, write,
};
use contract_tests::{Answer, Api, Session, Watch};
use serde_json::{Value, json};

/// A property and how it is proved.
pub type Step = (&'static str, fn(&mut Walk<'_>) -> Outcome);

/// JSON's content type.
pub const JSON: &str = "application/json";
/// YAML's content type.
pub const YAML: &str = "application/yaml";
/// Protobuf's content type.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// How often something that controllers may change in between is tried again.
const TRIES: usize = 8;

/// The steps, each on what the ones before left.
const STEPS: &[&[Step]] = &[
    forms::STEPS,
    write::STEPS,
    refuse::STEPS,
    read::STEPS,
    subresource::STEPS,
    actions::STEPS,
    delete::STEPS,
];

/// A walk over one resource.
pub struct Walk<'a> {
    session: Session,
    number: usize,
    /// The resource.
    pub resource: &'a Resource,
    /// Its sample.
    pub sample: &'a Sample,
    /// Events of the first object, from before it was.
    pub watch: Option<Watch>,
    /// Versions of the first object that its writes answered with.
    pub versions: Vec<String>,
}

impl<'a> Walk<'a> {
    /// A walk with a connection of its own.
    pub fn new(api: &Api, number: usize, resource: &'a Resource, sample: &'a Sample) -> Self {
        Self {
            session: api.session().expect("the server listens"),
            number,
            resource,
            sample,
            watch: None,
            versions: Vec::new(),
        }
    }

    /// Takes all steps; what failed.
    pub fn all(&mut self) -> Vec<Failure> {
        let mut failures = Vec::new();
        let mut steps = STEPS.iter().flat_map(|steps| steps.iter());
        let first = steps.next().expect("there are steps");
        if let Err(why) = (first.1)(self) {
            // Nothing else can be said of what cannot be made.
            return vec![(self.resource.to_string(), first.0.to_owned(), why)];
        }
        for (property, step) in steps {
            if let Err(why) = step(self) {
                failures.push((self.resource.to_string(), (*property).to_owned(), why));
            }
        }
        failures
    }

    /// Whether discovery promises a verb.
    pub fn can(&self, verb: &str) -> bool {
        self.resource.verbs.contains(verb)
    }

    /// The path of the collection.
    pub fn base(&self) -> String {
        let resource = self.resource;
        let root = match resource.group.as_str() {
            "" => "/api/v1".to_owned(),
            _ => format!("/apis/{}", resource.group_version),
        };
        match resource.namespaced {
            true => format!("{root}/namespaces/{}/{}", self.namespace(), resource.plural),
            false => format!("{root}/{}", resource.plural),
        }
    }

    /// The namespace of its objects: what would limit the others has its own.
    pub fn namespace(&self) -> &'static str {
        match self.resource.plural.as_str() {
            "limitranges" | "resourcequotas" => APART,
            _ => NAMESPACE,
        }
    }

    /// What makes the name of object number `which`.
    pub fn word(&self, which: usize) -> String {
        format!("walk-{}-{which}", self.number)
    }

    /// The YAML of object number `which`.
    pub fn yaml(&self, which: usize) -> String {
        self.sample.text(&self.word(which), 10 + which)
    }

    /// Object number `which`, as it is written.
    pub fn object(&self, which: usize) -> Value {
        sample::tree(self.yaml(which).as_bytes()).expect("samples are YAML")
    }

    /// The name of object number `which`.
    pub fn name(&self, which: usize) -> String {
        let object = self.object(which);
        object["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// The path of object number `which`.
    pub fn path(&self, which: usize) -> String {
        format!("{}/{}", self.base(), self.name(which))
    }

    /// Sends a request.
    pub fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let said = self.session.call(method, path, headers, body);
        said.unwrap_or_else(|why| Answer {
            code: 0,
            headers: Vec::new(),
            body: why.to_string().into_bytes(),
        })
    }

    /// Sends JSON of any content type.
    pub fn send(&mut self, method: &str, path: &str, form: &str, body: &Value) -> Answer {
        self.call(
            method,
            path,
            &[("Content-Type", form)],
            body.to_string().as_bytes(),
        )
    }

    /// Reads an object as JSON.
    pub fn get(&mut self, path: &str) -> Result<Value, String> {
        good(self.call("GET", path, &[("Accept", JSON)], b""))
    }

    /// Reads in another form.
    pub fn get_as(&mut self, path: &str, form: &str) -> Result<Answer, String> {
        let answer = self.call("GET", path, &[("Accept", form)], b"");
        ensure(answer.code == 200, || told(&answer))?;
        Ok(answer)
    }

    /// A merge patch of an object; what it became. Its version is remembered when it is of the
    /// first object.
    pub fn merge(&mut self, path: &str, query: &str, patch: &Value) -> Result<Value, String> {
        let place = format!("{path}?{query}");
        let done = good(self.send("PATCH", &place, "application/merge-patch+json", patch))?;
        self.remember(&done);
        Ok(done)
    }

    /// Remembers the version of a write to the first object.
    pub fn remember(&mut self, object: &Value) {
        if object["metadata"]["name"] == self.name(0) {
            self.versions.push(version(object));
        }
    }

    /// Opens a watch on the collection.
    pub fn watch(&mut self, query: &str) -> Watch {
        let path = format!("{}?watch=true&timeoutSeconds=50&{query}", self.base());
        self.session.api().watch(&path)
    }

    /// Tries something again that fails while controllers write in between.
    pub fn settled<T>(
        &mut self,
        mut step: impl FnMut(&mut Self) -> Result<T, String>,
    ) -> Result<T, String> {
        let mut last = Err(String::new());
        for _ in 0..TRIES {
            last = step(self);
            if last.is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(30));
        }
        last
    }
}

/// The JSON of a success.
pub fn good(answer: Answer) -> Result<Value, String> {
    ensure((200..300).contains(&answer.code), || told(&answer))?;
    Ok(answer.json())
}

/// An answer in one line.
pub fn told(answer: &Answer) -> String {
    let status = answer.json();
    let text = match status["message"].as_str() {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(&answer.body)
            .chars()
            .take(200)
            .collect(),
    };
    format!("{} {}", answer.code, text.replace('\n', " "))
}

/// A refusal of this code whose message holds a text.
pub fn refused(answer: &Answer, code: u16, text: &str) -> Outcome {
    let holds = answer.code == code && told(answer).contains(text);
    ensure(holds, || {
        format!("{}, not {code} with {text:?}", told(answer))
    })
}

/// An object's resourceVersion.
pub fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// A patch that annotates.
pub fn note(key: &str, value: &str) -> Value {
    json!({"metadata": {"annotations": {key: value}}})
}
