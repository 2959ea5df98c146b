//! The platform as its users meet it: real kubectl and helm against the real binary.
//!
//! Cases run in this order on one cluster; the last ones kill and delete it. Must not know the
//! platform's code. Upstream counterpart: `test/e2e/kubectl`, `test/cmd`.

mod bad_input;
mod commands;
mod custom;
mod inspect;
mod lifecycle;
mod objects;
mod operations;
mod packages;
mod python;
mod survival;
mod whole;
mod workloads;

use e2e_tests::{Case, Cluster, containers_possible, run_cases};
use std::process::ExitCode;

const CASES: &[Case] = &[
    ("discovery::versions_and_nodes", inspect::versions_and_nodes),
    (
        "discovery::resources_and_explain",
        inspect::resources_and_explain,
    ),
    (
        "discovery::whoami_and_permissions",
        inspect::whoami_and_permissions,
    ),
    ("objects::client_side_apply", objects::client_side_apply),
    ("objects::server_side_apply", objects::server_side_apply),
    (
        "objects::commands_that_change",
        objects::commands_that_change,
    ),
    ("objects::deletion_and_wait", objects::deletion_and_wait),
    (
        "commands::setting_and_scaling",
        commands::setting_and_scaling,
    ),
    (
        "commands::nodes_and_certificates",
        commands::nodes_and_certificates,
    ),
    (
        "commands::editing_and_replacing",
        commands::editing_and_replacing,
    ),
    (
        "commands::apply_moves_to_the_server",
        commands::apply_moves_to_the_server,
    ),
    ("operations::certificates", operations::certificates),
    (
        "operations::rights_are_reconciled",
        operations::rights_are_reconciled,
    ),
    ("operations::watching", operations::watching),
    (
        "operations::a_node_is_emptied",
        operations::a_node_is_emptied,
    ),
    ("python::client", python::client),
    ("workloads::deployment", workloads::deployment),
    ("workloads::logs_and_exec", workloads::logs_and_exec),
    ("workloads::the_log_before", workloads::the_log_before),
    ("workloads::attach", workloads::attach),
    ("workloads::terminal_and_copy", workloads::terminal_and_copy),
    (
        "workloads::failed_rollout_is_undone",
        workloads::failed_rollout_is_undone,
    ),
    ("workloads::service_and_dns", workloads::service_and_dns),
    ("workloads::port_forward", workloads::port_forward),
    ("workloads::job_completes", workloads::job_completes),
    (
        "workloads::stateful_set_keeps_its_volume",
        workloads::stateful_set_keeps_its_volume,
    ),
    ("custom::kind_and_its_objects", custom::kind_and_its_objects),
    (
        "helm::install_upgrade_rollback",
        packages::install_upgrade_rollback,
    ),
    ("bad_input::bodies", bad_input::bodies),
    ("bad_input::names_and_places", bad_input::names_and_places),
    ("bad_input::stale_versions", bad_input::stale_versions),
    ("bad_input::command_line", bad_input::command_line),
    ("whole::demo", whole::demo),
    ("whole::example_by_kubectl", whole::example_by_kubectl),
    (
        "whole::rehearsal_of_the_same_manifests",
        whole::rehearsal_of_the_same_manifests,
    ),
    ("whole::without_rights", whole::without_rights),
    ("whole::damaged_log", whole::damaged_log),
    (
        "survival::kill_in_the_middle_of_writes",
        survival::kill_in_the_middle_of_writes,
    ),
    ("survival::down_and_up_again", survival::down_and_up_again),
    (
        "lifecycle::kubeconfig_is_merged",
        lifecycle::kubeconfig_is_merged,
    ),
    (
        "lifecycle::delete_leaves_nothing",
        lifecycle::delete_leaves_nothing,
    ),
];

fn main() -> ExitCode {
    run_cases(CASES, || Cluster::start(!containers_possible(), 1))
}

/// Says that a case needs real containers; the caller returns.
fn needs_containers(cluster: &Cluster) -> bool {
    if cluster.simulated() {
        println!("  (needs real containers: only refusals could be shown)");
    }
    cluster.simulated()
}

/// Every word must occur in the text.
#[track_caller]
fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in:\n{text}");
    }
}
