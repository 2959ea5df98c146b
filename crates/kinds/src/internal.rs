//! Values as upstream's own types print, for refusals that show a whole struct.
//!
//! Upstream validates most built-in objects in types of its own, which print under Go's names,
//! in Go's order, and with every field. Types of `meta` print as in the API. Knows no rule of
//! validation. Upstream counterpart: `pkg/apis/*/types.go`.

use machinery::{FieldError, SmolStr, Value};
use schema::{Field, Shape, Struct, TypeRef};
use std::{collections::BTreeMap, sync::OnceLock};

/// Types that are not what follows from the API's.
const TABLE: &str = include_str!("internal.txt");
/// Where the API's types are that upstream has types of its own for.
const OWN: &str = "io.k8s.api.";
/// Where those of `meta` are.
const APIS: &str = "io.k8s.apimachinery.pkg.apis.";
const NULL: &str = "null";
/// Names begin with these in capitals, if a word ends there.
const ACRONYMS: [&str; 25] = [
    "api", "aws", "ca", "cel", "cidr", "csi", "dns", "fs", "gce", "grpc", "http", "id", "ip",
    "iscsi", "json", "nfs", "os", "pid", "rbd", "se", "tcp", "tls", "ttl", "uid", "url",
];

/// A field of one of upstream's types.
struct Own {
    name: SmolStr,
    /// Field of the API; empty for none.
    from: SmolStr,
    /// It is a field of what holds the struct.
    outside: bool,
    /// Whether it is a pointer, where that does not follow.
    pointer: Option<bool>,
}

/// What prints.
pub(crate) enum Shown {
    Leaf(String),
    List(Vec<Shown>),
    Fields(Vec<(SmolStr, Shown)>),
}

/// Shows structs and lists of structs of these errors as upstream does.
pub(crate) fn show(errors: &mut [FieldError], of: &TypeRef) {
    for error in errors {
        let compound = matches!(error.value, Value::Object(_) | Value::Array(_));
        if compound
            && error.shown.is_none()
            && let Some(at) = type_of(of, error)
        {
            error.shown = Some(shown(&error.value, &at, &Value::Null).compact());
        }
    }
}

/// The error of a value of this type (`core.v1.Taint`), wherever it says it stands.
pub(crate) fn shown_as(mut error: FieldError, of: &str) -> FieldError {
    let at = schema::builtin_type(&format!("{OWN}{of}"));
    error.shown = at.map(|at| shown(&error.value, &at, &Value::Null).compact());
    error
}

/// The lines of a value of this type (`core.v1.PodSpec`), or of a part of it that upstream has a
/// struct for.
pub(crate) fn lines(value: &Value, of: &str, part: Option<&str>) -> Vec<String> {
    let Some(at) = schema::builtin_type(&format!("{OWN}{of}")) else {
        return Vec::new();
    };
    let shown = match (&at.node().shape, part) {
        (Shape::Struct(known), Some(part)) => {
            let name = format!("{}/{part}", short_name(&at.node().name));
            let fields = table().get(&name).map_or(&[][..], Vec::as_slice);
            fields_of(fields, value, (known, &at), &Value::Null)
        }
        _ => shown(value, &at, &Value::Null),
    };
    shown.lines()
}

/// The type of an error's value: that of its path, of an item there, or of what holds it.
fn type_of(of: &TypeRef, error: &FieldError) -> Option<TypeRef> {
    let at = at_path(of, &error.field)?;
    let fits = |at: &TypeRef| match &at.node().shape {
        Shape::Struct(known) => {
            let mut entries = error.value.entries();
            entries.all(|(key, _)| known.field(key).is_some())
        }
        _ => false,
    };
    let Value::Object(_) = error.value else {
        return Some(at);
    };
    match &at.node().shape {
        Shape::List { item, .. } if fits(&at.to(*item)) => return Some(at.to(*item)),
        Shape::Struct(_) | Shape::Map { .. } => return Some(at),
        _ => {}
    }
    let (holder, _) = error.field.rsplit_once('.')?;
    at_path(of, holder).filter(fits)
}

/// The type of what stands at a path.
fn at_path(of: &TypeRef, path: &str) -> Option<TypeRef> {
    let mut at = of.clone();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            rest = inner.split_once(']')?.1;
            at = match &at.node().shape {
                Shape::List { item, .. } => at.to(*item),
                Shape::Map { value, .. } => at.to(*value),
                _ => return None,
            };
            continue;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let Shape::Struct(known) = &at.node().shape else {
            return None;
        };
        (at, rest) = (at.to(known.field(name)?.node), after);
    }
    Some(at)
}

