"""The platform as programs in Python meet it: the official client, its defaults left alone.

Run by `python.rs` with KUBECONFIG set and the client in PYTHONPATH; the only word says whether
containers are `real` or `simulated`. Knows nothing of the platform's code. Upstream counterpart:
the client's own `kubernetes/e2e_test`.
"""

import json
import sys
import time

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import stream

NAMESPACE = "python"
GROUP = "py.example.com"
# How long anything may take, seconds.
PATIENCE = 60

CUSTOM = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"snakes.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"plural": "snakes", "singular": "snake", "kind": "Snake"},
        "versions": [{
            "name": "v1",
            "served": True,
            "storage": True,
            "subresources": {
                "status": {},
                "scale": {"specReplicasPath": ".spec.length", "statusReplicasPath": ".status.length"},
            },
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {
                    "length": {"type": "integer", "minimum": 1},
                    "color": {"type": "string", "default": "green"},
                }},
                "status": {"type": "object", "properties": {"length": {"type": "integer"}}},
            }}},
        }],
    },
}


def refused(code, call, *words, **named):
    """The call must fail with this code; gives the server's Status."""
    try:
        call(*words, **named)
    except ApiException as error:
        assert error.status == code, (error.status, error.body)
        return json.loads(error.body)
    raise AssertionError(f"{call} should be refused with {code}")


def until(what, wanted):
    """Looks until something holds."""
    end = time.monotonic() + PATIENCE
    while True:
        found = wanted()
        if found:
            return found
        assert time.monotonic() < end, f"still not: {what}"
        time.sleep(0.1)


def config_map(name, **data):
    return {"metadata": {"name": name, "labels": {"of": "python"}}, "data": data}


def objects(core):
    """Create, read, patch, replace and delete something built in."""
    made = core.create_namespaced_config_map(NAMESPACE, config_map("a", one="1"))
    assert made.metadata.uid and made.metadata.creation_timestamp.tzinfo, made
    status = refused(409, core.create_namespaced_config_map, NAMESPACE, config_map("a"))
    assert status["reason"] == "AlreadyExists", status
    # A patch without a word about its kind: maps merge, lists are operations.
    patched = core.patch_namespaced_config_map("a", NAMESPACE, {"data": {"two": "2"}})
    assert patched.data == {"one": "1", "two": "2"}, patched
    steps = [{"op": "remove", "path": "/data/one"}]
    patched = core.patch_namespaced_config_map("a", NAMESPACE, steps)
    assert patched.data == {"two": "2"}, patched
    patched.data = {"three": "3"}
    assert core.replace_namespaced_config_map("a", NAMESPACE, patched).data == {"three": "3"}
    status = refused(409, core.replace_namespaced_config_map, "a", NAMESPACE, patched)
    assert status["reason"] == "Conflict", status
    assert core.delete_namespaced_config_map("a", NAMESPACE)["status"] == "Success"
    status = refused(404, core.read_namespaced_config_map, "a", NAMESPACE)
    assert status["details"] == {"name": "a", "kind": "configmaps"}, status


def pages(core):
    """A long list comes in parts."""
    for number in range(5):
        core.create_namespaced_config_map(NAMESPACE, config_map(f"page-{number}"))
    names, token, left = [], None, []
    while True:
        part = core.list_namespaced_config_map(
            NAMESPACE, label_selector="of=python", limit=2, _continue=token)
        names += [item.metadata.name for item in part.items]
        left.append(part.metadata.remaining_item_count)
        token = part.metadata._continue
        if not token:
            break
    assert names == [f"page-{number}" for number in range(5)], names
    # How much is left is not said where a selector decides.
    assert left == [None, None, None], left
    refused(400, core.list_namespaced_config_map, NAMESPACE, _continue="nonsense")
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="of=python")
    until("the collection is gone", lambda: not core.list_namespaced_config_map(
        NAMESPACE, label_selector="of=python").items)


