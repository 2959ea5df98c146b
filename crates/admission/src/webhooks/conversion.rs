//! Conversion of custom kinds by the program their definition names.
//!
//! A program may change everything but what identifies an object: of its metadata only labels and
//! annotations are taken. Upstream counterpart:
//! `apiextensions-apiserver/pkg/apiserver/conversion/webhook_converter.go`.

use super::{Webhooks, client::Client, response::shown_version};
use crate::common::texts;
use machinery::{GroupVersionKind, Status, Value, json, label_value, qualified_name};
use registry::Conversion;
use std::time::Duration;

/// How long a conversion may take (upstream's number).
const TIMEOUT: Duration = Duration::from_secs(30);
const V1: &str = "apiextensions.k8s.io/v1";

impl Webhooks {
    pub(super) async fn convert_objects(
        &self,
        conversion: Conversion<'_>,
    ) -> Result<Vec<Value>, Status> {
        let subject = subject(&conversion);
        let failed = |why: String| unknown(format!("conversion webhook for {subject} {why}"));
        let webhook = conversion.kind.conversion_webhook.clone();
        let webhook = webhook.ok_or_else(|| failed("failed: there is none".into()))?;
        let versions = texts(&webhook["conversionReviewVersions"]);
        let spoken = versions.into_iter().find_map(|version| match version {
            "v1" => Some(V1),
            "v1beta1" => Some("apiextensions.k8s.io/v1beta1"),
            _ => None,
        });
        let api_version =
            spoken.ok_or_else(|| unknown("no supported conversion review versions".into()))?;
        let client = Client::parse(&webhook["clientConfig"]);
        let client = client.map_err(|why| failed(format!("failed: {why}")))?;
        let uid = conversion.door.world().uuid();
        let review = json!({
            "kind": "ConversionReview", "apiVersion": api_version,
            "request": {
                "uid": &uid, "desiredAPIVersion": conversion.to,
                "objects": conversion.objects.clone(),
            },
        });
        let answer = self.outside.ask(conversion.door, &client, TIMEOUT, &review);
        let answer = answer
            .await
            .map_err(|(why, _)| failed(format!("failed: {why}")))?;
        let converted = converted(&answer, api_version, &uid);
        let converted = converted.map_err(|why| failed(format!("failed: {why}")))?;
        let (found, wanted) = (converted.len(), conversion.objects.len());
        if found != wanted {
            return Err(failed(format!(
                "returned {found} objects, expected {wanted}"
            )));
        }
        let pairs = conversion.objects.iter().zip(converted).enumerate();
        pairs
            .map(|(at, (original, made))| {
                accept(original, made, conversion.to)
                    .map_err(|wrong| failed(wrong.text(at, conversion.list)))
            })
            .collect()
    }
}

/// Upstream answers failed conversions with 500 and no reason.
fn unknown(message: String) -> Status {
    Status::foreign(500, "", message, Value::Null)
}

/// Whom errors speak about: the kind of the object, or of the list.
fn subject(conversion: &Conversion<'_>) -> String {
    let shown =
        |api_version: &str, kind: &str| format!("{}, Kind={kind}", shown_version(api_version));
    if conversion.list {
        return shown(conversion.to, &conversion.kind.list_kind);
    }
    let from = conversion
        .objects
        .first()
        .map(|one| one["apiVersion"].str());
    shown(from.unwrap_or_default(), &conversion.kind.gvk.kind)
}

/// The objects of a response that may be believed.
fn converted(answer: &Value, api_version: &str, uid: &str) -> Result<Vec<Value>, String> {
    if api_version == V1 {
        let (found, kind) = (answer["apiVersion"].str(), answer["kind"].str());
        if found != V1 || kind != "ConversionReview" {
            return Err(format!(
                "expected webhook response of {V1}, Kind=ConversionReview, got {}, Kind={kind}",
                shown_version(found)
            ));
        }
    }
    let response = &answer["response"];
    if response.is_null() {
        return Err("no response provided".into());
    }
    let said = response["uid"].str();
    if api_version == V1 && said != uid {
        return Err(format!("expected response.uid={uid:?}, got {said:?}"));
    }
    let result = &response["result"];
    match (result["status"].str(), result["message"].str()) {
        ("Success", _) => Ok(response["convertedObjects"].items().to_vec()),
        (status, "") => Err(format!(
            "response.result.status was '{status}', not 'Success'"
        )),
        (_, message) => Err(message.to_owned()),
    }
}

/// What is wrong with a converted object.
enum Wrong {
    Object(String),
    Metadata(String),
    Version(String),
}

