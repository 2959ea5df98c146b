//! Who a process becomes: user and group names against the container's own files, privileges.
//!
//! Runs after the container's root is in place. Upstream counterpart: `moby/sys/user`.

use crate::{
    seccomp,
    spec::{Privileges, UserSpec},
    sys::{self, Context},
};
use seccompiler::BpfProgram;
use std::{fs, io};

/// Resolved ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub user: u32,
    /// Group id.
    pub group: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

/// Reads /etc/passwd and /etc/group of the current root.
pub fn resolve(spec: &UserSpec) -> io::Result<Identity> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    resolve_in(spec, &read("/etc/passwd"), &read("/etc/group"))
        .map_err(|message| io::Error::new(io::ErrorKind::NotFound, message))
}

fn resolve_in(spec: &UserSpec, passwd: &str, groups: &str) -> Result<Identity, String> {
    let (user, group) = spec.user.split_once(':').unwrap_or((&spec.user, ""));
    let user = if user.is_empty() { "0" } else { user };
    let fields = |line: &'_ str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let entry = passwd
        .lines()
        .map(fields)
        .find(|entry| entry.len() >= 6 && (entry[0] == user || entry[2] == user));
    let number = |text: &str| text.parse::<u32>().ok();
    let id = number(user).or(entry.as_ref().and_then(|entry| number(&entry[2])));
    let id = id
        .ok_or_else(|| format!("unable to find user {user}: no matching entries in passwd file"))?;
    let by_name = |name: &str| {
        let line = groups
            .lines()
            .map(fields)
            .find(|entry| entry.len() >= 3 && entry[0] == name);
        number(name).or(line.and_then(|entry| number(&entry[2])))
    };
    let named = match group {
        "" => entry
            .as_ref()
            .and_then(|entry| number(&entry[3]))
            .unwrap_or(0),
        name => by_name(name).ok_or_else(|| {
            format!("unable to find group {name}: no matching entries in group file")
        })?,
    };
    let mut identity = Identity {
        user: id,
        group: spec.group.unwrap_or(named),
        groups: spec.supplemental.clone(),
        home: entry
            .as_ref()
            .map_or_else(|| "/".to_owned(), |entry| entry[5].clone()),
    };
    if let Some(entry) = entry {
        identity.groups.extend(memberships(&entry[0], groups));
    }
    identity.groups.push(identity.group);
    identity.groups.sort_unstable();
    identity.groups.dedup();
    Ok(identity)
}

fn memberships(user: &str, groups: &str) -> Vec<u32> {
    let member = |line: &str| {
        let entry: Vec<&str> = line.split(':').collect();
        let listed = entry.get(3)?.split(',').any(|name| name == user);
        if listed { entry[2].parse().ok() } else { None }
    };
    groups.lines().filter_map(member).collect()
}

/// Gives up everything the process should not have. Without `no_new_privs`, a filter can only be
/// installed while the process still has `CAP_SYS_ADMIN`, so it comes first then.
pub fn assume(
    identity: &Identity,
    privileges: &Privileges,
    filters: &[BpfProgram],
) -> io::Result<()> {
    let filters = if privileges.seccomp { filters } else { &[] };
    let capabilities = privileges.capabilities & sys::bounding_set();
    if !privileges.no_new_privileges {
        seccomp::install(filters).context(|| "installing the system-call filter".into())?;
    }
    sys::limit_capabilities(capabilities);
    sys::set_identity(identity.user, identity.group, &identity.groups)
        .context(|| format!("becoming user {}", identity.user))?;
    sys::set_capabilities(capabilities).context(|| "setting capabilities".into())?;
    if privileges.no_new_privileges {
        sys::forbid_new_privileges()?;
        seccomp::install(filters).context(|| "installing the system-call filter".into())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:app,other\napp:x:1001:\n";

    #[test]
    fn names_and_numbers() {
        let get = |user: &str| {
            let spec = UserSpec {
                user: user.into(),
                ..UserSpec::default()
            };
            resolve_in(&spec, PASSWD, GROUP).map(|found| (found.user, found.group, found.groups))
        };
        assert_eq!(get(""), Ok((0, 0, vec![0])));
        assert_eq!(get("app"), Ok((1000, 1001, vec![50, 1001])));
        assert_eq!(get("1000"), Ok((1000, 1001, vec![50, 1001])));
        assert_eq!(get("77"), Ok((77, 0, vec![0])));
        assert_eq!(get("app:staff"), Ok((1000, 50, vec![50])));
        assert_eq!(get("77:88"), Ok((77, 88, vec![88])));
        assert!(get("ghost").is_err_and(|text| text.contains("unable to find user ghost")));
    }
}
