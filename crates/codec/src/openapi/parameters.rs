//! Query parameters of operations: name and type.
//!
//! Upstream counterpart: the options types of `meta/v1` and `core/v1`, as `installer.go` shows them.

/// Name and type.
pub(super) type Parameter = (&'static str, &'static str);

const WRITE: [Parameter; 3] = [
    ("dryRun", "string"),
    ("fieldManager", "string"),
    ("fieldValidation", "string"),
];
const LIST: [Parameter; 11] = [
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("shardSelector", "string"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const DELETE: [Parameter; 5] = [
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
    ),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];
const LOG: [Parameter; 9] = [
    ("container", "string"),
    ("follow", "boolean"),
    ("insecureSkipTLSVerifyBackend", "boolean"),
    ("limitBytes", "integer"),
    ("previous", "boolean"),
    ("sinceSeconds", "integer"),
    ("stream", "string"),
    ("tailLines", "integer"),
    ("timestamps", "boolean"),
];
const ATTACH: [Parameter; 5] = [
    ("container", "string"),
    ("stderr", "boolean"),
    ("stdin", "boolean"),
    ("stdout", "boolean"),
    ("tty", "boolean"),
];

/// What a verb takes; `log` is one here.
pub(super) fn of_verb(verb: &str, custom: bool) -> Vec<Parameter> {
    match verb {
        "list" => LIST.to_vec(),
        "create" | "update" => WRITE.to_vec(),
        "patch" => [&WRITE[..], &[("force", "boolean")]].concat(),
        "delete" => DELETE.to_vec(),
        "deletecollection" if custom => LIST.to_vec(),
        "deletecollection" => {
            let list = LIST
                .iter()
                .filter(|(name, _)| *name != "watch" && *name != "allowWatchBookmarks");
            DELETE.iter().chain(list).copied().collect()
        }
        "get" if custom => vec![("resourceVersion", "string")],
        "log" => LOG.to_vec(),
        _ => Vec::new(),
    }
}

/// What opening a stream takes; nothing for subresources that are none.
pub(super) fn of_streams(subresource: &str) -> Option<Vec<Parameter>> {
    Some(match subresource {
        "attach" => ATTACH.to_vec(),
        "exec" => [&[("command", "string")], &ATTACH[..]].concat(),
        "portforward" => vec![("ports", "integer")],
        "proxy" => vec![("path", "string")],
        _ => return None,
    })
}
