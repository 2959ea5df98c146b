//! From what the kubelet wants and what the image says to a specification without open questions.

use super::{Shared, io_error};
use crate::{
    capabilities,
    images::{Image, RunConfig},
    spec::{ContainerSpec, MountSpec, Privileges, Request, SandboxRecord, UserSpec},
};
use env::{ContainerConfig, RuntimeError, RuntimeResult, Seccomp, Security};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where a container writes its termination message unless told otherwise.
const TERMINATION_LOG: &str = "/dev/termination-log";
/// Letters of a container id that name its cgroup.
const CGROUP_NAME: usize = 32;

/// A stable id of 64 hexadecimal digits.
pub(super) fn runtime_id(parts: &[&str]) -> String {
    let hash = Sha256::digest(parts.join("\0"));
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn config_error(message: impl Into<String>) -> RuntimeError {
    RuntimeError::new("CreateContainerConfigError", message)
}

impl Shared {
    pub(super) fn create(&self, sandbox: &str, config: &ContainerConfig) -> RuntimeResult<String> {
        let missing = || {
            RuntimeError::new(
                "CreateContainerError",
                format!("sandbox {sandbox:?} does not exist"),
            )
        };
        let sandbox = self.find_sandbox(sandbox)?.ok_or_else(missing)?;
        let image = self
            .images
            .find(&config.image)
            .map_err(io_error("ImageInspectError"))?;
        let absent = || {
            let text = format!("image {:?} is not present", config.image);
            RuntimeError::new("CreateContainerError", text)
        };
        let spec = self.container_spec(&sandbox, config, &image.ok_or_else(absent)?)?;
        for mount in &spec.mounts {
            if !mount.source.exists() && !mount.source.starts_with(self.layout.root()) {
                fs::create_dir_all(&mount.source).map_err(io_error("CreateContainerError"))?;
            }
        }
        let id = spec.id.clone();
        self.client.container(&Request::Create(Box::new(spec)))?;
        Ok(id)
    }

    fn container_spec(
        &self,
        sandbox: &SandboxRecord,
        config: &ContainerConfig,
        image: &Image,
    ) -> RuntimeResult<ContainerSpec> {
        let pod = &sandbox.spec;
        let attempt = config.attempt.to_string();
        let id = runtime_id(&["container", &pod.id, &config.name, &attempt]);
        let directory = self.layout.container(&id);
        let logs = self.layout.pod_logs(&pod.namespace, &pod.name, &pod.uid);
        let termination_log = directory.join("termination-log");
        let own = [
            ("/etc/hosts", self.layout.sandbox(&pod.id).join("hosts")),
            (
                "/etc/hostname",
                self.layout.sandbox(&pod.id).join("hostname"),
            ),
            (
                "/etc/resolv.conf",
                self.layout.sandbox(&pod.id).join("resolv.conf"),
            ),
            (TERMINATION_LOG, termination_log.clone()),
        ];
        Ok(ContainerSpec {
            node: pod.node.clone(),
            sandbox: pod.id.clone(),
            pod_uid: pod.uid.clone(),
            name: config.name.clone(),
            attempt: config.attempt,
            image: config.image.clone(),
            image_id: image.id.clone(),
            layers: image.layers.clone(),
            arguments: arguments(config, &image.config)?,
            environment: environment(&pod.hostname, config, &image.config),
            directory: first_given(&config.working_dir, &image.config.working_dir),
            user: user(&config.security, &image.config)?,
            privileges: privileges(&config.security)?,
            read_only_root: config.security.read_only_root,
            mounts: mounts(config, own, &termination_log),
            stdin: config.stdin,
            stdin_once: config.stdin_once,
            tty: config.tty,
            cgroup: format!("{}/{}", pod.cgroup, &id[..CGROUP_NAME]),
            limits: (&config.limits).into(),
            oom_score_adj: config.oom_score_adj,
            stop_signal: stop_signal(&image.config.stop_signal)?,
            log_path: logs
                .join(&config.name)
                .join(format!("{}.log", config.attempt)),
            termination_log,
            log_speaks: config.log_speaks,
            id,
        })
    }
}

fn first_given(wanted: &str, fallback: &str) -> String {
    if wanted.is_empty() {
        fallback.to_owned()
    } else {
        wanted.to_owned()
    }
}

fn arguments(config: &ContainerConfig, image: &RunConfig) -> RuntimeResult<Vec<String>> {
    let (entry, rest) = match (config.command.is_empty(), config.args.is_empty()) {
        (false, _) => (&config.command, &config.args),
        (true, false) => (&image.entrypoint, &config.args),
        (true, true) => (&image.entrypoint, &image.cmd),
    };
    let all: Vec<String> = entry.iter().chain(rest).cloned().collect();
    if all.is_empty() {
        return Err(RuntimeError::new(
            "CreateContainerError",
            "no command specified",
        ));
    }
    Ok(all)
}

/// Host name, the image's variables, the container's; the last of a name wins.
fn environment(hostname: &str, config: &ContainerConfig, image: &RunConfig) -> Vec<String> {
    let mut list: Vec<(&str, &str)> = vec![("HOSTNAME", hostname)];
    let image = image
        .env
        .iter()
        .map(|entry| entry.split_once('=').unwrap_or((entry, "")));
    let own = config
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in image.chain(own) {
        match list.iter_mut().find(|(known, _)| *known == name) {
            Some(entry) => entry.1 = value,
            None => list.push((name, value)),
        }
    }
    list.iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn id_number(value: i64) -> RuntimeResult<u32> {
    u32::try_from(value).map_err(|_| config_error(format!("{value} is no user or group id")))
}

fn user(security: &Security, image: &RunConfig) -> RuntimeResult<UserSpec> {
    let user = match security.run_as_user {
        Some(user) => id_number(user)?.to_string(),
        None => image.user.clone(),
    };
    let name = user.split(':').next().unwrap_or_default();
    if security.run_as_non_root {
        match (security.run_as_user, name, name.parse::<u32>()) {
            (Some(0), ..) => {
                return Err(config_error("container's runAsUser breaks non-root policy"));
            }
            (_, "", _) | (_, _, Ok(0)) => {
                return Err(config_error(
                    "container has runAsNonRoot and image will run as root",
                ));
            }
            (.., Err(_)) => {
                return Err(config_error(format!(
                    "container has runAsNonRoot and image has non-numeric user ({name}), cannot \
                     verify user is non-root"
                )));
            }
            _ => {}
        }
    }
    let supplemental = security
        .supplemental_groups
        .iter()
        .map(|group| id_number(*group));
    Ok(UserSpec {
        user,
        group: security.run_as_group.map(id_number).transpose()?,
        supplemental: supplemental.collect::<RuntimeResult<_>>()?,
    })
}

fn privileges(security: &Security) -> RuntimeResult<Privileges> {
    let set = capabilities::resolve(&security.capabilities_add, &security.capabilities_drop);
    let set = set.map_err(|message| RuntimeError::new("CreateContainerError", message))?;
    let privileged = security.privileged;
    Ok(Privileges {
        capabilities: if privileged { capabilities::ALL } else { set },
        privileged,
        no_new_privileges: !security.allow_privilege_escalation && !privileged,
        seccomp: security.seccomp == Seccomp::RuntimeDefault && !privileged,
    })
}

/// The container's mounts and ours where it has none, parents before children. A mount without
/// a host path asks for the termination message file at another place.
fn mounts(
    config: &ContainerConfig,
    own: [(&str, PathBuf); 4],
    termination_log: &Path,
) -> Vec<MountSpec> {
    let wanted = config.mounts.iter().map(|mount| MountSpec {
        source: match mount.host_path.as_str() {
            "" => termination_log.to_owned(),
            path => path.into(),
        },
        sub_path: mount.sub_path.clone(),
        target: mount.container_path.clone(),
        read_only: mount.read_only,
    });
    let elsewhere = config.mounts.iter().any(|mount| mount.host_path.is_empty());
    let mut list: Vec<MountSpec> = wanted.collect();
    for (target, source) in own {
        let taken = list.iter().any(|mount| mount.target == target);
        if !(taken || elsewhere && target == TERMINATION_LOG) {
            list.push(MountSpec {
                source,
                target: target.to_owned(),
                ..MountSpec::default()
            });
        }
    }
    list.sort_by_key(|mount| Path::new(&mount.target).components().count());
    list
}

/// A signal by number or name; SIGTERM if the image says nothing.
fn stop_signal(text: &str) -> RuntimeResult<i32> {
    const NAMES: [(&str, i32); 12] = [
        ("HUP", libc::SIGHUP),
        ("INT", libc::SIGINT),
        ("QUIT", libc::SIGQUIT),
        ("ABRT", libc::SIGABRT),
        ("KILL", libc::SIGKILL),
        ("USR1", libc::SIGUSR1),
        ("USR2", libc::SIGUSR2),
        ("PIPE", libc::SIGPIPE),
        ("ALRM", libc::SIGALRM),
        ("TERM", libc::SIGTERM),
        ("WINCH", libc::SIGWINCH),
        ("PWR", libc::SIGPWR),
    ];
    const REALTIME_MIN: i32 = 34;
    const LAST: i32 = 64;
    if text.is_empty() {
        return Ok(libc::SIGTERM);
    }
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = NAMES
        .iter()
        .find(|(name, _)| *name == bare)
        .map(|(_, number)| *number);
    let realtime = || {
        bare.strip_prefix("RTMIN+")?
            .parse::<i32>()
            .ok()
            .map(|add| REALTIME_MIN + add)
    };
    let number = named.or_else(|| bare.parse().ok()).or_else(realtime);
    number
        .filter(|number| (1..=LAST).contains(number))
        .ok_or_else(|| {
            RuntimeError::new(
                "CreateContainerError",
                format!("unknown stop signal {text:?}"),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(user: &str) -> RunConfig {
        RunConfig {
            user: user.into(),
            env: vec!["A=1".into(), "B=2".into()],
            entrypoint: vec!["run".into()],
            cmd: vec!["now".into()],
            ..RunConfig::default()
        }
    }

    #[test]
    fn command_lines() {
        let words = |list: &[&str]| list.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        let cases: [(&[&str], &[&str], &[&str]); 4] = [
            (&[], &[], &["run", "now"]),
            (&[], &["later"], &["run", "later"]),
            (&["go"], &[], &["go"]),
            (&["go"], &["x"], &["go", "x"]),
        ];
        for (command, args, expected) in cases {
            let (command, args) = (words(command), words(args));
            let config = ContainerConfig {
                command,
                args,
                ..ContainerConfig::default()
            };
            assert_eq!(arguments(&config, &image("")), Ok(words(expected)));
        }
        assert!(arguments(&ContainerConfig::default(), &RunConfig::default()).is_err());
    }

    #[test]
    fn later_variables_win() {
        let env = vec![
            ("B".into(), "3".into()),
            ("C".into(), "4".into()),
            ("C".into(), "5".into()),
        ];
        let config = ContainerConfig {
            env,
            ..ContainerConfig::default()
        };
        let expected = ["HOSTNAME=h", "A=1", "B=3", "C=5"];
        assert_eq!(environment("h", &config, &image("")), expected);
    }

    #[test]
    fn non_root_policy() {
        let check = |run_as_user, name: &str| {
            let security = Security {
                run_as_user,
                run_as_non_root: true,
                ..Security::default()
            };
            user(&security, &image(name))
                .map(|user| user.user)
                .map_err(|error| error.reason)
        };
        let refused = Err("CreateContainerConfigError");
        assert_eq!(check(Some(0), "1000"), refused);
        assert_eq!(check(Some(7), ""), Ok("7".into()));
        assert_eq!(check(None, ""), refused);
        assert_eq!(check(None, "0:5"), refused);
        assert_eq!(check(None, "redis"), refused);
        assert_eq!(check(None, "1000:1000"), Ok("1000:1000".into()));
    }

    #[test]
    fn signals() {
        let cases = [
            ("", 15),
            ("SIGQUIT", 3),
            ("int", 2),
            ("9", 9),
            ("SIGRTMIN+3", 37),
        ];
        for (text, number) in cases {
            assert_eq!(stop_signal(text), Ok(number));
        }
        assert!(stop_signal("SIGNOPE").is_err() && stop_signal("0").is_err());
    }
}
