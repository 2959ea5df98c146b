//! Admission policies behind a real door over a simulated store: what they refuse and in which
//! words, what they warn of, and what they change.

use admission::{AdmissionConfig, MatchConditions, webhooks::Webhooks};
use auth::{TokenKey, User};
use env::Time;
use machinery::{Object, Status, Value, json};
use registry::{Call, Door, DoorConfig, Verb};
use sim_env::{DiskImage, DiskSpeed, Scripted, Sim, SimCallout, SimDisk};
use std::sync::Arc;
use store::{Store, StoreOptions};

const POLICIES: &str = kinds::VALIDATING_ADMISSION_POLICIES;
const BINDINGS: &str = kinds::VALIDATING_ADMISSION_POLICY_BINDINGS;
const MUTATING: &str = kinds::MUTATING_ADMISSION_POLICIES;
const MUTATING_BINDINGS: &str = kinds::MUTATING_ADMISSION_POLICY_BINDINGS;
const DEPLOYMENTS: &str = "deployments.apps";
const MAPS: &str = "configmaps";

struct Cluster {
    sim: Sim,
    door: Door,
    user: Arc<User>,
    outside: Arc<SimCallout>,
}

impl Cluster {
    fn start() -> Self {
        let sim = Sim::new(7, Time::from_unix_seconds(1_800_000_000));
        let disk = SimDisk::new(sim.fork("disk"), DiskSpeed::default(), DiskImage::default());
        let store = sim
            .block_on(Store::open(&sim.world(), disk, StoreOptions::default()))
            .unwrap();
        let outside = SimCallout::new(sim.fork("outside"));
        let conditions = Arc::new(MatchConditions::default());
        let door = Door::new(DoorConfig {
            world: sim.world(),
            store,
            catalogue: kinds::Catalogue::builtin(),
            admission: admission::chain(AdmissionConfig::default()),
            webhooks: Some(Arc::new(Webhooks::new(outside.clone(), Some(conditions)))),
            tokens: Arc::new(TokenKey::generate(
                &*sim.world().entropy,
                "https://kubernetes.default.svc",
            )),
        });
        let cluster = Self {
            sim,
            door,
            user: Arc::new(User::new("alice", &["system:masters"])),
            outside,
        };
        let labels = json!({"team": "a"});
        cluster.make("namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default", "labels": labels}}));
        cluster
    }

    fn call(&self, verb: Verb, storage: &str, object: Value) -> Call {
        let (namespace, name) = (object.namespace().to_owned(), object.name().to_owned());
        let name = if verb == Verb::Create { "" } else { &name };
        self.door
            .component_call(&self.user, verb, storage, &namespace, name)
            .unwrap()
            .with_object(object)
    }

    fn run(&self, call: Call) -> Result<Arc<Object>, Status> {
        let reply = self.sim.block_on(self.door.call(call));
        reply.map(|reply| reply.object().expect("an object is answered").clone())
    }

    fn create(&self, storage: &str, object: Value) -> Result<Arc<Object>, Status> {
        self.run(self.call(Verb::Create, storage, object))
    }

    fn make(&self, storage: &str, object: Value) -> Arc<Object> {
        self.create(storage, object).unwrap()
    }

    fn refused(&self, storage: &str, object: Value) -> Status {
        let made = self.create(storage, object);
        made.map(|made| made.to_value()).unwrap_err()
    }

    /// A policy called `p` about deployments, bound by `b`.
    fn policy(&self, spec: Value, binding: Value) {
        self.make(POLICIES, policy("p", "deployments", "apps", spec));
        let mut of = json!({"policyName": "p", "validationActions": ["Deny"]});
        overlay(&mut of, &binding);
        self.make(BINDINGS, json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "b"}, "spec": of}));
    }

    fn mutating(&self, name: &str, spec: Value) {
        let mut policy = policy(
            name,
            "configmaps",
            "",
            json!({"reinvocationPolicy": "Never"}),
        );
        policy["kind"] = "MutatingAdmissionPolicy".into();
        policy["spec"]["matchConstraints"]["resourceRules"] = json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}]);
        overlay(&mut policy["spec"], &spec);
        self.make(MUTATING, policy);
        self.make(MUTATING_BINDINGS, json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name}, "spec": {"policyName": name}}));
    }
}

