//! Linux capabilities by name, and the set a container gets.
//!
//! Upstream counterpart: containerd's `pkg/cap` and its CRI capability handling.

/// All capabilities, in the order of their numbers.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What an ordinary container gets.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Every capability.
pub const ALL: u64 = (1 << NAMES.len()) - 1;

/// The bit of a capability, with or without the prefix `CAP_`, in any case.
pub fn bit(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if bare == "ALL" {
        return Some(ALL);
    }
    NAMES
        .iter()
        .position(|known| *known == bare)
        .map(|index| 1 << index)
}

/// The default set with `drop` removed and `add` added; `ALL` comes before single names, as in
/// containerd. The error names an unknown capability.
pub fn resolve(add: &[String], drop: &[String]) -> Result<u64, String> {
    let lookup = |name: &String| bit(name).ok_or_else(|| format!("unknown capability {name:?}"));
    let bits = |names: &[String]| -> Result<u64, String> {
        names
            .iter()
            .map(lookup)
            .try_fold(0, |set, bit| Ok(set | bit?))
    };
    let is_all = |name: &&String| bit(name) == Some(ALL);
    let single = |names: &[String]| -> Vec<String> {
        names.iter().filter(|name| !is_all(name)).cloned().collect()
    };
    let mut set = DEFAULT
        .iter()
        .filter_map(|name| bit(name))
        .fold(0, |set, bit| set | bit);
    if add.iter().any(|name| is_all(&name)) {
        set = ALL;
    }
    if drop.iter().any(|name| is_all(&name)) {
        set = 0;
    }
    Ok((set | bits(&single(add))?) & !bits(&single(drop))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        let names = |list: &[&str]| list.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let count = |add: &[&str], drop: &[&str]| {
            resolve(&names(add), &names(drop)).map(|set| set.count_ones())
        };
        assert_eq!(count(&[], &[]), Ok(14));
        assert_eq!(count(&["NET_ADMIN"], &["cap_net_raw"]), Ok(14));
        assert_eq!(count(&["NET_BIND_SERVICE"], &["ALL"]), Ok(1));
        assert_eq!(count(&["ALL"], &["SYS_ADMIN"]), Ok(40));
        assert_eq!(
            count(&["FLY"], &[]),
            Err("unknown capability \"FLY\"".into())
        );
        assert_eq!(bit("SYS_ADMIN"), Some(1 << 21));
    }
}
