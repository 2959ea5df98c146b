//! What a URL path asks for.
//!
//! Upstream counterpart: `endpoints/request/requestinfo.go`.

use machinery::{GroupVersion, SmolStr};

/// A resource addressed by a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourcePath {
    /// Group and version.
    pub gv: GroupVersion,
    /// Namespace, or empty.
    pub namespace: SmolStr,
    /// Plural name.
    pub resource: SmolStr,
    /// Name, or empty.
    pub name: SmolStr,
    /// Subresource, or empty.
    pub subresource: SmolStr,
    /// What follows the subresource (the path of a proxy).
    pub rest: String,
    /// Whether it is the old `/watch/` form.
    pub watch: bool,
}

/// Subresources of namespaces; any other word in their place is a resource inside.
const NAMESPACE_PARTS: [&str; 2] = ["status", "finalize"];

/// Parses a path below `/api/VERSION/` or `/apis/GROUP/VERSION/`. `None` if it names no resource.
pub fn parse(path: &str) -> Option<ResourcePath> {
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let (root, rest) = (parts.next()?, parts.next()?);
    let (gv, rest) = match root {
        "api" => {
            let (version, rest) = rest.split_once('/')?;
            (GroupVersion::new("", version), rest)
        }
        "apis" => {
            let (group, rest) = rest.split_once('/')?;
            let (version, rest) = rest.split_once('/')?;
            (GroupVersion::new(group, version), rest)
        }
        _ => return None,
    };
    let (watch, rest) = match rest.strip_prefix("watch/") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let mut found = place(rest.trim_end_matches('/'))?;
    found.gv = gv;
    found.watch = watch;
    Some(found)
}

fn place(rest: &str) -> Option<ResourcePath> {
    let words: Vec<&str> = rest.split('/').collect();
    let (namespace, words) = match words.as_slice() {
        ["namespaces", name, resource, ..] if !NAMESPACE_PARTS.contains(resource) => {
            (*name, &words[2..])
        }
        _ => ("", &words[..]),
    };
    let resource = words.first().filter(|word| !word.is_empty())?;
    let word = |at: usize| words.get(at).map(|word| decode(word)).unwrap_or_default();
    Some(ResourcePath {
        namespace: decode(namespace).into(),
        resource: decode(resource).into(),
        name: word(1).into(),
        subresource: word(2).into(),
        rest: words.get(3..).unwrap_or_default().join("/"),
        ..ResourcePath::default()
    })
}

/// Percent-decodes a path segment or query value; bad escapes stay as they are.
pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| {
                text.get(at + 1..at + 3)
                    .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            })
            .flatten();
        out.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The pairs of a query string, decoded.
pub fn query(text: &str) -> Vec<(String, String)> {
    let pair = |part: &str| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        (
            decode(&key.replace('+', " ")),
            decode(&value.replace('+', " ")),
        )
    };
    text.split('&')
        .filter(|part| !part.is_empty())
        .map(pair)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_resource() {
        for (path, wanted) in [
            ("/api/v1/pods", "||v1||pods||"),
            ("/api/v1/namespaces/a", "||v1||namespaces|a|"),
            ("/api/v1/namespaces/a/status", "||v1||namespaces|a|status"),
            ("/api/v1/namespaces/a/pods/b/exec", "||v1|a|pods|b|exec"),
            (
                "/apis/apps/v1/namespaces/a/deployments/b/scale",
                "|apps|v1|a|deployments|b|scale",
            ),
            ("/apis/apps/v1/deployments", "|apps|v1||deployments||"),
            ("/api/v1/watch/namespaces/a/pods", "w||v1|a|pods||"),
            (
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
                "|rbac.authorization.k8s.io|v1||clusterroles|system:node|",
            ),
        ] {
            let p = parse(path).unwrap();
            let shown = format!(
                "{}|{}|{}|{}|{}|{}|{}",
                if p.watch { "w" } else { "" },
                p.gv.group,
                p.gv.version,
                p.namespace,
                p.resource,
                p.name,
                p.subresource
            );
            assert_eq!(shown, wanted, "{path}");
        }
        for path in [
            "/api",
            "/api/v1",
            "/api/v1/",
            "/apis/apps/v1",
            "/version",
            "/",
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
        assert_eq!(
            query("a=b%20c&d&e=f+g"),
            [
                ("a".into(), "b c".into()),
                ("d".into(), String::new()),
                ("e".into(), "f g".into())
            ]
        );
    }
}