fn overlay(target: &mut Value, change: &Value) {
    for (field, value) in change.entries() {
        target[field.as_str()] = value.clone();
    }
}

fn policy(name: &str, resource: &str, group: &str, spec: Value) -> Value {
    let rule = json!({"apiGroups": [group], "apiVersions": ["v1"], "operations": ["*"], "resources": [resource]});
    let mut all = json!({"matchConstraints": {"resourceRules": [rule]}});
    overlay(&mut all, &spec);
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": all})
}

fn checks(expression: &str) -> Value {
    json!({"validations": [{"expression": expression}]})
}

fn deployment(replicas: i64) -> Value {
    let labels = json!({"app": "a"});
    let containers = json!([{"name": "c", "image": "nginx"}]);
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": &labels}, "template": {"metadata": {"labels": &labels}, "spec": {"containers": containers}}},
    })
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": {"k": "v", "maxReplicas": "2"}})
}

#[test]
fn denials_say_which_expression() {
    let cluster = Cluster::start();
    cluster.policy(checks("object.spec.replicas > 1"), json!({}));
    let status = cluster.refused(DEPLOYMENTS, deployment(1));
    let why = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression: object.spec.replicas > 1";
    assert_eq!(
        status.message(),
        format!("deployments.apps \"d\" is forbidden: {why}")
    );
    assert_eq!(status.code(), 422);
    let status = status.to_value();
    assert_eq!(status["reason"].str(), "Invalid");
    assert_eq!(status["details"]["causes"], json!([{"message": why}]));
    cluster.make(DEPLOYMENTS, deployment(2));
}

#[test]
fn messages_and_reasons_are_the_policys() {
    for (validation, message, code) in [
        (json!({"message": " no ", "reason": "Forbidden"}), "no", 403),
        (
            json!({"messageExpression": "'has ' + string(object.spec.replicas)", "message": "x"}),
            "has 1",
            422,
        ),
        (
            json!({"messageExpression": "string(object.spec.nothing)", "message": "fallback"}),
            "fallback",
            422,
        ),
        (
            json!({"messageExpression": "'a\\nb'", "reason": "RequestEntityTooLarge"}),
            "failed expression: object.spec.replicas > 1",
            413,
        ),
    ] {
        let cluster = Cluster::start();
        let mut one = json!({"expression": "object.spec.replicas > 1"});
        overlay(&mut one, &validation);
        cluster.policy(json!({"validations": [one]}), json!({}));
        let status = cluster.refused(DEPLOYMENTS, deployment(1));
        assert!(
            status
                .message()
                .ends_with(&format!("denied request: {message}")),
            "{}",
            status.message()
        );
        assert_eq!(status.code(), code);
    }
}

#[test]
fn variables_are_composed_and_lazy() {
    let cluster = Cluster::start();
    let variables = json!([
        {"name": "n", "expression": "object.spec.replicas"},
        {"name": "even", "expression": "variables.n % 2 == 0"},
        {"name": "broken", "expression": "object.nothing.here"},
    ]);
    let validations = json!([
        {"expression": "variables.even || variables.n > 100 && variables.broken"},
    ]);
    cluster.policy(
        json!({"variables": variables, "validations": validations}),
        json!({}),
    );
    cluster.make(DEPLOYMENTS, deployment(2));
    let named = |replicas: i64| {
        let mut other = deployment(replicas);
        other["metadata"]["name"] = "e".into();
        other
    };
    let status = cluster.refused(DEPLOYMENTS, named(3));
    assert!(
        status
            .message()
            .contains("failed expression: variables.even"),
        "{}",
        status.message()
    );
    let status = cluster.refused(DEPLOYMENTS, named(101));
    assert!(
        status.message().ends_with("resulted in error: composited variable \"broken\" fails to evaluate: no such key: nothing"),
        "{}",
        status.message()
    );
}

