//! Image names, written out in full. Upstream counterpart: `distribution/reference`.

use std::fmt;

const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";

/// A parsed image name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Registry host, with port if given.
    pub registry: String,
    /// Path within the registry.
    pub repository: String,
    /// Tag; `latest` if neither tag nor digest was given.
    pub tag: Option<String>,
    /// Digest, `sha256:...`.
    pub digest: Option<String>,
}

impl Reference {
    /// Parses a name as users write it; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let invalid = |why: &str| {
            format!("couldn't parse image name {text:?}: invalid reference format{why}")
        };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.to_owned())),
            None => (text, None),
        };
        let slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[slash..].split_once(':') {
            Some((last, tag)) => (&rest[..slash + last.len()], Some(tag.to_owned())),
            None => (rest, None),
        };
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if is_registry(first) => (first, path.to_owned()),
            Some(_) => (DEFAULT_REGISTRY, name.to_owned()),
            None => (DEFAULT_REGISTRY, format!("library/{name}")),
        };
        if path.chars().any(|letter| letter.is_ascii_uppercase()) {
            return Err(invalid(": repository name must be lowercase"));
        }
        let good = |part: &str| !part.is_empty() && part.chars().all(is_name_letter);
        let tag_good = tag.as_ref().is_none_or(|tag| {
            !tag.is_empty()
                && tag
                    .chars()
                    .all(|letter| letter.is_ascii_uppercase() || is_name_letter(letter))
        });
        let digest_good = digest.as_ref().is_none_or(|digest| is_digest(digest));
        if !path.split('/').all(good) || !tag_good || !digest_good {
            return Err(invalid(""));
        }
        let default = digest.is_none().then(|| DEFAULT_TAG.to_owned());
        Ok(Self {
            registry: registry.to_owned(),
            repository: path,
            tag: tag.or(default),
            digest,
        })
    }

    /// Name without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest
            .iter()
            .try_for_each(|digest| write!(f, "@{digest}"))
    }
}

fn is_registry(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost"
}

fn is_name_letter(letter: char) -> bool {
    letter.is_ascii_lowercase() || letter.is_ascii_digit() || matches!(letter, '.' | '_' | '-')
}

/// Whether a text is a SHA-256 digest with its prefix.
pub fn is_digest(text: &str) -> bool {
    const HEX_DIGITS: usize = 64;
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == HEX_DIGITS && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalised() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let cases = [
            ("redis", "docker.io/library/redis:latest".to_owned()),
            ("redis:7", "docker.io/library/redis:7".to_owned()),
            ("xebec/demo", "docker.io/xebec/demo:latest".to_owned()),
            ("localhost:5000/a/b:X1", "localhost:5000/a/b:X1".to_owned()),
            ("localhost/a", "localhost/a:latest".to_owned()),
            ("ghcr.io/a/b", "ghcr.io/a/b:latest".to_owned()),
            (
                &format!("redis@{digest}"),
                format!("docker.io/library/redis@{digest}"),
            ),
            (
                &format!("redis:7@{digest}"),
                format!("docker.io/library/redis:7@{digest}"),
            ),
        ];
        for (text, full) in cases {
            assert_eq!(
                Reference::parse(text).map(|found| found.to_string()),
                Ok(full)
            );
        }
        for text in ["", "Redis", "redis:", "a//b", "redis@sha256:1", "re dis"] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }
}