impl Wrong {
    fn text(self, at: usize, list: bool) -> String {
        match (self, list) {
            (Self::Object(why), false) => format!("returned invalid object: {why}"),
            (Self::Metadata(why), false) => format!("returned invalid metadata: {why}"),
            (Self::Version(why), false) => format!("returned invalid object at index {at}: {why}"),
            (Self::Metadata(why), true) => {
                format!("returned invalid metadata in object at index {at}: {why}")
            }
            (Self::Object(why) | Self::Version(why), true) => {
                format!("returned invalid converted object at index {at}: {why}")
            }
        }
    }
}

fn accept(original: &Value, mut made: Value, to: &str) -> Result<Value, Wrong> {
    let (before, after) = (original.gvk(), made.gvk());
    if made["apiVersion"].str() != to {
        let found = made["apiVersion"].str();
        return Err(Wrong::Version(format!(
            "invalid groupVersion (expected {to}, received {found})"
        )));
    }
    if before.kind != after.kind {
        let (GroupVersionKind { kind: wanted, .. }, found) = (before, after.kind);
        return Err(Wrong::Version(format!(
            "invalid kind (expected {wanted}, received {found})"
        )));
    }
    for (what, before, after) in [
        ("name", original.name(), made.name()),
        ("namespace", original.namespace(), made.namespace()),
        ("UID", original.uid(), made.uid()),
    ] {
        if before != after {
            return Err(Wrong::Object(format!(
                "must have the same {what}: {before} != {after}"
            )));
        }
    }
    let metadata = restored(&original["metadata"], made.get("metadata"));
    made["metadata"] = metadata.map_err(Wrong::Metadata)?;
    Ok(made)
}

/// The original metadata with labels and annotations of the converted object.
fn restored(original: &Value, made: Option<&Value>) -> Result<Value, String> {
    let made = made.ok_or("missing metadata in converted object")?;
    if made.as_object().is_none() {
        let found = made.type_name();
        return Err(format!(
            "invalid metadata of type {found} in converted object"
        ));
    }
    let mut metadata = original.clone();
    for field in ["labels", "annotations"] {
        let texts = &made[field];
        if texts.is_null() {
            metadata.make_object().remove(field);
            continue;
        }
        if texts.as_object().is_none() {
            let found = texts.type_name();
            return Err(format!(
                "invalid metadata.{field} of type {found} in converted object"
            ));
        }
        check_texts(field, texts, &original[field])?;
        metadata[field] = texts.clone();
    }
    Ok(metadata)
}

fn check_texts(field: &str, texts: &Value, before: &Value) -> Result<(), String> {
    for (key, text) in texts.entries() {
        let Some(text) = text.as_str() else {
            let found = text.type_name();
            return Err(format!(
                "metadata.{field}[{key}] must be a string, but is {found} in converted object"
            ));
        };
        if before.get(key).and_then(Value::as_str) == Some(text) {
            continue;
        }
        let mut wrong = qualified_name(key);
        if field == "labels" {
            wrong.extend(label_value(text));
        }
        if let Some(why) = wrong.first() {
            return Err(format!("metadata.{field}: Invalid value: {key:?}: {why}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(api_version: &str, metadata: Value) -> Value {
        json!({"apiVersion": api_version, "kind": "Foo", "metadata": metadata, "spec": {"a": 1}})
    }

    #[test]
    fn only_labels_and_annotations_are_taken() {
        let original = object(
            "g/v1",
            json!({"name": "a", "uid": "u", "labels": {"x": "y"}, "generation": 3}),
        );
        let made = object(
            "g/v2",
            json!({"name": "a", "uid": "u", "labels": {"z": "w"}, "generation": 9}),
        );
        let taken = accept(&original, made, "g/v2").ok().unwrap();
        assert_eq!(
            taken["metadata"],
            json!({"name": "a", "uid": "u", "labels": {"z": "w"}, "generation": 3})
        );
    }

    #[test]
    fn identity_may_not_change() {
        let original = object("g/v1", json!({"name": "a", "uid": "u"}));
        for (made, list, why) in [
            (
                object("g/v1", json!({"name": "a", "uid": "u"})),
                false,
                "returned invalid object at index 0: invalid groupVersion (expected g/v2, received g/v1)",
            ),
            (
                object("g/v2", json!({"name": "b", "uid": "u"})),
                false,
                "returned invalid object: must have the same name: a != b",
            ),
            (
                object("g/v2", json!({"name": "a"})),
                true,
                "returned invalid converted object at index 0: must have the same UID: u != ",
            ),
            (
                object("g/v2", json!({"name": "a", "uid": "u", "labels": {"x": 1}})),
                true,
                "returned invalid metadata in object at index 0: metadata.labels[x] must be a string, but is number in converted object",
            ),
        ] {
            let wrong = accept(&original, made, "g/v2").err().unwrap();
            assert_eq!(wrong.text(0, list), why);
        }
    }
}
