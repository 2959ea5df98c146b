//! Fills ClusterRoles that aggregate others.
//!
//! Upstream counterpart: `pkg/controller/clusterroleaggregation`.

use crate::{
    common::{patch, target},
    names::CLUSTER_ROLES,
};
use env::Time;
use machinery::{LabelSelector, Value, json};
use reconcile::{Change, Controller, Plan, Target, View, Watch};

/// The aggregation of ClusterRoles.
pub struct ClusterRoleAggregation;

impl Controller for ClusterRoleAggregation {
    fn name(&self) -> &'static str {
        "clusterrole-aggregation-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch {
            resource: CLUSTER_ROLES,
            wakes: wake_aggregating,
        }]
    }

    fn reconcile(&self, view: &View, key: &Target, _: Time) -> Plan {
        let mut plan = Plan::nothing();
        let Some(role) = view.get(CLUSTER_ROLES, "", &key.name) else {
            return plan;
        };
        let selectors: Vec<_> = role
            .at("aggregationRule.clusterRoleSelectors")
            .items()
            .map(LabelSelector::from_ref)
            .collect();
        if selectors.is_empty() || role.is_deleting() {
            return plan;
        }
        let mut rules: Vec<Value> = Vec::new();
        for other in view.list(CLUSTER_ROLES, None) {
            let chosen = selectors.iter().any(|one| one.matches_object(other));
            if !chosen || other.name() == role.name() {
                continue;
            }
            for rule in other.at("rules").items().map(|rule| rule.to_value()) {
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }
        }
        if role.at("rules").to_value().items() != rules {
            plan.push(patch(CLUSTER_ROLES, role, json!({"rules": rules})));
        }
        plan
    }
}

/// Any role may be part of any aggregating one.
fn wake_aggregating(view: &View, _: &Change, wake: &mut Vec<Target>) {
    let aggregating = view
        .list(CLUSTER_ROLES, None)
        .filter(|role| !role.at("aggregationRule").is_null());
    wake.extend(aggregating.map(|role| target(CLUSTER_ROLES, role)));
}
