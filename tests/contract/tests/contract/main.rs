//! What any client may rely on, checked on the wire against the real binary.
//!
//! Cases share one cluster with simulated containers, each in a namespace of its own. Must not
//! know the platform's code. Upstream counterpart: `test/integration/apiserver`.

mod access;
mod applying;
mod custom;
mod deleting;
mod forms;
mod metrics;
mod patching;
mod reading;
mod refusing;
mod watching;

use contract_tests::Api;
use e2e_tests::{Case, Cluster, run_cases};
use serde_json::{Value, json};
use std::process::ExitCode;

const CASES: &[Case] = &[
    ("access::nodes_see_their_own", access::nodes_see_their_own),
    (
        "access::nobody_grants_more_than_they_hold",
        access::nobody_grants_more_than_they_hold,
    ),
    (
        "access::impersonation_needs_each_part",
        access::impersonation_needs_each_part,
    ),
    (
        "access::tokens_hold_as_long_as_their_pod",
        access::tokens_hold_as_long_as_their_pod,
    ),
    (
        "access::approved_certificates_are_believed",
        access::approved_certificates_are_believed,
    ),
    (
        "access::signers_refuse_what_is_not_theirs",
        access::signers_refuse_what_is_not_theirs,
    ),
    (
        "access::secrets_hold_tokens_of_accounts",
        access::secrets_hold_tokens_of_accounts,
    ),
    (
        "custom::values_are_defaulted_pruned_and_refused",
        custom::values_are_defaulted_pruned_and_refused,
    ),
    (
        "custom::appliers_own_items_and_nothing_is_written_twice",
        custom::appliers_own_items_and_nothing_is_written_twice,
    ),
    (
        "custom::a_watch_sees_each_write_and_the_end",
        custom::a_watch_sees_each_write_and_the_end,
    ),
    (
        "reading::a_list_and_its_watch_miss_nothing",
        reading::a_list_and_its_watch_miss_nothing,
    ),
    (
        "reading::pages_come_from_one_snapshot",
        reading::pages_come_from_one_snapshot,
    ),
    ("reading::selectors_choose", reading::selectors_choose),
    (
        "watching::watch_list_ends_with_a_bookmark",
        watching::watch_list_ends_with_a_bookmark,
    ),
    (
        "watching::a_selector_turns_changes_into_arrivals",
        watching::a_selector_turns_changes_into_arrivals,
    ),
    (
        "watching::every_watcher_sees_one_order",
        watching::every_watcher_sees_one_order,
    ),
    (
        "watching::versions_out_of_reach_are_refused",
        watching::versions_out_of_reach_are_refused,
    ),
    (
        "patching::concurrent_merge_patches_all_succeed",
        patching::concurrent_merge_patches_all_succeed,
    ),
    (
        "patching::status_and_labels_do_not_overwrite",
        patching::status_and_labels_do_not_overwrite,
    ),
    (
        "patching::patches_that_change_nothing_write_nothing",
        patching::patches_that_change_nothing_write_nothing,
    ),
    (
        "patching::strategic_patches_merge_by_key",
        patching::strategic_patches_merge_by_key,
    ),
    (
        "patching::concurrent_updates_lose_nothing",
        patching::concurrent_updates_lose_nothing,
    ),
    (
        "applying::what_the_server_adds_is_nobodys",
        applying::what_the_server_adds_is_nobodys,
    ),
    (
        "applying::disjoint_appliers_never_conflict",
        applying::disjoint_appliers_never_conflict,
    ),
    (
        "applying::fields_no_longer_applied_go",
        applying::fields_no_longer_applied_go,
    ),
    (
        "applying::owners_are_told_apart",
        applying::owners_are_told_apart,
    ),
    (
        "applying::ports_are_told_apart_by_protocol",
        applying::ports_are_told_apart_by_protocol,
    ),
    (
        "refusing::unknown_and_repeated_fields",
        refusing::unknown_and_repeated_fields,
    ),
    (
        "deleting::a_namespace_of_a_thousand_pods_goes",
        deleting::a_namespace_of_a_thousand_pods_goes,
    ),
    ("refusing::missing_things", refusing::missing_things),
    (
        "refusing::paths_that_lead_nowhere",
        refusing::paths_that_lead_nowhere,
    ),
    (
        "refusing::options_of_deletions",
        refusing::options_of_deletions,
    ),
    (
        "refusing::a_terminating_namespace",
        refusing::a_terminating_namespace,
    ),
    ("refusing::names", refusing::names),
    (
        "refusing::stale_writes_and_preconditions",
        refusing::stale_writes_and_preconditions,
    ),
    ("refusing::strangers", refusing::strangers),
    (
        "refusing::apply_takes_the_right_to_create",
        refusing::apply_takes_the_right_to_create,
    ),
    ("forms::tables_and_metadata", forms::tables_and_metadata),
    ("forms::yaml_and_protobuf", forms::yaml_and_protobuf),
    ("forms::malformed_bodies", forms::malformed_bodies),
    ("forms::documents", forms::documents),
    (
        "access::requests_for_certificates_stay",
        access::requests_for_certificates_stay,
    ),
    (
        "metrics::requests_are_counted",
        metrics::requests_are_counted,
    ),
    ("metrics::queues_are_counted", metrics::queues_are_counted),
    (
        "metrics::long_lists_are_compressed",
        metrics::long_lists_are_compressed,
    ),
    ("metrics::monitoring_may_read", metrics::monitoring_may_read),
    ("metrics::pages_for_people", metrics::pages_for_people),
];

fn main() -> ExitCode {
    run_cases(CASES, || Cluster::start(true, 1))
}

/// A client and the path of config maps in a new namespace.
fn place(cluster: &Cluster, name: &str) -> (Api, String) {
    let api = Api::of(cluster);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    api.create("/api/v1/namespaces", &namespace).ok();
    (api, format!("/api/v1/namespaces/{name}/configmaps"))
}

/// A config map.
fn map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// An object's resourceVersion.
fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"]
        .as_str()
        .expect("a stored object has a version")
        .to_owned()
}

/// An object's name.
fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}
