//! Questions and answers of a small cluster, as the Kubernetes DNS specification wants them.

use dns::{EndpointSliceView, Outcome, RecordType, ServiceView, Zone, answer_tcp, answer_udp};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RecordType as WireType},
};
use serde_json::{Value, json};

fn service(zone: &mut Zone, name: &str, spec: Value) {
    let object = json!({"metadata": {"namespace": "shop", "name": name}, "spec": spec});
    let service: ServiceView = serde_json::from_value(object).expect("service");
    zone.set_service(service);
}

fn slice(zone: &mut Zone, service: &str, endpoints: Value) {
    let labels = json!({"kubernetes.io/service-name": service});
    let meta = json!({"namespace": "shop", "name": format!("{service}-1"), "labels": labels});
    let ports = json!([{"name": "web", "port": 8080, "protocol": "TCP"}, {"name": "q", "port": 9, "protocol": "UDP"}]);
    let object =
        json!({"metadata": meta, "addressType": "IPv4", "endpoints": endpoints, "ports": ports});
    let slice: EndpointSliceView = serde_json::from_value(object).expect("slice");
    zone.set_slice(slice);
}

fn zone() -> Zone {
    let mut zone = Zone::new("cluster.local.");
    zone.set_namespace("empty");
    let ports = json!([
        {"name": "web", "port": 80, "protocol": "TCP"}, {"name": "q", "port": 53, "protocol": "UDP"},
    ]);
    let cart = json!({"clusterIP": "10.100.0.7", "clusterIPs": ["10.100.0.7"], "ports": ports});
    service(&mut zone, "cart", cart);
    slice(&mut zone, "cart", json!([{"addresses": ["10.0.1.9"]}]));
    service(
        &mut zone,
        "db",
        json!({"clusterIP": "None", "ports": ports}),
    );
    slice(
        &mut zone,
        "db",
        json!([
            {"addresses": ["10.0.1.1"], "hostname": "db-0"},
            {"addresses": ["10.0.1.2"], "hostname": "db-1", "conditions": {"ready": true}},
            {"addresses": ["10.0.1.3"], "hostname": "db-2", "conditions": {"ready": false}},
            {"addresses": ["10.0.1.4"]},
        ]),
    );
    service(&mut zone, "idle", json!({"clusterIP": "None"}));
    service(
        &mut zone,
        "out",
        json!({"type": "ExternalName", "externalName": "DB.example.com."}),
    );
    let alias = json!({"type": "ExternalName", "externalName": "cart.shop.svc.cluster.local"});
    service(&mut zone, "alias", alias);
    let this = json!({"type": "ExternalName", "externalName": "loop.shop.svc.cluster.local"});
    service(&mut zone, "loop", this);
    zone
}

/// Everything an answer holds, as text: outcome, then records.
fn ask(zone: &Zone, name: &str, kind: RecordType) -> String {
    let answer = zone.resolve(name, kind);
    let records: Vec<String> = answer
        .records
        .iter()
        .map(|(_, d)| format!("{d:?}"))
        .collect();
    match answer.outcome {
        Outcome::Found => records.join(" "),
        other => format!("{other:?}"),
    }
}

#[test]
fn addresses() {
    use RecordType::{A, Aaaa, Other};
    let zone = zone();
    let cases = [
        ("cart.shop.svc.cluster.local", A, "A(10.100.0.7)"),
        ("CART.shop.SVC.cluster.LOCAL.", A, "A(10.100.0.7)"),
        ("cart.shop.svc.cluster.local", Aaaa, ""),
        ("cart.shop.svc.cluster.local", Other, ""),
        ("_web._tcp.cart.shop.svc.cluster.local", A, "A(10.100.0.7)"),
        ("_web._udp.cart.shop.svc.cluster.local", A, "NoName"),
        ("nobody.shop.svc.cluster.local", A, "NoName"),
        ("cart.other.svc.cluster.local", A, "NoName"),
        (
            "db.shop.svc.cluster.local",
            A,
            "A(10.0.1.1) A(10.0.1.2) A(10.0.1.4)",
        ),
        ("db-1.db.shop.svc.cluster.local", A, "A(10.0.1.2)"),
        ("db-2.db.shop.svc.cluster.local", A, "NoName"),
        ("10-0-1-4.db.shop.svc.cluster.local", A, "A(10.0.1.4)"),
        ("idle.shop.svc.cluster.local", A, "NoName"),
        ("10-0-1-9.cart.shop.svc.cluster.local", A, "A(10.0.1.9)"),
        ("10-9-8-7.shop.pod.cluster.local", A, "A(10.9.8.7)"),
        ("10-9-8-7.empty.pod.cluster.local", A, "A(10.9.8.7)"),
        ("10-9-8-7.none.pod.cluster.local", A, "NoName"),
        ("web.shop.pod.cluster.local", A, "NoName"),
        ("shop.svc.cluster.local", A, ""),
        ("empty.svc.cluster.local", A, ""),
        ("none.svc.cluster.local", A, "NoName"),
        ("svc.cluster.local", A, ""),
        ("cluster.local", A, ""),
        ("example.com", A, "NotOurs"),
        ("example.com.shop.svc.cluster.local", A, "NoName"),
        ("notcluster.local", A, "NotOurs"),
        ("cart", A, "NotOurs"),
    ];
    for (name, kind, expected) in cases {
        assert_eq!(ask(&zone, name, kind), expected, "{name} {kind:?}");
    }
}

