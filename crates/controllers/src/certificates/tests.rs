//! Which requests are approved, signed, refused, and when they go.

use super::*;

/// A request's text is its subject and alternative names here: `CN|O,O|dns|ip`.
struct Keys {
    granted: &'static str,
}

impl Trust for Keys {
    fn read(&self, request: &str) -> Result<Asked, String> {
        let parts: Vec<&str> = request.split('|').collect();
        let [name, organizations, dns_names, addresses] = parts[..] else {
            return Err("no request".into());
        };
        Ok(Asked {
            common_name: name.into(),
            organizations: organizations.split(',').map(str::to_owned).collect(),
            dns_names: dns_names.len(),
            addresses: addresses.len(),
            ..Asked::default()
        })
    }

    fn issue(&self, spec: &Value, _: Time) -> Result<String, String> {
        Ok(format!("signed {}", spec["request"].str()))
    }

    fn end(&self, certificate: &str) -> Option<Time> {
        certificate.parse().ok().map(Time::from_unix_seconds)
    }

    fn may_create(&self, _: &Value, subresource: &str) -> bool {
        subresource == self.granted
    }

    fn token(&self, _: &Object, _: &Object) -> String {
        unreachable!("certificates need no tokens")
    }
}

const NODE: &str = "system:node:a|system:nodes||";
const CLIENT_USES: [&str; 2] = ["digital signature", "client auth"];

fn asking(signer: &str, text: &str, usages: &[&str]) -> Value {
    let usages: Vec<Value> = usages.iter().map(|one| Value::from(*one)).collect();
    json!({"metadata": {"name": "r", "uid": "u", "creationTimestamp": "1970-01-01T00:00:00Z"}, "status": {},
        "spec": {"signerName": signer, "request": text, "usages": usages, "username": "system:node:a"}})
}

fn conditions(mut request: Value, kinds: &[&str]) -> Value {
    let all: Vec<Value> = kinds
        .iter()
        .map(|kind| json!({"type": *kind, "status": "True", "lastUpdateTime": "1970-01-01T00:00:00Z"}))
        .collect();
    request["status"]["conditions"] = all.into();
    request
}

fn plan(controller: &dyn Controller, request: Value, seconds: u64) -> Plan {
    let view = View::of([(CERTIFICATE_REQUESTS, request)], &[]);
    let key = Target::new(CERTIFICATE_REQUESTS, "", "r");
    controller.reconcile(&view, &key, Time::from_unix_seconds(seconds))
}

/// The status a plan writes.
fn written(plan: &Plan) -> Value {
    match plan.actions.as_slice() {
        [Action::Update { object, .. }] => object["status"].clone(),
        _ => Value::Null,
    }
}

#[test]
fn nodes_are_approved_by_right() {
    let other = "system:node:b|system:nodes||";
    for (granted, signer, text, approved) in [
        ("selfnodeclient", KUBELET_CLIENT, NODE, true),
        ("nodeclient", KUBELET_CLIENT, NODE, true),
        ("nodeclient", KUBELET_CLIENT, other, true),
        ("selfnodeclient", KUBELET_CLIENT, other, false),
        ("none", KUBELET_CLIENT, NODE, false),
        ("nodeclient", CLIENT, NODE, false),
        ("nodeclient", KUBELET_CLIENT, "system:node:a|other||", false),
        ("nodeclient", KUBELET_CLIENT, "nonsense", false),
    ] {
        let approver = Approver {
            trust: Arc::new(Keys { granted }),
        };
        let made = plan(&approver, asking(signer, text, &CLIENT_USES), 5);
        let first = written(&made)["conditions"][0]["type"].str() == "Approved";
        assert_eq!(first, approved, "{granted} {signer} {text}");
    }
}

#[test]
fn signers_check_what_they_sign() {
    let serving = ["digital signature", "key encipherment", "server auth"];
    let serving: &[&str] = &serving;
    let plain: &[&str] = &CLIENT_USES;
    for (signer, text, usages, failure) in [
        (CLIENT, "ann|dev||", plain, ""),
        (
            CLIENT,
            "ann|dev||",
            serving,
            "invalid usage for client certificate: server auth",
        ),
        (
            CLIENT,
            "ann|dev||",
            &plain[..1],
            "missing required usage for client certificate: client auth",
        ),
        (KUBELET_CLIENT, NODE, plain, ""),
        (
            KUBELET_CLIENT,
            "a|system:nodes||",
            plain,
            "subject common name does not begin with system:node:",
        ),
        (
            KUBELET_CLIENT,
            "system:node:a|system:nodes|d|",
            plain,
            "DNS subjectAltNames are not allowed",
        ),
        (
            KUBELET_CLIENT,
            NODE,
            serving,
            "usages did not match [client auth digital signature key encipherment]",
        ),
        (
            KUBELET_SERVING,
            "system:node:a|system:nodes|d|",
            serving,
            "",
        ),
        (
            KUBELET_SERVING,
            NODE,
            serving,
            "DNS or IP subjectAltName is required",
        ),
        (
            KUBELET_SERVING,
            "system:node:a|x|d|",
            serving,
            "subject organization is not system:nodes",
        ),
        (LEGACY, "whoever|x||", serving, ""),
    ] {
        let keys = Arc::new(Keys { granted: "" });
        let request = conditions(asking(signer, text, usages), &["Approved"]);
        let status = written(&plan(&Signer { trust: keys }, request, 5));
        assert_eq!(
            status["conditions"][1]["message"].str(),
            failure,
            "{signer} {text}"
        );
        let signed = status["certificate"].str() == format!("signed {text}");
        assert_eq!(signed, failure.is_empty(), "{signer} {text}");
    }
}

#[test]
fn only_approved_requests_of_known_signers_are_signed() {
    for (signer, kinds) in [
        (CLIENT, vec![]),
        (CLIENT, vec!["Denied"]),
        (CLIENT, vec!["Approved", "Denied"]),
        (CLIENT, vec!["Approved", "Failed"]),
        ("example.com/own", vec!["Approved"]),
    ] {
        let keys = Arc::new(Keys { granted: "" });
        let request = conditions(asking(signer, "ann|dev||", &CLIENT_USES), &kinds);
        let made = plan(&Signer { trust: keys }, request, 5);
        assert_eq!(made, Plan::nothing(), "{signer} {kinds:?}");
    }
}

#[test]
fn requests_go_when_they_are_done_with() {
    for (kinds, certificate, kept) in [
        (vec![], "", 24 * 3600),
        (vec!["Approved"], "", 24 * 3600),
        (vec!["Approved"], "unreadable", 3600),
        (vec!["Approved"], "600", 600),
        (vec!["Denied"], "", 3600),
        (vec!["Failed"], "", 3600),
    ] {
        let cleaner = Cleaner {
            trust: Arc::new(Keys { granted: "" }),
        };
        let mut request = asking(CLIENT, "ann|dev||", &CLIENT_USES);
        if !kinds.is_empty() {
            request = conditions(request, &kinds);
        }
        request["status"]["certificate"] = certificate.into();
        let early = plan(&cleaner, request.clone(), kept);
        let again = Time::from_unix_seconds(kept + 1);
        assert_eq!(
            (early.actions.len(), early.again_at),
            (0, Some(again)),
            "{kinds:?}"
        );
        assert_eq!(
            plan(&cleaner, request, kept + 1).actions.len(),
            1,
            "{kinds:?}"
        );
    }
}