def watching(core):
    """A watch goes on where another one stopped."""
    begin = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    core.create_namespaced_config_map(NAMESPACE, config_map("seen", a="1"))
    core.patch_namespaced_config_map("seen", NAMESPACE, {"data": {"a": "2"}})
    core.delete_namespaced_config_map("seen", NAMESPACE)

    def events(count, version):
        follow, found = watch.Watch(), []
        for event in follow.stream(core.list_namespaced_config_map, NAMESPACE,
                                   resource_version=version, timeout_seconds=PATIENCE):
            found.append((event["type"], event["object"].data["a"]))
            if len(found) == count:
                follow.stop()
        return found, follow.resource_version

    first, version = events(1, begin)
    rest, version = events(2, version)
    assert first == [("ADDED", "1")], first
    assert rest == [("MODIFIED", "2"), ("DELETED", "2")], rest
    # The server ends a watch in time, without an error.
    quiet = watch.Watch().stream(core.list_namespaced_secret, NAMESPACE,
                                resource_version=version, timeout_seconds=1)
    assert list(quiet) == []


def bare_bodies(api):
    """Bodies whose type nobody names are read as JSON, patches are not."""
    pool, host = api.rest_client.pool_manager, api.configuration.host
    url = f"{host}/api/v1/namespaces/{NAMESPACE}/configmaps"

    def send(method, path, body):
        text = body if isinstance(body, str) else json.dumps(body)
        answer = pool.request(method, url + path, body=text.encode(), headers={})
        return answer.status, json.loads(answer.data)

    body = {"apiVersion": "v1", "kind": "ConfigMap", **config_map("bare", a="1")}
    code, made = send("POST", "", body)
    assert code == 201 and made["data"] == {"a": "1"}, made
    body["data"] = {"a": "2"}
    code, put = send("PUT", "/bare", body)
    assert code == 200 and put["data"] == {"a": "2"}, put
    assert send("PATCH", "/bare", {"data": {"a": "3"}})[0] == 415
    # The walls of another house must not shine through: a precondition is read too.
    code, status = send("DELETE", "/bare", {"preconditions": {"uid": "other"}})
    assert code == 409, status
    assert send("DELETE", "/bare", {"kind": "DeleteOptions", "apiVersion": "v1"})[0] == 200


def scale(apps):
    """The scale subresource of a workload."""
    pod = {"containers": [{"name": "c", "image": "none"}]}
    body = {"metadata": {"name": "scaled"}, "spec": {
        "replicas": 0,
        "paused": True,
        "selector": {"matchLabels": {"app": "scaled"}},
        "template": {"metadata": {"labels": {"app": "scaled"}}, "spec": pod},
    }}
    apps.create_namespaced_deployment(NAMESPACE, body)
    found = apps.read_namespaced_deployment_scale("scaled", NAMESPACE)
    assert found.spec.replicas in (0, None) and found.status.selector == "app=scaled", found
    to_two = {"spec": {"replicas": 2}}
    patched = apps.patch_namespaced_deployment_scale("scaled", NAMESPACE, to_two)
    assert patched.spec.replicas == 2, patched
    assert apps.read_namespaced_deployment("scaled", NAMESPACE).spec.replicas == 2
    apps.delete_namespaced_deployment("scaled", NAMESPACE, propagation_policy="Background")


