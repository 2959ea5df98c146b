//! A kind that a user adds behaves like a built-in one.

use crate::has;
use e2e_tests::Cluster;

const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.sea.example.com}
spec:
  group: sea.example.com
  names: {kind: Boat, plural: boats, singular: boat, shortNames: [bt]}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: Masts, type: integer, jsonPath: .spec.masts}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [hull]
            properties:
              hull: {type: string, enum: [wood, steel], description: What the boat is made of}
              masts: {type: integer, minimum: 1, default: 3}
          status:
            type: object
            x-kubernetes-preserve-unknown-fields: true
";

fn boat(spec: &str) -> String {
    format!("apiVersion: sea.example.com/v1\nkind: Boat\nmetadata: {{name: argo}}\nspec: {spec}\n")
}

pub fn kind_and_its_objects(cluster: &mut Cluster) {
    cluster.apply(DEFINITION);
    cluster
        .k("wait crd/boats.sea.example.com --for=condition=established --timeout=30s")
        .ok();
    has(
        &cluster.k("api-resources --api-group=sea.example.com").ok(),
        &["boats", "bt", "Boat"],
    );
    has(
        &cluster.k("explain boat.spec").ok(),
        &[
            "hull",
            "<string>",
            "masts",
            "<integer>",
            "What the boat is made of",
        ],
    );
    cluster.apply(&boat("{hull: wood}"));
    has(&cluster.k("get bt").ok(), &["NAME", "MASTS", "argo", "3"]);
    let refused = |spec: &str, words: &[&str]| {
        has(
            &cluster
                .kubectl_in(&["apply", "-f", "-"], &boat(spec))
                .refused(),
            words,
        );
    };
    refused(
        "{hull: paper}",
        &["spec.hull", "Unsupported value: \"paper\""],
    );
    refused("{masts: 2}", &["spec.hull", "Required value"]);
    refused(
        "{hull: wood, masts: 0}",
        &["spec.masts", "should be greater than or equal to 1"],
    );
    refused("{hull: wood, keel: 1}", &["unknown field \"spec.keel\""]);
    let status = r#"{"status":{"afloat":true},"spec":{"masts":9}}"#;
    cluster
        .kubectl(&[
            "patch",
            "boat",
            "argo",
            "--subresource=status",
            "--type=merge",
            "-p",
            status,
        ])
        .ok();
    let object = cluster.json("boat argo");
    // The status subresource leaves the spec alone.
    assert_eq!(
        (&object["status"]["afloat"], &object["spec"]["masts"]),
        (&true.into(), &3.into())
    );
    cluster
        .k("delete crd boats.sea.example.com --timeout=60s")
        .ok();
    // kubectl may still remember the kind; `--raw` asks the server itself.
    has(
        &cluster
            .k("get --raw /apis/sea.example.com/v1/boats")
            .refused(),
        &["the server could not find the requested resource"],
    );
}
