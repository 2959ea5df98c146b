//! Which form a request's body has and which form its answer takes.
//!
//! Knows header values, not headers. Upstream counterpart:
//! `apiserver/pkg/endpoints/handlers/negotiation`.

use machinery::{Reason, Status};

/// A serialization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl Encoding {
    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml",
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }
}

/// Another kind to answer with (`;as=...;g=...;v=...`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    /// The objects themselves.
    None,
    /// `meta.k8s.io/v1 Table`.
    Table,
    /// `meta.k8s.io/v1 PartialObjectMetadata`.
    PartialObjectMetadata,
    /// `meta.k8s.io/v1 PartialObjectMetadataList`.
    PartialObjectMetadataList,
    /// `apidiscovery.k8s.io/v2 APIGroupDiscoveryList`.
    DiscoveryV2,
    /// `apidiscovery.k8s.io/v2beta1 APIGroupDiscoveryList`.
    DiscoveryV2Beta1,
}

const META: &str = "meta.k8s.io";
const DISCOVERY: &str = "apidiscovery.k8s.io";

/// Parameters `as`, `g`, `v` of each transform.
const TRANSFORMS: [([&str; 3], Transform); 5] = [
    (["Table", META, "v1"], Transform::Table),
    (
        ["PartialObjectMetadata", META, "v1"],
        Transform::PartialObjectMetadata,
    ),
    (
        ["PartialObjectMetadataList", META, "v1"],
        Transform::PartialObjectMetadataList,
    ),
    (
        ["APIGroupDiscoveryList", DISCOVERY, "v2"],
        Transform::DiscoveryV2,
    ),
    (
        ["APIGroupDiscoveryList", DISCOVERY, "v2beta1"],
        Transform::DiscoveryV2Beta1,
    ),
];

/// What an endpoint can answer with, its favourite encoding first. A transform other than
/// [`Transform::None`] is offered in JSON and YAML.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Encodings.
    pub encodings: &'a [Encoding],
    /// Transforms.
    pub transforms: &'a [Transform],
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Serialization.
    pub encoding: Encoding,
    /// Kind.
    pub transform: Transform,
    /// Whether JSON should be indented (`;pretty=1`).
    pub pretty: bool,
}

impl Choice {
    /// `Content-Type` of the answer, or of its stream of watch events.
    pub fn content_type(self, watch: bool) -> String {
        let base = self.encoding.media_type();
        let found = TRANSFORMS
            .iter()
            .find(|(_, transform)| *transform == self.transform);
        match found {
            Some((
                [kind, group, version],
                Transform::DiscoveryV2 | Transform::DiscoveryV2Beta1,
            )) => {
                format!("{base};g={group};v={version};as={kind}")
            }
            _ if watch && self.encoding == Encoding::Protobuf => format!("{base};stream=watch"),
            _ => base.to_owned(),
        }
    }
}

/// One clause of an `Accept` header.
#[derive(Clone, Debug, Default)]
struct Clause<'a> {
    kind: &'a str,
    subtype: &'a str,
    quality: f32,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let mut clause = Clause {
            kind,
            subtype,
            quality: 1.0,
            parameters: Vec::new(),
        };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key.trim() {
                "q" => clause.quality = value.trim().parse().unwrap_or(1.0),
                key => clause.parameters.push((key, value.trim())),
            }
        }
        Some(clause)
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        let mut found = self.parameters.iter().filter(|(key, _)| *key == name);
        found.next().map(|(_, value)| *value)
    }

    /// Exact types before wildcards where the quality is equal.
    fn breadth(&self) -> u8 {
        u8::from(self.kind == "*") + u8::from(self.subtype == "*")
    }

    fn matches(&self, encoding: Encoding) -> bool {
        self.names(encoding.media_type())
    }

    fn names(&self, media_type: &str) -> bool {
        let (kind, subtype) = media_type.split_once('/').expect("has a slash");
        (self.kind == "*" || self.kind == kind) && (self.subtype == "*" || self.subtype == subtype)
    }

    /// The transform asked for; `None` for one that nobody knows.
    fn transform(&self) -> Option<Transform> {
        let Some(kind) = self.parameter("as") else {
            return Some(Transform::None);
        };
        let group = self.parameter("g").unwrap_or_default();
        let version = self.parameter("v").unwrap_or_default();
        TRANSFORMS
            .iter()
            .find(|(wanted, _)| *wanted == [kind, group, version])
            .map(|(_, transform)| *transform)
    }
}

fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<_> = accept
        .split(',')
        .filter_map(|text| Clause::parse(text.trim()))
        .collect();
    clauses.retain(|clause| clause.quality > 0.0);
    clauses.sort_by(|a, b| {
        let by_quality = b.quality.total_cmp(&a.quality);
        by_quality.then(a.breadth().cmp(&b.breadth()))
    });
    clauses
}

/// Picks the answer's form; an empty or absent header takes the first encoding.
pub fn negotiate(accept: &str, offer: &Offer<'_>) -> Result<Choice, Status> {
    if accept.trim().is_empty() {
        return plain(offer).ok_or_else(|| not_acceptable(offer));
    }
    clauses(accept)
        .iter()
        .find_map(|clause| choose(clause, offer))
        .ok_or_else(|| not_acceptable(offer))
}

/// Picks one of few forms, each a media type and perhaps the kind, group and version it must be
/// asked for by; its place among them. No header takes the first.
pub fn negotiate_among(accept: &str, offers: &[(&str, Option<[&str; 3]>)]) -> Option<usize> {
    if accept.trim().is_empty() {
        return (!offers.is_empty()).then_some(0);
    }
    clauses(accept).iter().find_map(|clause| {
        let named = clause.parameter("as").map(|kind| {
            let of = |name| clause.parameter(name).unwrap_or_default();
            [kind, of("g"), of("v")]
        });
        let fits =
            |(media, wanted): &(&str, Option<[&str; 3]>)| clause.names(media) && *wanted == named;
        offers.iter().position(fits)
    })
}

fn plain(offer: &Offer<'_>) -> Option<Choice> {
    offer.encodings.first().map(|&encoding| Choice {
        encoding,
        transform: Transform::None,
        pretty: false,
    })
}

fn choose(clause: &Clause<'_>, offer: &Offer<'_>) -> Option<Choice> {
    let transform = clause.transform()?;
    if transform != Transform::None && !offer.transforms.contains(&transform) {
        return None;
    }
    let fits = |encoding: &&Encoding| {
        clause.matches(**encoding)
            && (transform == Transform::None || **encoding != Encoding::Protobuf)
    };
    let encoding = *offer.encodings.iter().find(fits)?;
    Some(Choice {
        encoding,
        transform,
        pretty: clause.parameter("pretty") == Some("1"),
    })
}

fn not_acceptable(offer: &Offer<'_>) -> Status {
    let names: Vec<_> = offer
        .encodings
        .iter()
        .map(|encoding| encoding.media_type())
        .collect();
    let message = format!(
        "only the following media types are accepted: {}",
        names.join(", ")
    );
    Status::new(Reason::NotAcceptable, message)
}

/// The encoding of a request's body; no header means JSON.
pub fn body_encoding(content_type: &str) -> Result<Encoding, Status> {
    const KNOWN: [Encoding; 3] = [Encoding::Json, Encoding::Yaml, Encoding::Protobuf];
    let name = media_type(content_type);
    if name.is_empty() || name == "*/*" {
        return Ok(Encoding::Json);
    }
    let found = KNOWN
        .into_iter()
        .find(|encoding| name.eq_ignore_ascii_case(encoding.media_type()));
    found.ok_or_else(|| unsupported(&KNOWN.map(Encoding::media_type)))
}

/// How a PATCH body is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// `application/json-patch+json`.
    Json,
    /// `application/merge-patch+json`.
    Merge,
    /// `application/strategic-merge-patch+json`.
    StrategicMerge,
    /// `application/apply-patch+yaml`.
    Apply,
}

const PATCHES: [(&str, PatchKind); 4] = [
    ("application/json-patch+json", PatchKind::Json),
    ("application/merge-patch+json", PatchKind::Merge),
    (
        "application/strategic-merge-patch+json",
        PatchKind::StrategicMerge,
    ),
    ("application/apply-patch+yaml", PatchKind::Apply),
];

