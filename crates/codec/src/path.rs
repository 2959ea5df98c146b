//! Field paths as upstream writes them in strict-decoding errors: `spec.containers[0].name`.
//!
//! Paths are built from the inside out, only where something is to be reported.

/// `.name`, without the dot (the outermost one has none).
pub fn member(key: &str) -> String {
    key.to_owned()
}

/// `[index]`.
pub fn item(index: usize) -> String {
    format!("[{index}]")
}

/// Puts `parent` in front of paths found below it.
pub fn prefix(paths: &mut [String], parent: impl Fn() -> String) {
    for path in paths {
        let dot = if path.starts_with('[') { "" } else { "." };
        *path = format!("{}{dot}{path}", parent());
    }
}