#[test]
fn aliases() {
    let zone = zone();
    let out = "Cname(\"db.example.com\")";
    assert_eq!(ask(&zone, "out.shop.svc.cluster.local", RecordType::A), out);
    assert_eq!(
        ask(&zone, "out.shop.svc.cluster.local", RecordType::Cname),
        out
    );
    let alias = "Cname(\"cart.shop.svc.cluster.local\")";
    let followed = format!("{alias} A(10.100.0.7)");
    assert_eq!(
        ask(&zone, "alias.shop.svc.cluster.local", RecordType::A),
        followed
    );
    assert_eq!(
        ask(&zone, "alias.shop.svc.cluster.local", RecordType::Cname),
        alias
    );
    let looped = zone.resolve("loop.shop.svc.cluster.local", RecordType::A);
    assert!(looped.records.len() < 20, "a loop ends");
}

#[test]
fn service_records_and_names_of_addresses() {
    let zone = zone();
    let srv = |w, p, t: &str| format!("Srv {{ weight: {w}, port: {p}, target: {t:?} }}");
    let cart = "cart.shop.svc.cluster.local";
    let one = srv(100, 80, cart);
    assert_eq!(
        ask(&zone, &format!("_web._tcp.{cart}"), RecordType::Srv),
        one
    );
    let both = format!("{} {}", srv(50, 80, cart), srv(50, 53, cart));
    assert_eq!(ask(&zone, cart, RecordType::Srv), both);
    let answer = zone.resolve("_web._tcp.db.shop.svc.cluster.local", RecordType::Srv);
    assert_eq!((answer.records.len(), answer.additional.len()), (3, 3));
    let text = format!("{:?}", answer.records);
    assert!(
        text.contains("db-0.db.shop.svc") && text.contains("10-0-1-4.db.shop.svc"),
        "{text}"
    );
    let cases = [
        (
            "7.0.100.10.in-addr.arpa",
            "Ptr(\"cart.shop.svc.cluster.local\")",
        ),
        (
            "1.1.0.10.in-addr.arpa",
            "Ptr(\"db-0.db.shop.svc.cluster.local\")",
        ),
        (
            "4.1.0.10.in-addr.arpa",
            "Ptr(\"10-0-1-4.db.shop.svc.cluster.local\")",
        ),
        ("3.1.0.10.in-addr.arpa", "NotOurs"),
    ];
    for (name, expected) in cases {
        assert_eq!(ask(&zone, name, RecordType::Ptr), expected, "{name}");
    }
    let version = ask(&zone, "dns-version.cluster.local", RecordType::Txt);
    assert_eq!(version, "Txt(\"1.1.0\")");
}

#[test]
fn changes_take_effect() {
    let mut zone = zone();
    let before = zone.serial();
    slice(
        &mut zone,
        "db",
        json!([{"addresses": ["10.0.9.9"], "hostname": "db-0"}]),
    );
    assert_eq!(
        ask(&zone, "db.shop.svc.cluster.local", RecordType::A),
        "A(10.0.9.9)"
    );
    zone.remove_slice("shop", "db-1");
    assert_eq!(
        ask(&zone, "db.shop.svc.cluster.local", RecordType::A),
        "NoName"
    );
    zone.remove_service("shop", "cart");
    assert_eq!(
        ask(&zone, "cart.shop.svc.cluster.local", RecordType::A),
        "NoName"
    );
    zone.remove_namespace("empty");
    assert_eq!(
        ask(&zone, "empty.svc.cluster.local", RecordType::A),
        "NoName"
    );
    assert!(zone.serial() > before);
}

