//! The objects that are written: sized like those of real clusters.

use std::fmt::Write;

/// Where pods of the bench are.
pub const PODS: &str = "/api/v1/namespaces/bench/pods";
/// Where config maps of the bench are.
pub const CONFIG_MAPS: &str = "/api/v1/namespaces/bench/configmaps";

/// A pod that no scheduler takes.
pub fn pod(at: usize) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p{at}","labels":{{"app":"web","n":"{at}"}}}},"spec":{{"schedulerName":"none","containers":[{{"name":"c","image":"nginx:1","env":[{{"name":"A","value":"b"}}],"resources":{{"requests":{{"cpu":"100m","memory":"64Mi"}}}},"ports":[{{"containerPort":80}}],"readinessProbe":{{"httpGet":{{"path":"/","port":80}}}}}}]}}}}"#
    )
}

/// A deployment that wants no pods; `at` changes its image.
pub fn deployment(at: usize) -> String {
    format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"d"}},"spec":{{"replicas":0,"paused":true,"selector":{{"matchLabels":{{"a":"b"}}}},"template":{{"metadata":{{"labels":{{"a":"b"}}}},"spec":{{"containers":[{{"name":"c","image":"nginx:{at}","ports":[{{"containerPort":80}}]}}]}}}}}}}}"#
    )
}

/// A config map of about a kilobyte.
pub fn config_map(at: usize) -> String {
    let text = "settings = true; ".repeat(50);
    format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"m{at}"}},"data":{{"file":"{text}"}}}}"#
    )
}

/// A custom resource definition whose schema has about this many bytes.
pub fn definition(at: usize, size: usize) -> String {
    let mut fields = String::new();
    let mut number = 0;
    while fields.len() < size {
        number += 1;
        let _ = write!(
            fields,
            r#"{}"section{number}":{{"type":"object","description":"What section {number} of the thing is about, in a sentence or two, as real definitions have it.","properties":{{"name":{{"type":"string","maxLength":63,"pattern":"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}},"replicas":{{"type":"integer","format":"int32","minimum":0,"default":1}},"mode":{{"type":"string","enum":["Fast","Safe"]}},"labels":{{"type":"object","additionalProperties":{{"type":"string"}}}},"ports":{{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["port"],"items":{{"type":"object","required":["port"],"properties":{{"port":{{"type":"integer"}},"target":{{"x-kubernetes-int-or-string":true}}}}}}}}}}}}"#,
            if number == 1 { "" } else { "," }
        );
    }
    format!(
        r#"{{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{{"name":"things{at}.bench.example.com"}},"spec":{{"group":"bench.example.com","scope":"Namespaced","names":{{"plural":"things{at}","singular":"thing{at}","kind":"Thing{at}","listKind":"Thing{at}List"}},"versions":[{{"name":"v1","served":true,"storage":true,"subresources":{{"status":{{}}}},"schema":{{"openAPIV3Schema":{{"type":"object","properties":{{"spec":{{"type":"object","properties":{{{fields}}}}},"status":{{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}}}}}}}}]}}}}"#
    )
}
