//! The built-in system-call filter (`RuntimeDefault`), as data, and its compilation.
//!
//! Allowed calls run, everything else gets EPERM; clone3 gets ENOSYS so that C libraries fall
//! back to clone, whose flags a filter can read. Upstream counterpart: containerd's
//! `contrib/seccomp`.

use crate::capabilities;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use std::{collections::BTreeMap, io};

macro_rules! calls {
    ($($name:ident)*) => { &[$(libc::$name),*] };
}

/// Calls every container may make.
const COMMON: &[libc::c_long] = calls! {
    SYS_accept SYS_accept4 SYS_adjtimex SYS_bind SYS_brk SYS_capget SYS_capset SYS_chdir
    SYS_clock_adjtime SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep SYS_close
    SYS_close_range SYS_connect SYS_copy_file_range SYS_dup SYS_dup3 SYS_epoll_create1
    SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_execve SYS_execveat SYS_exit
    SYS_exit_group SYS_faccessat SYS_faccessat2 SYS_fadvise64 SYS_fallocate SYS_fanotify_mark
    SYS_fchdir SYS_fchmod SYS_fchmodat SYS_fchmodat2 SYS_fchown SYS_fchownat SYS_fcntl
    SYS_fdatasync SYS_fgetxattr SYS_flistxattr SYS_flock SYS_fremovexattr SYS_fsetxattr SYS_fstat
    SYS_fstatfs SYS_fsync SYS_ftruncate SYS_futex SYS_futex_waitv
    SYS_getcpu SYS_getcwd SYS_getdents64 SYS_getegid SYS_geteuid SYS_getgid
    SYS_getgroups SYS_getitimer SYS_getpeername SYS_getpgid SYS_getpid SYS_getppid
    SYS_getpriority SYS_getrandom SYS_getresgid SYS_getresuid SYS_getrlimit SYS_get_robust_list
    SYS_getrusage SYS_getsid SYS_getsockname SYS_getsockopt SYS_gettid SYS_gettimeofday
    SYS_getuid SYS_getxattr SYS_inotify_add_watch SYS_inotify_init1 SYS_inotify_rm_watch
    SYS_io_cancel SYS_ioctl SYS_io_destroy SYS_io_getevents SYS_ioprio_get
    SYS_ioprio_set SYS_io_setup SYS_io_submit SYS_kill SYS_landlock_add_rule
    SYS_landlock_create_ruleset SYS_landlock_restrict_self SYS_lgetxattr SYS_linkat SYS_listen
    SYS_listxattr SYS_llistxattr SYS_lremovexattr SYS_lseek SYS_lsetxattr SYS_madvise
    SYS_membarrier SYS_memfd_create SYS_memfd_secret SYS_mincore SYS_mkdirat SYS_mknodat
    SYS_mlock SYS_mlock2 SYS_mlockall SYS_mmap SYS_mprotect SYS_mq_getsetattr SYS_mq_notify
    SYS_mq_open SYS_mq_timedreceive SYS_mq_timedsend SYS_mq_unlink SYS_mremap SYS_msgctl
    SYS_msgget SYS_msgrcv SYS_msgsnd SYS_msync SYS_munlock SYS_munlockall SYS_munmap
    SYS_name_to_handle_at SYS_nanosleep SYS_newfstatat SYS_openat SYS_openat2 SYS_pidfd_open
    SYS_pidfd_send_signal SYS_pidfd_getfd SYS_pipe2 SYS_pkey_alloc SYS_pkey_free
    SYS_pkey_mprotect SYS_ppoll SYS_prctl SYS_pread64 SYS_preadv SYS_preadv2 SYS_prlimit64
    SYS_process_mrelease SYS_process_vm_readv SYS_process_vm_writev SYS_pselect6 SYS_ptrace
    SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_read SYS_readahead SYS_readlinkat SYS_readv
    SYS_recvfrom SYS_recvmmsg SYS_recvmsg SYS_remap_file_pages SYS_removexattr SYS_renameat
    SYS_renameat2 SYS_restart_syscall SYS_rseq SYS_rt_sigaction SYS_rt_sigpending
    SYS_rt_sigprocmask SYS_rt_sigqueueinfo SYS_rt_sigreturn SYS_rt_sigsuspend
    SYS_rt_sigtimedwait SYS_rt_tgsigqueueinfo SYS_sched_getaffinity SYS_sched_getattr
    SYS_sched_getparam SYS_sched_get_priority_max SYS_sched_get_priority_min
    SYS_sched_getscheduler SYS_sched_rr_get_interval SYS_sched_setaffinity SYS_sched_setattr
    SYS_sched_setparam SYS_sched_setscheduler SYS_sched_yield SYS_seccomp SYS_semctl SYS_semget
    SYS_semop SYS_semtimedop SYS_sendfile SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_setfsgid
    SYS_setfsuid SYS_setgid SYS_setgroups SYS_setitimer SYS_setpgid SYS_setpriority SYS_setregid
    SYS_setresgid SYS_setresuid SYS_setreuid SYS_setrlimit SYS_set_robust_list SYS_setsid
    SYS_setsockopt SYS_set_tid_address SYS_setuid SYS_setxattr SYS_shmat SYS_shmctl SYS_shmdt
    SYS_shmget SYS_shutdown SYS_sigaltstack SYS_signalfd4 SYS_socketpair SYS_splice SYS_statfs
    SYS_statx SYS_symlinkat SYS_sync SYS_sync_file_range SYS_syncfs SYS_sysinfo SYS_tee
    SYS_tgkill SYS_timer_create SYS_timer_delete SYS_timer_getoverrun SYS_timer_gettime
    SYS_timer_settime SYS_timerfd_create SYS_timerfd_gettime SYS_timerfd_settime SYS_times
    SYS_tkill SYS_truncate SYS_umask SYS_uname SYS_unlinkat SYS_utimensat SYS_vmsplice SYS_wait4
    SYS_waitid SYS_write SYS_writev SYS_clone3
};

