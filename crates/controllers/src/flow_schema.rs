//! Says of each FlowSchema whether the priority level it names exists.
//!
//! Upstream counterpart: the status of `k8s.io/apiserver/pkg/util/flowcontrol`.

use crate::{
    common::{Condition, set_condition, target, write_status},
    names::{FLOW_SCHEMAS, PRIORITY_LEVELS},
};
use env::Time;
use reconcile::{Change, Controller, Plan, Target, View, Watch, itself};

/// The controller of FlowSchemas' statuses.
pub struct FlowSchema;

impl Controller for FlowSchema {
    fn name(&self) -> &'static str {
        "flow-schema-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch {
                resource: FLOW_SCHEMAS,
                wakes: itself,
            },
            Watch {
                resource: PRIORITY_LEVELS,
                wakes: wake_referring,
            },
        ]
    }

    fn reconcile(&self, view: &View, key: &Target, now: Time) -> Plan {
        let mut plan = Plan::nothing();
        let schema = view.get(FLOW_SCHEMAS, "", &key.name);
        let Some(schema) = schema.filter(|schema| !schema.is_deleting()) else {
            return plan;
        };
        let level = schema.at("spec.priorityLevelConfiguration.name").str();
        let exists = view.get(PRIORITY_LEVELS, "", level).is_some();
        let (status, reason, tail) = match exists {
            true => ("False", "Found", "it exists"),
            false => ("True", "NotFound", "there is no such object"),
        };
        let message = format!(
            "This FlowSchema references the PriorityLevelConfiguration object named {level:?} and {tail}"
        );
        let mut wanted = schema.at("status").to_value();
        let dangling = Condition {
            kind: "Dangling",
            status,
            reason,
            message: &message,
        };
        set_condition(&mut wanted, dangling, now);
        plan.actions
            .extend(write_status(FLOW_SCHEMAS, schema, wanted));
        plan
    }
}

fn wake_referring(view: &View, change: &Change, wake: &mut Vec<Target>) {
    let name = change.key.name.as_str();
    let referring = view
        .list(FLOW_SCHEMAS, None)
        .filter(|schema| schema.at("spec.priorityLevelConfiguration.name").str() == name);
    wake.extend(referring.map(|schema| target(FLOW_SCHEMAS, schema)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::{Value, json};
    use reconcile::Action;

    #[test]
    fn says_whether_the_level_exists() {
        let named = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        let schema = named(
            "FlowSchema",
            "s",
            json!({"priorityLevelConfiguration": {"name": "l"}}),
        );
        let level = named("PriorityLevelConfiguration", "l", json!({}));
        for (objects, status, words) in [
            (
                vec![(FLOW_SCHEMAS, schema.clone())],
                "True",
                "there is no such object",
            ),
            (
                vec![(FLOW_SCHEMAS, schema), (PRIORITY_LEVELS, level)],
                "False",
                "it exists",
            ),
        ] {
            let view = View::of(objects, &[]);
            let key = Target::new(FLOW_SCHEMAS, "", "s");
            let plan = FlowSchema.reconcile(&view, &key, Time::from_unix_seconds(1));
            let [Action::Update { object, .. }] = &plan.actions[..] else {
                panic!("{:?}", plan.actions)
            };
            let condition = &object["status"]["conditions"][0];
            assert_eq!(condition["status"].str(), status);
            assert!(condition["message"].str().ends_with(words));
        }
    }
}
