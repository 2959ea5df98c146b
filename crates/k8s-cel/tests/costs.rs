//! Costs, by estimate and when run, equal to the figures that Kubernetes publishes in its tests
//! (which are for no constants worked out beforehand).

use k8s_cel::{
    AuthorizationCheck, Authorizer, Bindings, Budget, Environment, Type, UnknownSizes, Val,
    Verdict, join,
};

const INTS: &str = "[1, 2, 3, 4, 5]";
const UINTS: &str = "[uint(1), uint(2), uint(3), uint(4), uint(5)]";
const DURATIONS: &str =
    "[duration('1s'), duration('2s'), duration('3s'), duration('4s'), duration('5s')]";
const URL: &str = "url('https:://kubernetes.io/')";
const IP4: &str = "ip('192.168.0.1')";
const IP6: &str = "ip('2001:db8:3333:4444:5555:6666:7777:8888')";
const NET4: &str = "cidr('192.168.0.0/16')";
const NET6: &str = "cidr('2001:db8::/32')";

struct Always;

impl Authorizer for Always {
    fn authorize(&self, check: &AuthorizationCheck) -> Verdict {
        Verdict {
            allowed: !check.verb.is_empty(),
            ..Verdict::default()
        }
    }
}

/// Expression, least estimate, greatest estimate, cost when run.
fn table() -> Vec<(String, u64, u64, u64)> {
    let mut rows = Vec::new();
    let mut add =
        |source: String, min: u64, max: u64, cost: u64| rows.push((source, min, max, cost));
    add(format!("{INTS}.sum()"), 15, 15, 15);
    add(format!("{UINTS}.sum()"), 20, 20, 20);
    add(format!("{DURATIONS}.sum()"), 20, 20, 20);
    add(format!("{INTS}.isSorted()"), 15, 15, 15);
    add(format!("{INTS}.indexOf(3)"), 15, 15, 15);
    add(format!("{UINTS}.lastIndexOf(uint(3))"), 21, 21, 21);
    for part in [
        "getScheme",
        "getHostname",
        "getHost",
        "getPort",
        "getEscapedPath",
        "getQuery",
    ] {
        add(format!("{URL}.{part}()"), 4, 4, 4);
    }
    add(format!("{URL} == {URL}"), 7, 9, 7);
    add(format!("{URL} == url('http://x.b')"), 5, 5, 5);
    for (ip, base) in [(IP4, 2), (IP6, 4)] {
        add(ip.to_owned(), base, base, base);
        for part in ["family", "isUnspecified", "isLoopback", "isGlobalUnicast"] {
            add(format!("{ip}.{part}()"), base + 1, base + 1, base + 1);
        }
        add(format!("{ip} == {IP4}"), base + 3, base + 3, base + 3);
    }
    add("ip.isCanonical('192.168.0.1')".into(), 3, 3, 3);
    add(
        "ip.isCanonical('2001:db8:3333:4444:5555:6666:7777:8888')".into(),
        8,
        8,
        8,
    );
    for net in [NET4, NET6] {
        for part in ["ip", "prefixLength", "masked"] {
            add(format!("{net}.{part}()"), 3, 3, 3);
        }
    }
    add(
        format!("{NET4}.containsCIDR(cidr('192.0.0.0/30'))"),
        7,
        11,
        7,
    );
    add(format!("{NET4}.containsCIDR('192.0.0.0/30')"), 7, 11, 7);
    add(format!("{NET4}.containsIP(ip('192.0.0.1'))"), 4, 7, 4);
    add(format!("{NET4}.containsIP(ip('192.169.0.1'))"), 5, 8, 5);
    add(format!("{NET4}.containsIP('192.169.0.1')"), 5, 8, 5);
    add(format!("{NET6}.containsIP('2001:db8::1')"), 5, 8, 5);
    let text = "'ABCDEFGHIJ abcdefghij'";
    add(format!("{text}.lowerAscii()"), 3, 3, 3);
    add(
        format!("{text}.lowerAscii() == 'abcdefghij ABCDEFGHIJ'.lowerAscii()"),
        7,
        9,
        9,
    );
    add(format!("strings.quote({text})"), 3, 3, 3);
    add(
        format!("strings.quote({text}) == strings.quote({text})"),
        7,
        11,
        9,
    );
    let text = "'abc 123 def 123'";
    for call in [
        "replace('123', '456')",
        "replace('', 'x')",
        "replace('123', '456', 1)",
        "split(' ')",
        "split(' ', 1)",
    ] {
        add(format!("{text}.{call}"), 3, 3, 3);
    }
    for call in [
        "substring(5)",
        "substring(5, 8)",
        "find('123')",
        "findAll('123')",
        "findAll('123', 1)",
    ] {
        add(format!("{text}.{call}"), 2, 2, 2);
    }
    add("' abc 123 def 123 '.trim()".into(), 2, 2, 2);
    add("jsonpatch.escapeKey('abc/def~ abc/def~')".into(), 2, 2, 2);
    add("authorizer.path('/healthz')".into(), 2, 2, 2);
    let resource = "authorizer.group('apps').resource('deployments').subresource('status').namespace('test').name('backend')";
    add(resource.into(), 6, 6, 6);
    add(
        format!("{resource}.check('create').allowed()"),
        350_007,
        350_007,
        350_007,
    );
    add(
        "authorizer.path('/healthz').check('get').allowed()".into(),
        350_003,
        350_003,
        350_003,
    );
    add("authorizer.group('').resource('pods').fieldSelector('spec.nodeName=example-node-name.fully.qualified.domain.name.example.com')".into(), 1821, 1821, 1821);
    for (source, min, max, cost) in [
        ("quantity('12Mi')", 1, 1, 1),
        ("quantity('200M') == quantity('0.2G')", 3, 3, 3),
        (
            "quantity('200M') == quantity('0.2G') && quantity('0.2G') == quantity('200M')",
            3,
            6,
            6,
        ),
        (
            "quantity('50k').add(20).sub(quantity('100k')).asInteger() > 0",
            6,
            6,
            6,
        ),
        ("format.named('dns1123subdomain')", 1, 1, 1),
        (
            "format.named('dns1123Subdomain').value().validate('my-name')",
            34,
            34,
            17,
        ),
        (
            "format.named('dns1123Label').value().validate('my-name')",
            34,
            34,
            10,
        ),
        (
            "format.named('dns1123Label').value() == format.named('dns1123Label').value()",
            5,
            11,
            5,
        ),
        ("sets.contains([], [])", 21, 21, 21),
        ("sets.contains([1], [1, 1])", 23, 23, 23),
        ("sets.contains([1, 2, 3, 4], [2, 3])", 29, 29, 29),
        ("sets.equivalent([1], [1])", 23, 23, 23),
        ("semver('1.0.0')", 1, 1, 1),
        ("semver('1.0.0').major()", 2, 2, 2),
    ] {
        add(source.to_owned(), min, max, cost);
    }
    rows
}