/// The kind of a PATCH; `strategic` tells whether the resource has patch strategies.
pub fn patch_kind(content_type: &str, strategic: bool) -> Result<PatchKind, Status> {
    let name = media_type(content_type);
    let allowed = || {
        PATCHES
            .into_iter()
            .filter(|(_, kind)| strategic || *kind != PatchKind::StrategicMerge)
    };
    allowed()
        .find(|(known, _)| name.eq_ignore_ascii_case(known))
        .map(|(_, kind)| kind)
        .ok_or_else(|| unsupported(&allowed().map(|(known, _)| known).collect::<Vec<_>>()))
}

fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn unsupported(names: &[&str]) -> Status {
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: {}",
        names.join(", ")
    );
    Status::new(Reason::UnsupportedMediaType, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Offer<'static> = Offer {
        encodings: &[Encoding::Json, Encoding::Yaml, Encoding::Protobuf],
        transforms: &[
            Transform::Table,
            Transform::PartialObjectMetadata,
            Transform::DiscoveryV2,
        ],
    };

    #[test]
    fn chooses_as_clients_expect() {
        use Encoding::{Json, Protobuf, Yaml};
        for (accept, encoding, transform) in [
            ("", Json, Transform::None),
            ("*/*", Json, Transform::None),
            ("application/*", Json, Transform::None),
            ("application/yaml", Yaml, Transform::None),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                Protobuf,
                Transform::None,
            ),
            (
                "application/vnd.kubernetes.protobuf, */*",
                Protobuf,
                Transform::None,
            ),
            ("*/*, application/yaml", Yaml, Transform::None),
            (
                "application/json;q=0.5,application/yaml;q=0.9",
                Yaml,
                Transform::None,
            ),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
                Json,
                Transform::Table,
            ),
            (
                "application/json;as=Unknown;v=v1;g=x,application/yaml",
                Yaml,
                Transform::None,
            ),
            (
                "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json",
                Json,
                Transform::None,
            ),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
                Json,
                Transform::PartialObjectMetadata,
            ),
            (
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
                Json,
                Transform::DiscoveryV2,
            ),
            (
                "application/cbor,text/html,application/json",
                Json,
                Transform::None,
            ),
        ] {
            let choice = negotiate(accept, &ALL).unwrap();
            assert_eq!(
                (choice.encoding, choice.transform),
                (encoding, transform),
                "{accept}"
            );
        }
        let error = negotiate("text/html", &ALL).unwrap_err();
        assert_eq!(error.code(), 406);
        assert!(negotiate("application/json;q=0", &ALL).is_err());
    }

    #[test]
    fn says_what_it_chose() {
        let choice = |encoding, transform| Choice {
            encoding,
            transform,
            pretty: false,
        };
        for (choice, watch, wanted) in [
            (
                choice(Encoding::Json, Transform::Table),
                false,
                "application/json",
            ),
            (
                choice(Encoding::Protobuf, Transform::None),
                true,
                "application/vnd.kubernetes.protobuf;stream=watch",
            ),
            (
                choice(Encoding::Json, Transform::DiscoveryV2),
                false,
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            ),
        ] {
            assert_eq!(choice.content_type(watch), wanted);
        }
    }

    #[test]
    fn reads_content_types() {
        assert_eq!(body_encoding(""), Ok(Encoding::Json));
        assert_eq!(
            body_encoding("application/json; charset=utf-8"),
            Ok(Encoding::Json)
        );
        assert_eq!(
            body_encoding("application/vnd.kubernetes.protobuf"),
            Ok(Encoding::Protobuf)
        );
        assert_eq!(body_encoding("text/plain").unwrap_err().code(), 415);
        assert_eq!(
            patch_kind("application/apply-patch+yaml", false),
            Ok(PatchKind::Apply)
        );
        assert_eq!(
            patch_kind("application/strategic-merge-patch+json", true),
            Ok(PatchKind::StrategicMerge)
        );
        assert_eq!(
            patch_kind("application/strategic-merge-patch+json", false)
                .unwrap_err()
                .code(),
            415
        );
    }
}
