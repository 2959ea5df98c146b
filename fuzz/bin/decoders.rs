//! The target named by `TARGET`, driven by libFuzzer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static TARGET: LazyLock<&'static fuzz::Target> = LazyLock::new(|| {
    let name = std::env::var("TARGET").unwrap_or_default();
    fuzz::TARGETS
        .iter()
        .find(|target| target.name == name)
        .unwrap_or_else(|| panic!("TARGET must be one of {:?}", fuzz::names()))
});

fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));