#[test]
fn costs_are_upstreams() {
    let environment = Environment::base()
        .with_mutation()
        .with_variable(
            "authorizer",
            Type::Opaque("kubernetes.authorization.Authorizer"),
        )
        .unoptimized();
    let mut wrong = Vec::new();
    for (source, min, max, cost) in table() {
        let program = environment
            .compile(&source)
            .unwrap_or_else(|errors| panic!("{}", join(&errors)));
        let estimate = program.static_cost(&UnknownSizes);
        let bindings = Bindings::new().with("authorizer", Val::authorizer(&Always));
        let mut budget = Budget::default();
        let found = program.evaluate(&bindings, &mut budget);
        let figures = (estimate.min, estimate.max, budget.spent);
        if figures != (min, max, cost) || found.is_err() {
            wrong.push(format!(
                "{source}: {figures:?}, wanted {min} {max} {cost}; {found:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn constants_are_free_where_kubernetes_works_them_out() {
    for (source, cost) in [
        ("[1, 2, 3].size() == 3", 2),
        ("duration('1h') == duration('60m')", 1),
        ("'a' in ['a', 'b']", 0),
        ("[1, 2].all(x, x > 0)", 11),
        (
            "[1, 2].map(x, x * 2).size() == 2",
            2 * (1 + 2 + 10 + 1) + 1 + 2,
        ),
        ("true ? 1 : 2", 0),
        ("has({'a': 1}.a)", 1),
    ] {
        let program = Environment::base().compile(source).expect(source);
        let mut budget = Budget::default();
        let found = program.evaluate(&Bindings::new(), &mut budget);
        assert!(found.is_ok(), "{source}");
        assert_eq!(budget.spent, cost, "{source}");
    }
}

fn block(of: &str) -> (schema::TypeRef, machinery::Value) {
    let mut lines = of.lines();
    let mut part = |name: &str| {
        let line = lines.next().and_then(|line| line.strip_prefix(name));
        line.unwrap_or_default().to_owned()
    };
    let (properties, object) = (part("schema "), part("object "));
    let text = format!(r#"{{"type":"object","properties":{properties}}}"#);
    let written: machinery::Value = serde_json::from_str(&text).expect("JSON");
    let of = schema::compile_crd_schema(&written, "schema").expect("a structural schema");
    (of, serde_json::from_str(&object).expect("JSON"))
}

#[test]
fn costs_over_data_are_upstreams() {
    let text = include_str!("stability.txt");
    let text = text.lines().filter(|line| !line.starts_with('#'));
    let text: Vec<&str> = text.collect();
    let text = text.join("\n");
    let (mut wrong, mut count) = (Vec::new(), 0);
    for part in text
        .split("\nschema ")
        .map(|part| part.trim_start_matches("schema "))
    {
        let part = format!("schema {part}");
        let (of, object) = block(&part);
        let decl = k8s_cel::Decl::of(&of, "self", true).expect("a type");
        let environment = Environment::base().with_variable("self", decl.ty());
        for line in part.lines().skip(2) {
            count += 1;
            let (cost, source) = line.split_once(' ').expect("a cost and an expression");
            let program = environment
                .compile(source)
                .unwrap_or_else(|errors| panic!("{}", join(&errors)));
            let bindings = Bindings::new().with("self", Val::tree(&object, &decl).expect("seen"));
            let mut budget = Budget::default();
            let found = program.evaluate(&bindings, &mut budget);
            if found != Ok(Val::Bool(true)) || budget.spent.to_string() != cost {
                wrong.push(format!(
                    "{source}: {}, wanted {cost}; {found:?}",
                    budget.spent
                ));
            }
        }
    }
    assert!(count > 130, "{count} costs");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn compiled_things_can_be_shared() {
    fn shared<T: Send + Sync>() {}
    shared::<k8s_cel::Program>();
    shared::<k8s_cel::Environment>();
    shared::<k8s_cel::rules::Rules>();
}
