//! What this machine is and what this process may do on it.

use std::{collections::BTreeMap, fs};

/// The rights real containers need, or a sentence that says what is missing.
pub fn rights() -> Result<(), String> {
    const CAP_SYS_ADMIN: u32 = 21;
    const CAP_NET_ADMIN: u32 = 12;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .map(str::trim)
        .unwrap_or("0");
    let bits = u64::from_str_radix(effective, 16).unwrap_or(0);
    let missing: Vec<&str> = [
        (CAP_SYS_ADMIN, "CAP_SYS_ADMIN"),
        (CAP_NET_ADMIN, "CAP_NET_ADMIN"),
    ]
    .into_iter()
    .filter(|(bit, _)| bits >> bit & 1 == 0)
    .map(|(_, name)| name)
    .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "real containers need root ({} missing): run with sudo, or use --simulated",
        missing.join(" and ")
    ))
}

/// Capacity of the machine as node resources.
pub fn capacity() -> BTreeMap<String, String> {
    let cpus = std::thread::available_parallelism().map_or(1, |count| count.get());
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| {
            rest.trim()
                .trim_end_matches("kB")
                .trim()
                .parse::<u64>()
                .ok()
        })
        .unwrap_or(1024 * 1024);
    BTreeMap::from([
        ("cpu".to_owned(), cpus.to_string()),
        ("memory".to_owned(), format!("{kib}Ki")),
        ("ephemeral-storage".to_owned(), "50Gi".to_owned()),
        ("hugepages-1Gi".to_owned(), "0".to_owned()),
        ("hugepages-2Mi".to_owned(), "0".to_owned()),
        ("pods".to_owned(), "110".to_owned()),
    ])
}

/// `nodeInfo` of the machine.
pub fn info() -> BTreeMap<String, String> {
    let read = |path: &str| {
        fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let os = read("/etc/os-release");
    let image = os
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or("Linux".to_owned(), |name| name.trim_matches('"').to_owned());
    BTreeMap::from([
        (
            "kernelVersion".to_owned(),
            read("/proc/sys/kernel/osrelease"),
        ),
        ("osImage".to_owned(), image),
        ("machineID".to_owned(), read("/etc/machine-id")),
        ("bootID".to_owned(), read("/proc/sys/kernel/random/boot_id")),
    ])
}
