//! What the end-to-end and contract tests stand on: the real binary as a process, the real
//! clients against it, and a runner that shares one cluster among cases.
//!
//! Must not know the platform's code: it sees what a user sees. Upstream counterpart:
//! `test/e2e/framework`.

mod cluster;
mod command;
mod runner;

pub use cluster::{Cluster, containers_possible};
pub use command::{Output, run};
pub use runner::{Case, run_cases};

use std::path::PathBuf;

/// The workspace's root.
pub fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("the crate lies in tests/e2e")
        .to_owned()
}

/// The binary under test: `$XEBEC_BIN`, else the one built beside the tests.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("XEBEC_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a program knows its own path");
    // Tests lie in deps/, programs beside it.
    let beside = test
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("xebec"));
    let found = beside.into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("no xebec beside {}: cargo build -p xebec", test.display()))
}

/// A client program: from `$XEBEC_TOOLS`, else from where `cargo xtask tools` puts it. Never
/// from PATH, whose version may be any.
pub fn tool(name: &str) -> PathBuf {
    let folder =
        std::env::var_os("XEBEC_TOOLS").map_or_else(|| root().join("target/tools"), Into::into);
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is missing: cargo xtask tools",
        path.display()
    );
    path
}