def custom(api):
    """A kind of one's own, by the client's untyped half."""
    kinds = client.ApiextensionsV1Api(api)
    kinds.create_custom_resource_definition(CUSTOM)

    def established():
        found = kinds.read_custom_resource_definition(CUSTOM["metadata"]["name"])
        conditions = found.status.conditions or []
        return any(one.type == "Established" and one.status == "True" for one in conditions)

    until("the kind is served", established)
    snakes, at = client.CustomObjectsApi(api), (GROUP, "v1", NAMESPACE, "snakes")
    body = {"apiVersion": f"{GROUP}/v1", "kind": "Snake", "metadata": {"name": "kaa"}, "spec": {"length": 3}}
    made = snakes.create_namespaced_custom_object(*at, body)
    assert made["spec"] == {"length": 3, "color": "green"}, made
    wrong = {**body, "metadata": {"name": "nagini"}, "spec": {"length": 0}}
    status = refused(422, snakes.create_namespaced_custom_object, *at, wrong)
    assert status["details"]["causes"][0]["field"] == "spec.length", status
    patched = snakes.patch_namespaced_custom_object(*at, "kaa", {"spec": {"color": None, "length": 4}})
    assert patched["spec"] == {"length": 4, "color": "green"}, patched
    steps = [{"op": "replace", "path": "/spec/color", "value": "brown"}]
    # Here the client takes every body for a merge patch.
    refused(400, snakes.patch_namespaced_custom_object, *at, "kaa", steps)
    patched = snakes.patch_namespaced_custom_object(
        *at, "kaa", steps, _content_type="application/json-patch+json")
    assert patched["spec"]["color"] == "brown", patched
    status = {"status": {"length": 4}, "spec": {"length": 9}}
    patched = snakes.patch_namespaced_custom_object_status(*at, "kaa", status)
    assert patched["status"] == {"length": 4} and patched["spec"]["length"] == 4, patched
    scaled = snakes.patch_namespaced_custom_object_scale(*at, "kaa", {"spec": {"replicas": 6}})
    assert scaled["kind"] == "Scale" and scaled["status"]["replicas"] == 4, scaled
    listed = snakes.list_namespaced_custom_object(*at, limit=1)
    assert [one["spec"]["length"] for one in listed["items"]] == [6], listed
    begin = listed["metadata"]["resourceVersion"]
    assert snakes.delete_namespaced_custom_object(*at, "kaa")["status"] == "Success"
    follow = watch.Watch()
    for event in follow.stream(snakes.list_namespaced_custom_object, *at,
                               resource_version=begin, timeout_seconds=PATIENCE):
        assert (event["type"], event["object"]["spec"]["length"]) == ("DELETED", 6), event
        follow.stop()


def untyped(api):
    """The dynamic client: discovery, server-side apply, and manifests as they are."""
    found = dynamic.DynamicClient(api)
    maps = found.resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", **config_map("applied", a="1", b="1")}
    apply = {"namespace": NAMESPACE, "field_manager": "first"}
    first = maps.server_side_apply(body=body, **apply)
    again = maps.server_side_apply(body=body, **apply)
    assert first.metadata.resourceVersion == again.metadata.resourceVersion
    body["data"] = {"a": "2"}
    status = refused(409, maps.server_side_apply, body=body, namespace=NAMESPACE, field_manager="second")
    causes = [(one["reason"], one["field"]) for one in status["details"]["causes"]]
    assert causes == [("FieldManagerConflict", ".data.a")], status
    forced = maps.server_side_apply(
        body=body, namespace=NAMESPACE, field_manager="second", force_conflicts=True)
    assert forced.data.to_dict() == {"a": "2", "b": "1"}, forced
    snakes = found.resources.get(api_version=f"{GROUP}/v1", kind="Snake")
    assert snakes.get(namespace=NAMESPACE).items == []
    manifest = {"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "listed"}, "stringData": {"a": "b"}},
        {"apiVersion": f"{GROUP}/v1", "kind": "Snake", "metadata": {"name": "listed"}, "spec": {"length": 1}},
    ]}
    for one in manifest["items"]:
        kind = found.resources.get(api_version=one["apiVersion"], kind=one["kind"])
        kind.create(body=one, namespace=NAMESPACE)
    utils.create_from_dict(api, {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "made"},
        "spec": {"ports": [{"port": 80}]}}, namespace=NAMESPACE)
    assert client.CoreV1Api(api).read_namespaced_secret("listed", NAMESPACE).data == {"a": "Yg=="}
    snakes.delete(name="listed", namespace=NAMESPACE)