#[test]
fn parameters_come_from_the_binding() {
    let cluster = Cluster::start();
    let mut spec = checks("params != null && object.spec.replicas <= int(params.data.maxReplicas)");
    spec["paramKind"] = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    let reference = json!({"name": "limits", "parameterNotFoundAction": "Deny"});
    cluster.policy(spec, json!({"paramRef": reference}));
    let status = cluster.refused(DEPLOYMENTS, deployment(1));
    assert!(
        status.message().ends_with("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"),
        "{}",
        status.message()
    );
    cluster.make(MAPS, map("limits"));
    let status = cluster.refused(DEPLOYMENTS, deployment(3));
    assert!(
        status
            .message()
            .contains("failed expression: params != null")
    );
    cluster.make(DEPLOYMENTS, deployment(2));
}

#[test]
fn parameters_are_selected_or_may_be_absent() {
    let cluster = Cluster::start();
    let mut spec = checks("object.spec.replicas <= int(params.data.maxReplicas)");
    spec["paramKind"] = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    let selector = json!({"matchLabels": {"limits": "yes"}});
    let reference = json!({"selector": selector, "parameterNotFoundAction": "Allow"});
    cluster.policy(spec, json!({"paramRef": reference}));
    cluster.make(DEPLOYMENTS, deployment(9));
    let mut limits = map("limits");
    limits["metadata"]["labels"] = json!({"limits": "yes"});
    cluster.make(MAPS, limits);
    let mut other = deployment(9);
    other["metadata"]["name"] = "e".into();
    assert!(
        cluster
            .refused(DEPLOYMENTS, other)
            .message()
            .contains("with binding 'b'")
    );
}

#[test]
fn unknown_kinds_of_parameters_are_told() {
    let cluster = Cluster::start();
    let mut spec = checks("true");
    spec["paramKind"] = json!({"apiVersion": "rules.test/v1", "kind": "Limit"});
    let reference = json!({"name": "x", "parameterNotFoundAction": "Deny"});
    cluster.policy(spec, json!({"paramRef": reference}));
    let status = cluster.refused(DEPLOYMENTS, deployment(1));
    assert!(
        status.message().ends_with("ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: failed to find resource referenced by paramKind: 'rules.test/v1, Kind=Limit'"),
        "{}",
        status.message()
    );
}

#[test]
fn warnings_do_not_refuse() {
    let cluster = Cluster::start();
    let actions = json!(["Warn", "Audit"]);
    cluster.policy(
        checks("object.spec.replicas > 1"),
        json!({"validationActions": actions}),
    );
    let call = cluster.call(Verb::Create, DEPLOYMENTS, deployment(1));
    let reply = cluster.sim.block_on(cluster.door.call(call)).unwrap();

    assert_eq!(
        reply.warnings,
        [
            "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': failed expression: object.spec.replicas > 1"
        ]
    );
}

#[test]
fn failures_refuse_or_are_ignored() {
    // A list of a million by itself costs more than one evaluation may.
    let expensive = "[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, a+b+c+d+e+f > 0))))))";
    for (expression, wanted) in [
        (
            "object.spec.nothing == 1".to_owned(),
            "expression 'object.spec.nothing == 1' resulted in error: no such key: nothing"
                .to_owned(),
        ),
        (
            expensive.to_owned(),
            format!(
                "expression '{expensive}' resulted in error: operation cancelled: actual cost limit exceeded"
            ),
        ),
    ] {
        let failing = |failure: &str| {
            let cluster = Cluster::start();
            let mut spec = checks(&expression);
            spec["failurePolicy"] = failure.into();
            cluster.policy(spec, json!({}));
            cluster
                .create(DEPLOYMENTS, deployment(1))
                .map(|made| made.to_value())
        };
        let status = failing("Fail").unwrap_err();
        let wanted =
            format!("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: {wanted}");
        assert!(status.message().ends_with(&wanted), "{}", status.message());
        assert!(failing("Ignore").is_ok());
    }
}

