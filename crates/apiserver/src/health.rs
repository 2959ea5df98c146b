//! Health and version endpoints.
//!
//! Upstream counterpart: `server/healthz`, `server/routes/version.go`.

use machinery::{Value, json};

/// The Kubernetes version this serves.
pub const VERSION: &str = "v1.36.0";

/// Its minor version, as documents tell it.
pub const MINOR: &str = "1.36";

/// `/version`.
pub fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": format!("{VERSION}+xebec"), "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "rustc", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, architecture()),
        "emulationMajor": "1", "emulationMinor": "36", "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
    })
}

/// The processor architecture by Go's name.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The checks behind `/healthz`, `/livez` and `/readyz`, each with whether it asks the store.
/// `etcd` is what clients call the store.
const CHECKS: [(&str, bool); 3] = [("ping", false), ("log", true), ("etcd", true)];

/// Endpoints that answer with the checks.
const ENDPOINTS: [&str; 3] = ["healthz", "livez", "readyz"];

/// Paths of single checks.
pub fn paths() -> impl Iterator<Item = String> {
    let of = |endpoint| CHECKS.map(|(check, _)| format!("/{endpoint}/{check}"));
    ENDPOINTS.into_iter().flat_map(of)
}

/// `/metrics/slis`: how each check stands. `failed` as for [`health`].
pub fn indicators(failed: Option<&str>) -> String {
    const NAME: &str = "kubernetes_healthcheck";
    let mut text = format!(
        "# HELP {NAME} [STABLE] This metric records the result of a single healthcheck.\n# TYPE {NAME} gauge\n"
    );
    for (check, stored) in CHECKS {
        let good = u8::from(!stored || failed.is_none());
        for endpoint in ENDPOINTS {
            let labels = format!("name=\"{check}\",type=\"{endpoint}\"");
            text.push_str(&format!("{NAME}{{{labels}}} {good}\n"));
        }
    }
    text
}

/// Code and text of a health endpoint, or `None` for a check that does not exist. `failed` says
/// why the store takes no more writes, if that is so.
pub fn health(
    endpoint: &str,
    check: Option<&str>,
    verbose: bool,
    failed: Option<&str>,
) -> Option<(u16, String)> {
    let asked: Vec<_> = CHECKS
        .iter()
        .filter(|(name, _)| check.is_none_or(|wanted| wanted == *name))
        .collect();
    if asked.is_empty() {
        return None;
    }
    let line = |(name, stored): &&(&str, bool)| match failed.filter(|_| *stored) {
        Some(why) => format!("[-]{name} failed: {why}\n"),
        None => format!("[+]{name} ok\n"),
    };
    let lines: String = asked.iter().map(line).collect();
    if failed.is_some() && asked.iter().any(|(_, stored)| *stored) {
        return Some((500, format!("{lines}{endpoint} check failed\n")));
    }
    let text = if verbose && check.is_none() {
        format!("{lines}{endpoint} check passed\n")
    } else {
        "ok".into()
    };
    Some((200, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_indicators() {
        let text = indicators(None);
        assert!(text.contains("kubernetes_healthcheck{name=\"etcd\",type=\"readyz\"} 1\n"));
        let text = indicators(Some("disk full"));
        assert!(text.contains("kubernetes_healthcheck{name=\"etcd\",type=\"livez\"} 0\n"));
        assert!(text.contains("kubernetes_healthcheck{name=\"ping\",type=\"livez\"} 1\n"));
    }
}
