//! Tables of Services and slices with the service table each must give.

use env::{Frontend, Protocol, ServiceEntry, ServiceTable};
use kube_proxy::{EndpointSliceView, NodeView, ServiceView, compile, diff};
use serde_json::{Value, json};
use std::time::Duration;

fn service(spec: Value) -> Value {
    let mut full = json!({
        "clusterIP": "10.100.0.9", "clusterIPs": ["10.100.0.9"], "type": "ClusterIP",
        "ports": [{"name": "web", "protocol": "TCP", "port": 80, "targetPort": "http"}],
    });
    for (key, value) in spec.as_object().expect("object") {
        full[key] = value.clone();
    }
    json!({"kind": "Service", "metadata": {"namespace": "d", "name": "s"}, "spec": full})
}

fn slice(endpoints: Value) -> Value {
    json!({
        "metadata": {"namespace": "d", "name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}],
    })
}

/// An endpoint `10.0.0.<last>` on node n1 (below 10) or n2.
fn endpoint(last: u8, conditions: Value) -> Value {
    let node = if last < 10 { "n1" } else { "n2" };
    json!({"addresses": [format!("10.0.0.{last}")], "conditions": conditions, "nodeName": node})
}

fn table(services: &[Value], slices: &[Value]) -> ServiceTable {
    let services: Vec<ServiceView> = services
        .iter()
        .map(|s| serde_json::from_value(s.clone()).expect("service"))
        .collect();
    let slices: Vec<EndpointSliceView> = slices
        .iter()
        .map(|s| serde_json::from_value(s.clone()).expect("slice"))
        .collect();
    let node = NodeView {
        name: "n1".into(),
        zone: "z1".into(),
    };
    compile(&services, &slices, &node)
}

/// One line per frontend: `address:port -> last octets [flags]`.
fn text(table: &ServiceTable) -> Vec<String> {
    let line = |(f, e): (&Frontend, &ServiceEntry)| {
        let address = f.address.map_or("*".into(), |a| a.to_string());
        let ends: Vec<String> = e
            .backends
            .iter()
            .map(|b| format!("{}:{}", b.address.octets()[3], b.port))
            .collect();
        let masquerade = if e.masquerade { " masquerade" } else { "" };
        let sticky = e
            .affinity
            .map_or(String::new(), |a| format!(" {}s", a.as_secs()));
        format!(
            "{address}:{} -> {}{masquerade}{sticky}",
            f.port,
            ends.join(",")
        )
    };
    table.iter().map(line).collect()
}

fn check(spec: Value, endpoints: Value, expected: &[&str]) {
    let table = table(&[service(spec.clone())], &[slice(endpoints)]);
    assert_eq!(text(&table), expected, "{spec}");
}

#[test]
fn endpoints_are_chosen_by_state() {
    let terminating = |serving| json!({"ready": false, "serving": serving, "terminating": true});
    let ready = json!({"ready": true});
    let cases = [
        (
            json!([endpoint(1, ready.clone()), endpoint(11, json!({}))]),
            "1:8080,11:8080",
        ),
        (
            json!([endpoint(1, ready.clone()), endpoint(2, terminating(true))]),
            "1:8080",
        ),
        (
            json!([
                endpoint(2, terminating(true)),
                endpoint(3, terminating(false))
            ]),
            "2:8080",
        ),
        (
            json!([endpoint(3, json!({"ready": false, "serving": true}))]),
            "",
        ),
        (
            json!([endpoint(1, ready.clone()), endpoint(1, ready)]),
            "1:8080",
        ),
        (Value::Null, ""),
    ];
    for (endpoints, expected) in cases {
        check(
            json!({}),
            endpoints,
            &[&format!("10.100.0.9:80 -> {expected}")],
        );
    }
}

#[test]
fn every_way_in_has_its_frontend() {
    let spec = json!({
        "type": "LoadBalancer", "externalIPs": ["198.51.100.1"],
        "ports": [{"name": "web", "port": 80, "nodePort": 30080}],
    });
    let mut service = service(spec);
    service["status"] = json!({"loadBalancer": {"ingress": [
        {"ip": "198.51.100.2"}, {"ip": "198.51.100.3", "ipMode": "Proxy"}, {"hostname": "x"},
    ]}});
    let table = table(
        &[service],
        &[slice(json!([
            endpoint(1, json!({})),
            endpoint(11, json!({}))
        ]))],
    );
    let expected = [
        "*:30080 -> 1:8080,11:8080 masquerade",
        "10.100.0.9:80 -> 1:8080,11:8080",
        "198.51.100.1:80 -> 1:8080,11:8080 masquerade",
        "198.51.100.2:80 -> 1:8080,11:8080 masquerade",
    ];
    assert_eq!(text(&table), expected);
}

#[test]
fn local_policies_stay_on_the_node() {
    let ports = json!([{"name": "web", "port": 80, "nodePort": 30080}]);
    let both = json!([endpoint(1, json!({})), endpoint(11, json!({}))]);
    let external = json!({"type": "NodePort", "externalTrafficPolicy": "Local", "ports": ports});
    check(
        external,
        both.clone(),
        &["*:30080 -> 1:8080", "10.100.0.9:80 -> 1:8080,11:8080"],
    );
    check(
        json!({"internalTrafficPolicy": "Local"}),
        both,
        &["10.100.0.9:80 -> 1:8080"],
    );
    let leaving = json!({"ready": false, "serving": true, "terminating": true});
    let fallback = json!([endpoint(1, leaving), endpoint(11, json!({}))]);
    check(
        json!({"internalTrafficPolicy": "Local"}),
        fallback,
        &["10.100.0.9:80 -> 1:8080"],
    );
}

#[test]
fn hints_are_followed_only_if_complete_and_useful() {
    let hinted = |last, hints: Value| {
        let mut endpoint = endpoint(last, json!({}));
        endpoint["hints"] = hints;
        endpoint
    };
    let zone = |z: &str| json!({"forZones": [{"name": z}]});
    let node = |n: &str| json!({"forZones": [{"name": "z1"}], "forNodes": [{"name": n}]});
    let cases = [
        (
            json!([hinted(1, zone("z1")), hinted(11, zone("z2"))]),
            "1:8080",
        ),
        (
            json!([hinted(1, zone("z1")), hinted(11, Value::Null)]),
            "1:8080,11:8080",
        ),
        (
            json!([hinted(1, zone("z2")), hinted(11, zone("z2"))]),
            "1:8080,11:8080",
        ),
        (
            json!([hinted(1, node("n1")), hinted(11, node("n2"))]),
            "1:8080",
        ),
        (
            json!([hinted(1, node("n3")), hinted(11, node("n2"))]),
            "1:8080,11:8080",
        ),
    ];
    for (endpoints, expected) in cases {
        check(
            json!({}),
            endpoints,
            &[&format!("10.100.0.9:80 -> {expected}")],
        );
    }
}

#[test]
fn affinity_has_its_timeout() {
    let one = json!([endpoint(1, json!({}))]);
    let sticky = json!({"sessionAffinity": "ClientIP"});
    check(sticky, one.clone(), &["10.100.0.9:80 -> 1:8080 10800s"]);
    let timeout = json!({"clientIP": {"timeoutSeconds": 60}});
    let sticky = json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": timeout});
    check(sticky, one, &["10.100.0.9:80 -> 1:8080 60s"]);
}

#[test]
fn some_services_have_no_frontend() {
    let one = json!([endpoint(1, json!({}))]);
    for spec in [
        json!({"clusterIP": "None", "clusterIPs": ["None"]}),
        json!({"type": "ExternalName", "externalName": "x.example"}),
        json!({"clusterIP": "", "clusterIPs": []}),
        json!({"clusterIP": "fd00::1", "clusterIPs": ["fd00::1"]}),
    ] {
        check(spec, one.clone(), &[]);
    }
    let mut labelled = service(json!({}));
    labelled["metadata"]["labels"] = json!({"service.kubernetes.io/service-proxy-name": "other"});
    assert!(table(&[labelled], &[slice(one)]).is_empty());
}

#[test]
fn ports_match_by_name_and_protocol() {
    let ports = json!([
        {"name": "web", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"},
    ]);
    let mut slice = slice(json!([endpoint(1, json!({}))]));
    slice["ports"] = json!([
        {"name": "web", "port": 8080}, {"name": "dns", "port": 5353, "protocol": "UDP"},
        {"name": "dns", "port": 5354, "protocol": "TCP"},
    ]);
    let table = table(&[service(json!({"ports": ports}))], &[slice]);
    let expected = ["10.100.0.9:53 -> 1:5353", "10.100.0.9:80 -> 1:8080"];
    let mut lines = text(&table);
    lines.sort();
    assert_eq!(lines, expected);
    assert!(
        table
            .keys()
            .any(|f| f.protocol == Protocol::Udp && f.port == 53)
    );
}

#[test]
fn the_first_service_keeps_a_contested_address() {
    let spec =
        |ip: &str| json!({"clusterIP": ip, "clusterIPs": [ip], "externalIPs": ["198.51.100.1"]});
    let (mut first, second) = (service(spec("10.100.0.1")), service(spec("10.100.0.2")));
    first["metadata"]["name"] = json!("a");
    let table = table(&[second, first], &[slice(json!([endpoint(1, json!({}))]))]);
    let contested = "198.51.100.1:80 ->  masquerade";
    assert!(
        text(&table).iter().any(|l| l == contested),
        "{:?}",
        text(&table)
    );
}

#[test]
fn differences_lead_from_old_to_new() {
    let one = |last| {
        table(
            &[service(json!({}))],
            &[slice(json!([endpoint(last, json!({}))]))],
        )
    };
    let (a, b) = (one(1), one(2));
    assert_eq!(diff(&a, &a), Default::default());
    let change = diff(&a, &b);
    assert_eq!((change.set, change.remove), (b.clone(), vec![]));
    let gone = diff(&b, &ServiceTable::new());
    assert_eq!(
        (gone.set.len(), gone.remove),
        (0, b.keys().copied().collect())
    );
    let mut sticky = b.clone();
    for entry in sticky.values_mut() {
        entry.affinity = Some(Duration::from_secs(1));
    }
    assert_eq!(diff(&b, &sticky).set, sticky);
}

#[test]
fn null_means_absent() {
    let one = json!([{
        "addresses": ["10.0.0.1"], "conditions": null, "nodeName": null,
        "hints": {"forZones": null, "forNodes": null},
    }]);
    let nulls =
        json!({"externalIPs": null, "sessionAffinity": null, "sessionAffinityConfig": null});
    check(nulls, one, &["10.100.0.9:80 -> 1:8080"]);
}