#[test]
fn selectors_conditions_and_exclusions_choose() {
    let exclude = json!([{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"], "resourceNames": ["d"]}]);
    let rule = json!([{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}]);
    for (spec, binding, refused) in [
        (json!({}), json!({}), true),
        (
            json!({"matchConditions": [{"name": "c", "expression": "request.userInfo.username != 'alice'"}]}),
            json!({}),
            false,
        ),
        (
            json!({"matchConditions": [{"name": "c", "expression": "object.spec.nothing"}]}),
            json!({}),
            true,
        ),
        (
            json!({"matchConstraints": {"resourceRules": &rule, "excludeResourceRules": exclude}}),
            json!({}),
            false,
        ),
        (
            json!({"matchConstraints": {"resourceRules": &rule, "namespaceSelector": {"matchLabels": {"team": "b"}}}}),
            json!({}),
            false,
        ),
        (
            json!({}),
            json!({"matchResources": {"objectSelector": {"matchLabels": {"a": "b"}}}}),
            false,
        ),
        (
            json!({}),
            json!({"matchResources": {"namespaceSelector": {"matchLabels": {"team": "a"}}}}),
            true,
        ),
    ] {
        let cluster = Cluster::start();
        let mut all = checks("false");
        overlay(&mut all, &spec);
        // An expression of no type that is a condition is refused with the policy.
        if spec["matchConditions"]
            .items()
            .first()
            .is_some_and(|one| one["expression"].str() == "object.spec.nothing")
        {
            let status = cluster.refused(POLICIES, policy("p", "deployments", "apps", all));
            assert!(
                status
                    .message()
                    .contains("must evaluate to bool but got dyn"),
                "{}",
                status.message()
            );
            continue;
        }
        cluster.policy(all, binding.clone());
        let made = cluster.create(DEPLOYMENTS, deployment(1));
        assert_eq!(made.is_err(), refused, "{spec:?} {binding:?}");
    }
}

#[test]
fn expressions_see_namespace_request_and_authorizer() {
    let cluster = Cluster::start();
    let all = [
        "namespaceObject.metadata.labels.team == 'a'",
        "request.operation == 'CREATE' && request.namespace == 'default' && request.resource.resource == 'deployments'",
        "request.kind.kind == 'Deployment' && 'system:masters' in request.userInfo.groups",
        "authorizer.group('apps').resource('deployments').namespace('default').check('create').allowed()",
        "!authorizer.serviceAccount('default', 'nobody').group('').resource('secrets').namespace('default').check('get').allowed()",
        "authorizer.requestResource.check('create').allowed()",
        "oldObject == null && !has(object.metadata.uid)",
        "object.spec.template.spec.containers.all(c, c.image.startsWith('nginx'))",
    ];
    let validations: Vec<Value> = all.iter().map(|one| json!({"expression": *one})).collect();
    cluster.policy(json!({"validations": validations}), json!({}));
    cluster.make(DEPLOYMENTS, deployment(1));
}

#[test]
fn a_guard_as_gateway_apis_keeps_definitions() {
    let cluster = Cluster::start();
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["*"]});
    let conditions = json!([{"name": "only-gateway", "expression": "object.metadata.name.endsWith('.gateway.networking.k8s.io')"}]);
    let spec = json!({
        "failurePolicy": "Fail", "matchConstraints": {"resourceRules": [rule]}, "matchConditions": conditions,
        "validations": [{
            "expression": "object.metadata.?annotations[?'gateway.networking.k8s.io/bundle-version'].orValue('v1.5.0').matches('v1.[0-4].\\\\d+') == false",
            "message": "Installing CRDs with version before v1.5.0 is prohibited by default.",
            "reason": "Invalid",
        }],
    });
    cluster.policy(spec, json!({"matchResources": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["*"], "operations": ["*"], "resources": ["configmaps"]}]}}));
    cluster.make(MAPS, map("free"));
    cluster.make(MAPS, map("new.gateway.networking.k8s.io"));
    let mut old = map("old.gateway.networking.k8s.io");
    old["metadata"]["annotations"] = json!({"gateway.networking.k8s.io/bundle-version": "v1.4.1"});
    let status = cluster.refused(MAPS, old);
    assert!(
        status
            .message()
            .ends_with("before v1.5.0 is prohibited by default.")
    );
}