/// A value of a type in upstream's form; `holder` is the struct that holds it.
pub(crate) fn shown(value: &Value, at: &TypeRef, holder: &Value) -> Shown {
    match (&at.node().shape, value) {
        (Shape::Struct(known), Value::Object(_)) if at.node().name.starts_with(OWN) => {
            own_fields(value, (known, at), holder)
        }
        (Shape::Struct(known), Value::Object(_)) => plain_fields(value, known, at),
        (Shape::List { item, .. }, Value::Array(items)) => {
            let item = at.to(*item);
            let items = items.iter().map(|one| shown(one, &item, value));
            Shown::List(items.collect())
        }
        (Shape::Map { value: inner, .. }, Value::Object(_)) => {
            let inner = at.to(*inner);
            let entries = value.entries();
            let entries = entries.map(|(key, one)| (key.clone(), shown(one, &inner, value)));
            Shown::Fields(entries.collect())
        }
        _ => Shown::Leaf(serde_json::to_string(value).unwrap_or_default()),
    }
}

/// Fields of the API's type, those that are there.
fn plain_fields(value: &Value, known: &Struct, at: &TypeRef) -> Shown {
    let fields = match table().get(&short_name(&at.node().name)) {
        Some(own) => own
            .iter()
            .filter_map(|one| known.field(&one.from))
            .collect(),
        None => in_order(known),
    };
    let fields = fields.into_iter().filter_map(|field| {
        let one = value.get(&field.name)?;
        Some((field.name.clone(), shown(one, &at.to(field.node), value)))
    });
    Shown::Fields(fields.collect())
}

/// All fields of upstream's type.
fn own_fields(value: &Value, (known, at): (&Struct, &TypeRef), holder: &Value) -> Shown {
    match table().get(&short_name(&at.node().name)) {
        Some(own) => fields_of(own, value, (known, at), holder),
        None => {
            let own: Vec<Own> = in_order(known).into_iter().map(derive).collect();
            fields_of(&own, value, (known, at), holder)
        }
    }
}

fn fields_of(
    own: &[Own],
    value: &Value,
    (known, at): (&Struct, &TypeRef),
    holder: &Value,
) -> Shown {
    let mut fields = Vec::new();
    for one in own {
        let Some(field) = known.field(&one.from) else {
            fields.push((one.name.clone(), foreign(one, holder)));
            continue;
        };
        let (inner, there) = (at.to(field.node), &value[one.from.as_str()]);
        let inside = match there.is_null() {
            true if one.pointer.unwrap_or(field.pointer) => Shown::Leaf(NULL.into()),
            true => zero(&inner, value),
            false => shown(there, &inner, value),
        };
        match inside {
            // Embedded without a name: its fields are the struct's own.
            Shown::Fields(inlined) if inner.node().name == schema::OBJECT_META => {
                fields.extend(inlined);
            }
            inside => fields.push((one.name.clone(), inside)),
        }
    }
    Shown::Fields(fields)
}

/// A field that the API has elsewhere, or nowhere.
fn foreign(one: &Own, holder: &Value) -> Shown {
    let there = &holder[one.from.as_str()];
    Shown::Leaf(match there {
        Value::Bool(flag) if one.outside => flag.to_string(),
        _ if one.pointer == Some(true) => NULL.into(),
        _ if one.outside => "false".into(),
        _ => "0".into(),
    })
}

/// Go's zero value of one of upstream's types.
fn zero(at: &TypeRef, holder: &Value) -> Shown {
    let leaf = match &at.node().shape {
        Shape::Struct(_) => return shown(&Value::object(), at, holder),
        Shape::Bool => "false",
        Shape::Int { .. } | Shape::Float | Shape::IntOrString => "0",
        Shape::String => "\"\"",
        Shape::Quantity => "\"0\"",
        Shape::Duration => "\"0s\"",
        _ => "null",
    };
    Shown::Leaf(leaf.into())
}

/// Fields in the order of their numbers, which is that of Go's structs.
fn in_order(known: &Struct) -> Vec<&Field> {
    let mut fields: Vec<&Field> = known.fields.iter().collect();
    fields.sort_by(|one, other| one.tag.cmp(&other.tag));
    fields
}

fn derive(field: &Field) -> Own {
    Own {
        name: go_name(&field.name),
        from: field.name.clone(),
        outside: false,
        pointer: None,
    }
}

/// The name of a field in Go.
fn go_name(name: &str) -> SmolStr {
    let ends = |rest: &str| rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_uppercase());
    let split = ACRONYMS.iter().filter_map(|word| {
        let rest = name.strip_prefix(word)?;
        let more = rest.strip_prefix('s').filter(|more| ends(more));
        match more {
            Some(more) => Some((word, "s", more)),
            None => ends(rest).then_some((word, "", rest)),
        }
    });
    if let Some((word, plural, rest)) = split.max_by_key(|(word, ..)| word.len()) {
        return machinery::format_smolstr!("{}{plural}{rest}", word.to_ascii_uppercase());
    }
    let (first, rest) = name.split_at(name.len().min(1));
    machinery::format_smolstr!("{}{rest}", first.to_ascii_uppercase())
}

