//! What the server says about itself to people: `/statusz` and `/flagz`.
//!
//! Text for whoever looks, and a versioned document for whoever names one in full; nothing else
//! is acceptable. Upstream counterpart: `component-base/zpages`.

use crate::{
    answer::{HttpResponse, whole, with_warnings},
    health::VERSION,
};
use env::Time;
use machinery::{Reason, Status, Value, format_time, json};
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// Who speaks.
const COMPONENT: &str = "apiserver";
const GROUP: &str = "config.k8s.io";
const PLAIN: &str = "text/plain";
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
/// Versions of the documents, newest first; all but the first are deprecated.
const VERSIONS: [&str; 2] = ["v1beta1", "v1alpha1"];
const WARNING: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.";
const REFUSAL: &str =
    "only the following media types are accepted: application/json, application/yaml, text/plain";
/// What [`VERSION`] carries before the number.
const VERSION_MARK: char = 'v';
/// Where people find more.
const PATHS: [&str; 7] = [
    "/flagz", "/healthz", "/livez", "/metrics", "/readyz", "/statusz", "/version",
];
/// One of the pages: its text, and the fields of its document.
struct Page {
    name: &'static str,
    kind: &'static str,
    text: String,
    fields: Value,
}

/// `/statusz`, in the form that `accept` names.
pub fn status(accept: &str, started: Time, now: Time) -> Result<HttpResponse, Status> {
    let up = now.unix_seconds().saturating_sub(started.unix_seconds());
    let binary = VERSION.trim_start_matches(VERSION_MARK);
    let emulated = binary.rsplit_once('.').map_or(binary, |(minor, _)| minor);
    let lines = [
        ("Started", readable(started)),
        (
            "Up",
            format!(
                "{} hr {:02} min {:02} sec",
                up / 3600,
                up % 3600 / 60,
                up % 60
            ),
        ),
        ("Go version", "rustc".into()),
        ("Binary version", binary.into()),
        ("Emulation version", emulated.into()),
        ("Paths", PATHS.join(" ")),
    ];
    let lines: Vec<String> = lines
        .iter()
        .map(|(name, value)| format!("{name}: {value}\n"))
        .collect();
    let page = Page {
        name: "statusz",
        kind: "Statusz",
        text: format!("\n{}", lines.concat()),
        fields: json!({
            "startTime": format_time(started.0), "uptimeSeconds": up as i64, "goVersion": "rustc",
            "binaryVersion": binary, "emulationVersion": emulated, "paths": PATHS.to_vec(),
        }),
    };
    page.shown(accept)
}

/// `/flagz`: what the server was started with, in the form that `accept` names.
pub fn flags(accept: &str, flags: &BTreeMap<String, String>) -> Result<HttpResponse, Status> {
    let mut all = json!({});
    for (name, value) in flags {
        all[name.as_str()] = value.as_str().into();
    }
    let lines = flags
        .iter()
        .map(|(name, value)| format!("{name} {value}\n"));
    let page = Page {
        name: "flagz",
        kind: "Flagz",
        text: lines.collect(),
        fields: json!({"flags": all}),
    };
    page.shown(accept)
}

impl Page {
    fn shown(self, accept: &str) -> Result<HttpResponse, Status> {
        let mut offers = vec![(PLAIN, None)];
        for version in VERSIONS {
            let named = Some([self.kind, GROUP, version]);
            offers.extend([(JSON, named), (YAML, named)]);
        }
        let refused = || Status::new(Reason::NotAcceptable, REFUSAL);
        let chosen = codec::negotiate_among(accept, &offers).ok_or_else(refused)?;
        let (media, Some([kind, group, version])) = offers[chosen] else {
            let text = format!("\n{COMPONENT} {}\n{WARNING}\n{}", self.name, self.text);
            return Ok(whole(200, "text/plain; charset=utf-8", text));
        };
        let mut document = json!({
            "kind": kind, "apiVersion": format!("{group}/{version}"), "metadata": {"name": COMPONENT},
        });
        for (name, value) in self.fields.entries() {
            document[name.as_str()] = value.clone();
        }
        let content_type = format!("{media};g={group};v={version};as={kind}");
        let bytes = match media {
            YAML => codec::encode_yaml(&document).into_bytes(),
            _ => [codec::encode_json_value(&document), b"\n".to_vec()].concat(),
        };
        let old = (version != VERSIONS[0]).then(|| {
            let name = self.name;
            format!(
                "This version of the {name} endpoint is deprecated. Please use a newer version."
            )
        });
        let response = whole(200, &content_type, bytes);
        Ok(with_warnings(response, old.as_slice()))
    }
}

/// `Mon Jan 02 15:04:05 UTC 2006`.
fn readable(time: Time) -> String {
    let text = format_time(time.0);
    let at = i64::try_from(time.unix_seconds()).map(OffsetDateTime::from_unix_timestamp);
    let at = at.map_or(OffsetDateTime::UNIX_EPOCH, |at| {
        at.unwrap_or(OffsetDateTime::UNIX_EPOCH)
    });
    let (weekday, month) = (at.weekday().to_string(), at.month().to_string());
    let (year, day, clock) = (&text[..4], &text[8..10], &text[11..19]);
    format!("{} {} {day} {clock} UTC {year}", &weekday[..3], &month[..3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_for_people() {
        for (seconds, text) in [
            (0, "Thu Jan 01 00:00:00 UTC 1970"),
            (1_795_306_700, "Sun Nov 22 00:18:20 UTC 2026"),
        ] {
            assert_eq!(readable(Time::from_unix_seconds(seconds)), text);
        }
    }

    #[test]
    fn only_text_and_whole_names_are_acceptable() {
        let started = Time::from_unix_seconds(1_795_306_700);
        let now = Time::from_unix_seconds(1_795_306_700 + 3723);
        let named = |media, version, kind| format!("{media};v={version};g={GROUP};as={kind}");
        let plain = "text/plain; charset=utf-8";
        for (accept, answered) in [
            ("", Some(plain)),
            ("*/*", Some(plain)),
            ("application/xml, */*;q=0.1", Some(plain)),
            (&named(JSON, "v1beta1", "Flagz"), None),
            (&named(JSON, "v1", "Statusz"), None),
            (JSON, None),
            ("application/*", None),
            ("application/json;v=v1beta1;as=Statusz", None),
            (
                &named(JSON, "v1beta1", "Statusz"),
                Some("application/json;g=config.k8s.io;v=v1beta1;as=Statusz"),
            ),
            (
                &format!("{}, text/plain", named(YAML, "v1alpha1", "Statusz")),
                Some("application/yaml;g=config.k8s.io;v=v1alpha1;as=Statusz"),
            ),
        ] {
            let shown = status(accept, started, now);
            let form = shown
                .as_ref()
                .ok()
                .map(|one| one.headers()["content-type"].clone());
            assert_eq!(
                form.as_ref().map(|one| one.to_str().unwrap()),
                answered,
                "{accept}"
            );
            let warned = shown.is_ok_and(|one| one.headers().contains_key("warning"));
            assert_eq!(warned, accept.contains("v1alpha1"));
        }
    }
}