#[test]
fn what_is_wrong_with_policies_is_said_where_it_is() {
    let cluster = Cluster::start();
    for (spec, field, message) in [
        (
            checks("object.spec.replicas >"),
            "spec.validations[0].expression",
            "Invalid value: \"object.spec.replicas >\": compilation failed: ERROR: <input>:1:23: Syntax error",
        ),
        (
            checks("request.nothing == 1"),
            "spec.validations[0].expression",
            "undefined field 'nothing'\n | request.nothing == 1\n | .......^",
        ),
        (
            checks("1 + 1"),
            "spec.validations[0].expression",
            "Invalid value: \"1 + 1\": must evaluate to bool but got int",
        ),
        (
            checks("params.x == 1"),
            "spec.validations[0].expression",
            "undeclared reference to 'params'",
        ),
        (
            json!({"validations": [{"expression": "true", "messageExpression": "1"}]}),
            "spec.validations[0].messageExpression",
            "must evaluate to string but got int",
        ),
        (
            json!({"validations": [{"expression": "true", "reason": "Odd"}]}),
            "spec.validations[0].reason",
            "Unsupported value: \"Odd\": supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\"",
        ),
        (
            json!({"variables": [{"name": "a", "expression": "variables.b"}, {"name": "b", "expression": "1"}], "validations": [{"expression": "true"}]}),
            "spec.variables[0].expression",
            "undefined field 'b'",
        ),
        (
            json!({"auditAnnotations": [{"key": "k", "valueExpression": "1"}]}),
            "spec.auditAnnotations[0].valueExpression",
            "must evaluate to one of [string null_type] but got int",
        ),
        (
            json!({"matchConstraints": Value::Null, "validations": [{"expression": "true"}]}),
            "spec.matchConstraints",
            "Required value",
        ),
        (
            json!({}),
            "spec.validations",
            "validations or auditAnnotations must contain at least one item",
        ),
    ] {
        let status = cluster.refused(POLICIES, policy("p", "deployments", "apps", spec));
        let cause = status.causes().iter().find(|cause| cause.field == field);
        let cause = cause.unwrap_or_else(|| panic!("{field}: {}", status.message()));
        assert!(cause.message.contains(message), "{}", cause.message);
    }
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny", "Warn"]}});
    let status = cluster.refused(BINDINGS, binding);
    assert!(
        status
            .message()
            .contains("must not contain both Deny and Warn"),
        "{}",
        status.message()
    );
}