/// `core.PodSpec` for `io.k8s.api.core.v1.PodSpec`.
fn short_name(full: &str) -> String {
    let full = full.strip_prefix(OWN).or_else(|| full.strip_prefix(APIS));
    let mut parts = full.unwrap_or_default().split('.');
    let (group, kind) = (parts.next().unwrap_or_default(), parts.next_back());
    format!("{group}.{}", kind.unwrap_or_default())
}

fn table() -> &'static BTreeMap<String, Vec<Own>> {
    static OWN_TYPES: OnceLock<BTreeMap<String, Vec<Own>>> = OnceLock::new();
    OWN_TYPES.get_or_init(|| {
        let lines = TABLE.lines().filter(|line| !line.starts_with("//"));
        let rows = lines.filter_map(|line| line.split_once(": "));
        rows.map(|(name, fields)| (name.into(), fields.split(' ').map(read).collect()))
            .collect()
    })
}

fn read(text: &str) -> Own {
    let (text, pointer) = match (text.strip_suffix('*'), text.strip_suffix('!')) {
        (Some(text), _) => (text, Some(true)),
        (_, Some(text)) => (text, Some(false)),
        _ => (text, None),
    };
    let (name, from) = match text.split_once('=') {
        Some((name, from)) => (name.into(), from),
        None => (go_name(text), text),
    };
    Own {
        name,
        outside: from.starts_with('^'),
        from: from.trim_start_matches('^').trim_matches('0').into(),
        pointer,
    }
}

impl Shown {
    /// On one line.
    pub(crate) fn compact(&self) -> String {
        match self {
            Self::Leaf(text) => text.clone(),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(Self::compact).collect();
                format!("[{}]", items.join(","))
            }
            Self::Fields(fields) => {
                let fields = fields.iter();
                let fields: Vec<_> = fields
                    .map(|(name, value)| format!("{:?}:{}", name.as_str(), value.compact()))
                    .collect();
                format!("{{{}}}", fields.join(","))
            }
        }
    }

    /// A line a value, each level one blank further in.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        self.write(0, String::new(), "", &mut lines);
        lines
    }

    fn write(&self, depth: usize, before: String, after: &str, lines: &mut Vec<String>) {
        let indent = " ".repeat(depth);
        let (open, close, count) = match self {
            Self::Leaf(text) => return lines.push(format!("{indent}{before}{text}{after}")),
            Self::List(items) => ('[', ']', items.len()),
            Self::Fields(fields) => ('{', '}', fields.len()),
        };
        if count == 0 {
            return lines.push(format!("{indent}{before}{open}{close}{after}"));
        }
        lines.push(format!("{indent}{before}{open}"));
        let comma = |at: usize| if at + 1 < count { "," } else { "" };
        match self {
            Self::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    item.write(depth + 1, String::new(), comma(at), lines);
                }
            }
            Self::Fields(fields) => {
                for (at, (name, value)) in fields.iter().enumerate() {
                    let name = format!("{:?}: ", name.as_str());
                    value.write(depth + 1, name, comma(at), lines);
                }
            }
            Self::Leaf(_) => {}
        }
        lines.push(format!("{indent}{close}{after}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn names_are_gos() {
        for (name, wanted) in [
            ("clusterIPs", "ClusterIPs"),
            ("ip", "IP"),
            ("ipFamilies", "IPFamilies"),
            ("apiGroups", "APIGroups"),
            ("seLinuxOptions", "SELinuxOptions"),
            ("selector", "Selector"),
            ("cidrs", "CIDRs"),
            ("image", "Image"),
            ("httpGet", "HTTPGet"),
            ("hostIPC", "HostIPC"),
        ] {
            assert_eq!(go_name(name), wanted);
        }
    }

    #[test]
    fn the_table_speaks_of_fields_there_are() {
        let schema = schema::builtin();
        for (name, fields) in table() {
            let whole = name.split('/').next().expect("a first part");
            let (group, kind) = whole.split_once('.').expect("a group and a type");
            let within = if group == "meta" { APIS } else { OWN };
            let found = ["v1", "v2"]
                .into_iter()
                .find_map(|version| schema.named(&format!("{within}{group}.{version}.{kind}")));
            let node = schema.node(found.expect(name));
            let Shape::Struct(known) = &node.shape else {
                panic!("{name} is no struct");
            };
            for field in fields {
                let there = field.outside || field.from.is_empty();
                let there = there || known.field(&field.from).is_some();
                assert!(there, "{name} {}", field.from);
            }
        }
    }

    #[test]
    fn structs_show_every_field() {
        let of = schema::builtin_type("io.k8s.api.core.v1.Pod").expect("a type");
        let mut errors = [FieldError::invalid(
            "spec.tolerations[0]",
            json!({"key": "a", "operator": "Exists"}),
            "why",
        )];
        show(&mut errors, &of);
        assert_eq!(
            errors[0].to_string(),
            r#"spec.tolerations[0]: Invalid value: {"Key":"a","Operator":"Exists","Value":"","Effect":"","TolerationSeconds":null}: why"#
        );
    }
}
