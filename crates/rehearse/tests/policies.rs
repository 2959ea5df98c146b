//! A policy's expressions are checked against the kinds they are about, and its status says what
//! does not fit.

use machinery::json;
use rehearse::{Cluster, ClusterPlan};
use std::time::Duration;

#[test]
fn a_policys_status_says_what_does_not_fit() {
    let cluster = Cluster::start(ClusterPlan::default()).unwrap();
    let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]});
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "p"},
        "spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "object.spec.replicas > '1'"}]},
    });
    cluster.apply(&policy).unwrap();
    cluster.run_for(Duration::from_secs(2));
    let policy = cluster
        .get(kinds::VALIDATING_ADMISSION_POLICIES, "", "p")
        .unwrap();
    let status = policy.to_value()["status"].clone();
    assert_eq!(status["observedGeneration"].as_i64(), Some(1));
    let warnings = status["typeChecking"]["expressionWarnings"].items();
    let [one] = warnings else {
        panic!("{status:?}")
    };
    assert_eq!(one["fieldRef"].str(), "spec.validations[0].expression");
    assert!(
        one["warning"]
            .str()
            .starts_with("apps/v1, Kind=Deployment: ERROR: ")
    );
}