/// Older calls that only this architecture has.
#[cfg(target_arch = "x86_64")]
const LEGACY: &[libc::c_long] = calls! {
    SYS_access SYS_alarm SYS_arch_prctl SYS_chmod SYS_chown SYS_creat SYS_dup2 SYS_epoll_create
    SYS_epoll_ctl_old SYS_epoll_wait SYS_epoll_wait_old SYS_eventfd SYS_fork SYS_futimesat
    SYS_getdents SYS_getpgrp SYS_get_thread_area SYS_inotify_init SYS_lchown SYS_link SYS_lstat
    SYS_mkdir SYS_mknod SYS_modify_ldt SYS_open SYS_pause SYS_pipe SYS_poll SYS_readlink
    SYS_rename SYS_rmdir SYS_select SYS_set_thread_area SYS_signalfd SYS_stat SYS_symlink
    SYS_time SYS_unlink SYS_utime SYS_utimes SYS_vfork
};
#[cfg(not(target_arch = "x86_64"))]
const LEGACY: &[libc::c_long] = &[];

/// Calls that come with a capability.
const WITH_CAPABILITY: &[(&str, &[libc::c_long])] = &[
    ("DAC_READ_SEARCH", calls! { SYS_open_by_handle_at }),
    (
        "SYS_ADMIN",
        calls! {
            SYS_bpf SYS_clone SYS_fanotify_init SYS_fsconfig SYS_fsmount SYS_fsopen SYS_fspick
            SYS_lookup_dcookie SYS_mount SYS_mount_setattr SYS_move_mount SYS_open_tree
            SYS_perf_event_open SYS_quotactl SYS_quotactl_fd SYS_setdomainname SYS_sethostname
            SYS_setns SYS_syslog SYS_umount2 SYS_unshare
        },
    ),
    ("SYS_BOOT", calls! { SYS_reboot }),
    ("SYS_CHROOT", calls! { SYS_chroot }),
    (
        "SYS_MODULE",
        calls! { SYS_delete_module SYS_init_module SYS_finit_module },
    ),
    ("SYS_PACCT", calls! { SYS_acct }),
    ("SYS_PTRACE", calls! { SYS_kcmp SYS_process_madvise }),
    ("SYS_TIME", calls! { SYS_settimeofday SYS_clock_settime }),
    ("SYS_TTY_CONFIG", calls! { SYS_vhangup }),
    (
        "SYS_NICE",
        calls! { SYS_get_mempolicy SYS_mbind SYS_set_mempolicy },
    ),
    ("SYSLOG", calls! { SYS_syslog }),
    ("BPF", calls! { SYS_bpf }),
    ("PERFMON", calls! { SYS_perf_event_open }),
];

/// Namespace-creating flags of clone: new namespaces need SYS_ADMIN.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// Personalities that weaken nothing: plain Linux, 32-bit view, and the query value.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

fn condition(index: u8, operator: SeccompCmpOp, value: u64) -> SeccompRule {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .expect("argument indexes are below six and the list is not empty")
}

fn conditional_rules() -> [(libc::c_long, Vec<SeccompRule>); 3] {
    let personality = |value| condition(0, SeccompCmpOp::Eq, value);
    [
        (
            libc::SYS_clone,
            vec![condition(0, SeccompCmpOp::MaskedEq(CLONE_NAMESPACES), 0)],
        ),
        (
            libc::SYS_personality,
            PERSONALITIES.map(personality).to_vec(),
        ),
        // Sockets of the virtual machine host escape the network namespace.
        (
            libc::SYS_socket,
            vec![condition(0, SeccompCmpOp::Ne, libc::AF_VSOCK as u64)],
        ),
    ]
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> io::Result<BpfProgram> {
    let target = std::env::consts::ARCH
        .try_into()
        .map_err(io::Error::other)?;
    SeccompFilter::new(rules, otherwise, matched, target)
        .and_then(BpfProgram::try_from)
        .map_err(io::Error::other)
}

/// The filters of a container with these capabilities, in the order to install them.
pub fn filters(set: u64) -> io::Result<Vec<BpfProgram>> {
    let extra = WITH_CAPABILITY
        .iter()
        .filter(|(name, _)| capabilities::bit(name).is_some_and(|bit| set & bit != 0))
        .flat_map(|(_, calls)| calls.iter());
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = conditional_rules().into();
    rules.extend(
        COMMON
            .iter()
            .chain(LEGACY)
            .chain(extra)
            .map(|call| (*call, Vec::new())),
    );
    let main = compile(
        rules,
        SeccompAction::Errno(libc::EPERM as u32),
        SeccompAction::Allow,
    )?;
    let fallback = compile(
        [(libc::SYS_clone3, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS as u32),
    )?;
    Ok(vec![main, fallback])
}

/// Installs filters on the calling thread, without setting `no_new_privs`: that is the caller's.
pub fn install(filters: &[BpfProgram]) -> io::Result<()> {
    filters
        .iter()
        .try_for_each(|filter| crate::sys::install_filter(filter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_widen_the_filter() {
        let length = |set| filters(set).expect("compiles")[0].len();
        let admin = capabilities::bit("SYS_ADMIN").expect("known");
        assert!(length(admin) > length(0));
        assert!(
            length(0) < 4096,
            "the kernel takes at most 4096 instructions"
        );
    }
}