#[test]
fn configurations_are_merged_and_operations_applied() {
    let cluster = Cluster::start();
    let apply = "Object{metadata: Object.metadata{labels: {'owner': request.userInfo.username}}, data: {'added': variables.text}}";
    let patch = "[JSONPatch{op: 'test', path: '/data/k', value: 'v'}, JSONPatch{op: 'add', path: '/metadata/annotations', value: {'a/b': 'c'}}, JSONPatch{op: 'replace', path: '/metadata/annotations/' + jsonpatch.escapeKey('a/b'), value: 'd'}]";
    let skipped = "[JSONPatch{op: 'test', path: '/data/k', value: 'other'}, JSONPatch{op: 'remove', path: '/data'}]";
    cluster.mutating(
        "m",
        json!({
            "variables": [{"name": "text", "expression": "object.data.k + '!'"}],
            "matchConditions": [{"name": "c", "expression": "object.metadata.name != 'skip'"}],
            "mutations": [
                {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": apply}},
                {"patchType": "JSONPatch", "jsonPatch": {"expression": patch}},
                {"patchType": "JSONPatch", "jsonPatch": {"expression": skipped}},
            ],
        }),
    );
    let made = cluster.make(MAPS, map("a")).to_value();
    assert_eq!(made["metadata"]["labels"], json!({"owner": "alice"}));
    assert_eq!(made["metadata"]["annotations"], json!({"a/b": "d"}));
    assert_eq!(
        made["data"],
        json!({"k": "v", "maxReplicas": "2", "added": "v!"})
    );
    assert!(!made["metadata"]["uid"].str().is_empty());
    assert!(cluster.make(MAPS, map("skip")).at("data.added").is_null());
}

#[test]
fn mutations_that_cannot_be_made_refuse() {
    for (expression, wanted) in [
        (
            "Object{nothing: 1}",
            "error applying patch: failed to convert patch object to typed object: .nothing: field not declared in schema",
        ),
        (
            "Object{metadata: Object.wrong{}}",
            "type mismatch: unexpected type name \"Object.wrong\", expected \"Object.metadata\", which matches field name path from root Object type",
        ),
        (
            "Object{metadata: Object.metadata{name: object.data.nothing}}",
            "resulted in error: no such key: nothing",
        ),
    ] {
        let cluster = Cluster::start();
        cluster.mutating("m", json!({"mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]}));
        let status = cluster.refused(MAPS, map("a"));
        assert!(
            status
                .message()
                .starts_with("policy 'm' with binding 'm' denied request: "),
            "{}",
            status.message()
        );
        assert!(status.message().ends_with(wanted), "{}", status.message());
        assert_eq!(status.code(), 403);
        let lenient = Cluster::start();
        lenient.mutating("m", json!({"failurePolicy": "Ignore", "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]}));
        lenient.make(MAPS, map("a"));
    }
}

#[test]
fn policies_are_invoked_again_when_others_changed_the_object() {
    let cluster = Cluster::start();
    let count = |key: &str| format!("Object{{data: {{'{key}': string(size(object.data))}}}}");
    let mutation = |key: &str| json!([{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": count(key)}}]);
    cluster.mutating(
        "a",
        json!({"reinvocationPolicy": "IfNeeded", "mutations": mutation("a")}),
    );
    cluster.mutating("b", json!({"mutations": mutation("b")}));
    let made = cluster.make(MAPS, map("x")).to_value();
    assert_eq!(
        made["data"],
        json!({"k": "v", "maxReplicas": "2", "a": "4", "b": "3"})
    );
}

#[test]
fn webhooks_have_conditions() {
    let cluster = Cluster::start();
    let url = "https://hook.test/check";
    let condition = |name: &str, expression: &str| json!({"name": name, "expression": expression});
    let hook = json!({
        "name": "a.hooks.test", "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": {"url": url},
        "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        "matchConditions": [condition("named", "object.metadata.name.startsWith('w')"), condition("who", "request.userInfo.username == 'alice'")],
    });
    let configuration = |hook: Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "a"}, "webhooks": [hook]});
    let mut wrong = hook.clone();
    wrong["matchConditions"] = json!([condition("bad", "object.x +")]);
    let storage = kinds::VALIDATING_WEBHOOK_CONFIGURATIONS;
    let status = cluster.refused(storage, configuration(wrong));
    assert!(status.message().contains("webhooks[0].matchConditions[0].expression: Invalid value: \"object.x +\": compilation failed: ERROR: <input>:1:"), "{}", status.message());
    cluster.make(storage, configuration(hook));
    cluster
        .outside
        .serve(url, |_| Scripted::status(500, "oops"));
    cluster.make(MAPS, map("free"));
    assert!(cluster.outside.take_asked().is_empty());
    cluster.refused(MAPS, map("watched"));
    assert_eq!(cluster.outside.take_asked().len(), 1);
}