fn question(name: &str, kind: WireType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("name"), kind));
    message
}

fn over_udp(zone: &Zone, question: &Message) -> Message {
    let bytes = answer_udp(zone, &question.to_vec().expect("encodes")).expect("answer");
    Message::from_vec(&bytes).expect("decodes")
}

#[test]
fn responses_carry_codes_and_flags() {
    let zone = zone();
    let cases = [
        ("cart.shop.svc.cluster.local.", ResponseCode::NoError, 1, 0),
        ("db.empty.svc.cluster.local.", ResponseCode::NXDomain, 0, 1),
        ("shop.svc.cluster.local.", ResponseCode::NoError, 0, 1),
        ("example.com.", ResponseCode::Refused, 0, 0),
    ];
    for (name, code, answers, authorities) in cases {
        let response = over_udp(&zone, &question(name, WireType::A));
        assert_eq!(response.metadata.response_code, code, "{name}");
        assert_eq!(
            (response.answers.len(), response.authorities.len()),
            (answers, authorities)
        );
        assert_eq!(response.metadata.id, 0x1234);
        assert_eq!(
            response.metadata.authoritative,
            code != ResponseCode::Refused
        );
        assert!(response.metadata.recursion_desired);
        assert!(response.answers.iter().all(|r| r.ttl == 5));
    }
}

#[test]
fn odd_requests_get_the_right_refusal() {
    let zone = zone();
    let mut update = question("cluster.local.", WireType::SOA);
    update.metadata.op_code = OpCode::Notify;
    assert_eq!(
        over_udp(&zone, &update).metadata.response_code,
        ResponseCode::NotImp
    );
    let mut none = question("cluster.local.", WireType::A);
    none.queries.clear();
    assert_eq!(
        over_udp(&zone, &none).metadata.response_code,
        ResponseCode::FormErr
    );
    let garbage = [0x12, 0x34, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0xff];
    let response = answer_udp(&zone, &garbage).expect("answer");
    let response = Message::from_vec(&response).expect("decodes");
    assert_eq!(response.metadata.response_code, ResponseCode::FormErr);
    assert_eq!(answer_udp(&zone, &[1, 2, 3]), None);
    let mut response = question("cluster.local.", WireType::A);
    response.metadata.message_type = MessageType::Response;
    assert_eq!(
        answer_udp(&zone, &response.to_vec().expect("encodes")),
        None
    );
}

#[test]
fn large_answers_are_truncated_on_udp_only() {
    let mut zone = zone();
    let many: Vec<Value> = (0..100)
        .map(|n| json!({"addresses": [format!("10.0.2.{n}")]}))
        .collect();
    slice(&mut zone, "db", Value::Array(many));
    let mut question = question("db.shop.svc.cluster.local.", WireType::A);
    let plain = over_udp(&zone, &question);
    assert!(plain.metadata.truncation && plain.answers.len() < 100);
    let bytes = answer_tcp(&zone, &question.to_vec().expect("encodes")).expect("answer");
    let whole = Message::from_vec(&bytes).expect("decodes");
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 100);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    question.set_edns(edns);
    let bytes = answer_udp(&zone, &question.to_vec().expect("encodes")).expect("answer");
    assert!((513..=1232).contains(&bytes.len()), "{}", bytes.len());
    assert!(Message::from_vec(&bytes).expect("decodes").edns.is_some());
}

#[test]
fn clients_are_spread_by_rotation() {
    let zone = zone();
    let mut first = std::collections::BTreeSet::new();
    for id in 0..6 {
        let mut question = question("db.shop.svc.cluster.local.", WireType::A);
        question.metadata.id = id;
        let response = over_udp(&zone, &question);
        first.insert(response.answers[0].data.to_string());
    }
    assert_eq!(first.len(), 3);
}

/// Compiles only if a server can be spawned onto a multi-threaded runtime.
#[allow(dead_code)]
fn servers_can_be_spawned(
    zone: dns::SharedZone,
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
) -> impl Future<Output = std::io::Result<()>> + Send + 'static {
    dns::serve(zone, udp, tcp)
}