def identity(api, core):
    """A service account's token is an identity with no more rights than it was given."""
    core.create_namespaced_service_account(NAMESPACE, {"metadata": {"name": "robot"}})
    asked = {"spec": {"expirationSeconds": 600, "audiences": None}}
    token = core.create_namespaced_service_account_token("robot", NAMESPACE, asked).status.token

    def with_token(text):
        settings = client.Configuration()
        settings.host = api.configuration.host
        settings.ssl_ca_cert = api.configuration.ssl_ca_cert
        settings.api_key = {"authorization": "Bearer " + text}
        return client.ApiClient(settings)

    robot = with_token(token)
    who = client.AuthenticationV1Api(robot).create_self_subject_review({})
    assert who.status.user_info.username == f"system:serviceaccount:{NAMESPACE}:robot", who
    status = refused(403, client.CoreV1Api(robot).list_namespaced_secret, NAMESPACE)
    assert "cannot list resource \"secrets\"" in status["message"], status
    refused(401, client.CoreV1Api(with_token("nonsense")).list_namespaced_secret, NAMESPACE)
    rights = client.RbacAuthorizationV1Api(api)
    rights.create_namespaced_role_binding(NAMESPACE, {
        "metadata": {"name": "robot"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": NAMESPACE}],
    })
    until("the right is given", lambda: client.AuthorizationV1Api(robot).create_self_subject_access_review(
        {"spec": {"resourceAttributes": {"namespace": NAMESPACE, "verb": "list", "resource": "secrets"}}}
    ).status.allowed)
    assert client.CoreV1Api(robot).list_namespaced_secret(NAMESPACE).items


def terminal(core):
    """Commands in a container, over a web socket."""
    core.create_namespaced_pod(NAMESPACE, {"metadata": {"name": "shell"}, "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "c", "image": "xebec/demo", "imagePullPolicy": "Never",
            "command": ["sh", "-c", "echo started; exec redis-server"]}],
    }})
    until("the pod runs", lambda: core.read_namespaced_pod("shell", NAMESPACE).status.phase == "Running")
    at = (core.connect_get_namespaced_pod_exec, "shell", NAMESPACE)
    said = stream(*at, command=["sh", "-c", "echo out"], stdout=True, stderr=True)
    assert said == "out\n", said
    line = stream(*at, command=["sh", "-c", "echo bad >&2; cat; exit 3"], stdin=True, stdout=True,
                  stderr=True, _preload_content=False)
    line.write_stdin("through\n")
    assert line.readline_stdout(timeout=PATIENCE) == "through"
    assert line.readline_stderr(timeout=PATIENCE) == "bad"
    line.close()
    ended = stream(*at, command=["sh", "-c", "exit 3"], stdout=True, stderr=True, _preload_content=False)
    ended.run_forever(timeout=PATIENCE)
    assert ended.returncode == 3, ended.returncode
    until("the log is there", lambda: "started" in core.read_namespaced_pod_log("shell", NAMESPACE))
    core.delete_namespaced_pod("shell", NAMESPACE, grace_period_seconds=0)


def main(containers):
    config.load_kube_config()
    api = client.ApiClient()
    core = client.CoreV1Api(api)
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    until("the namespace has its account", lambda: core.list_namespaced_service_account(NAMESPACE).items)
    steps = [
        ("objects", lambda: objects(core)),
        ("pages", lambda: pages(core)),
        ("watching", lambda: watching(core)),
        ("bare bodies", lambda: bare_bodies(api)),
        ("scale", lambda: scale(client.AppsV1Api(api))),
        ("custom", lambda: custom(api)),
        ("untyped", lambda: untyped(api)),
        ("identity", lambda: identity(api, core)),
    ]
    if containers == "real":
        steps.append(("terminal", lambda: terminal(core)))
    else:
        print("terminal: left out, it needs real containers")
    for name, step in steps:
        begin = time.monotonic()
        step()
        print(f"{name}: ok ({time.monotonic() - begin:.1f} s)", flush=True)
    client.ApiextensionsV1Api(api).delete_custom_resource_definition(CUSTOM["metadata"]["name"])
    core.delete_namespace(NAMESPACE)
    version = client.VersionApi(api).get_code()
    assert (version.major, version.minor) == ("1", "36"), version


if __name__ == "__main__":
    main(sys.argv[1])
