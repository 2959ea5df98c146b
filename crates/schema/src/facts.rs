//! The facts table: every built-in type in one committed text, read once into a [`Schema`].
//!
//! The notation is explained on top of `data/types-1.36.txt`. Knows no kind: only the meta types
//! that have a form of their own (time, quantity and the like) by their role in the text.
//! Upstream counterpart: `types.go`, `generated.proto` and `swagger.json`, taken together.

use crate::{Field, ListKind, Node, NodeId, PatchStrategy, Schema, Shape, Struct, TypeRef};
use machinery::{SmolStr, Value, format_smolstr};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

const TEXT: &str = include_str!("../data/types-1.36.txt");

/// Definition name of object metadata.
pub const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The schema of all built-in types.
pub fn builtin() -> &'static Arc<Schema> {
    static SCHEMA: OnceLock<Arc<Schema>> = OnceLock::new();
    SCHEMA.get_or_init(|| Arc::new(parse(TEXT).expect("the committed facts table is well formed")))
}

/// The built-in type called `name` (`io.k8s.api.core.v1.ContainerPort`).
pub fn builtin_type(name: &str) -> Option<TypeRef> {
    let schema = builtin();
    let id = schema.named(name)?;
    Some(TypeRef {
        schema: Arc::clone(schema),
        id,
    })
}

/// Reads a facts table.
///
/// # Errors
/// A sentence naming the line that is not in the notation.
pub fn parse(text: &str) -> Result<Schema, String> {
    let mut reader = Reader::new(text);
    for line in text.lines().filter(|line| is_fact(line)) {
        reader
            .line(line)
            .map_err(|why| format!("{why} in: {line}"))?;
    }
    reader.schema.finish();
    Ok(reader.schema)
}

fn is_fact(line: &str) -> bool {
    !line.is_empty() && !line.starts_with("//")
}

/// Splits `Pod: fields`, `Ref#: fields` or `Time = time` into the bare name and the rest.
fn split_type(line: &str) -> Option<(&str, bool, &str)> {
    if let Some((name, form)) = line
        .split_once(" = ")
        .filter(|(name, _)| !name.contains(':'))
    {
        return Some((name, false, form));
    }
    let (head, fields) = line.split_once(':')?;
    let name = head.trim_end_matches('#');
    Some((name, name.len() != head.len(), fields))
}

struct Reader<'a> {
    schema: Schema,
    /// Alias to package.
    packages: BTreeMap<&'a str, &'a str>,
    package: &'a str,
    scalars: BTreeMap<char, NodeId>,
    lists: BTreeMap<(NodeId, Vec<SmolStr>, char), NodeId>,
    maps: BTreeMap<(NodeId, bool), NodeId>,
}

impl<'a> Reader<'a> {
    /// Gives every type its node first, since types refer to later ones.
    fn new(text: &'a str) -> Self {
        let mut reader = Reader {
            schema: Schema::default(),
            packages: BTreeMap::new(),
            package: "",
            scalars: BTreeMap::new(),
            lists: BTreeMap::new(),
            maps: BTreeMap::new(),
        };
        for line in text.lines().filter(|line| is_fact(line)) {
            if let Some(header) = line.strip_prefix('@') {
                reader.open_package(header);
            } else if let Some((name, _, _)) = split_type(line) {
                let full = reader.full_name(name);
                let id = reader.push(Node {
                    name: full.clone(),
                    ..Node::default()
                });
                reader.schema.names.insert(full, id);
            }
        }
        reader
    }

    fn open_package(&mut self, header: &'a str) {
        if let Some((alias, package)) = header.split_once(' ') {
            self.packages.insert(alias, package);
            self.package = package;
        }
    }

    fn full_name(&self, name: &str) -> SmolStr {
        match name.split_once('.') {
            Some((alias, name)) => {
                format_smolstr!(
                    "{}.{name}",
                    self.packages.get(alias).copied().unwrap_or(alias)
                )
            }
            None => format_smolstr!("{}.{name}", self.package),
        }
    }

    fn push(&mut self, node: Node) -> NodeId {
        self.schema.nodes.push(node);
        NodeId(
            u32::try_from(self.schema.nodes.len() - 1).expect("a schema has fewer than 2^32 nodes"),
        )
    }

    fn anonymous(&mut self, shape: Shape) -> NodeId {
        self.push(Node {
            shape,
            ..Node::default()
        })
    }

    fn line(&mut self, line: &'a str) -> Result<(), String> {
        if let Some(header) = line.strip_prefix('@') {
            self.open_package(header);
            return Ok(());
        }
        let (name, atomic, rest) = split_type(line).ok_or("no type name")?;
        let shape = if line.split_once(" = ").is_some_and(|(head, _)| head == name) {
            special(rest).ok_or("unknown form")?
        } else {
            Shape::Struct(Struct {
                fields: self.fields(rest)?,
                atomic,
                ..Struct::default()
            })
        };
        let id = self
            .schema
            .named(name)
            .or_else(|| self.schema.named(&self.full_name(name)));
        self.schema.nodes[id.expect("registered in the first pass").0 as usize].shape = shape;
        Ok(())
    }

    fn fields(&mut self, text: &str) -> Result<Vec<Field>, String> {
        let mut next = vec![1];
        let mut fields = Vec::new();
        for part in split_fields(text) {
            if part == "&" {
                fields.extend(["apiVersion", "kind"].map(|name| Field {
                    name: name.into(),
                    node: self.scalar('s').expect("s is a type"),
                    omitempty: true,
                    ..Field::default()
                }));
            } else {
                fields.push(self.field(part, &mut next)?);
            }
        }
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(fields)
    }

    fn field(&mut self, text: &str, next: &mut Vec<u32>) -> Result<Field, String> {
        let mut tokens = text.splitn(2, ' ');
        let head = tokens.next().unwrap_or_default();
        let rest = tokens.next().unwrap_or_default();
        let (tag, name) = match head.split_once(':') {
            Some(("-", name)) => (Vec::new(), name),
            Some((tag, name)) => (parse_tag(tag)?, name),
            None => (next.clone(), head),
        };
        if let Some((last, parents)) = tag.split_last() {
            *next = [parents, &[last + 1]].concat();
        }
        let mut field = Field {
            name: name.into(),
            tag: tag.into(),
            ..Field::default()
        };
        let (rest, default) = match rest.split_once('=') {
            Some((rest, default)) => (rest, Some(scalar_value(default)?)),
            None => (rest, None),
        };
        field.default = default;
        let mut type_text = "s";
        for token in rest.split_whitespace() {
            match token.strip_prefix('^') {
                Some(strategy) => read_strategy(strategy, &mut field)?,
                None => type_text = token,
            }
        }
        self.field_type(type_text, &mut field)?;
        Ok(field)
    }

    fn field_type(&mut self, text: &str, field: &mut Field) -> Result<(), String> {
        let end = text
            .find(|c: char| !(c.is_ascii_alphanumeric() || "[{.".contains(c)))
            .unwrap_or(text.len());
        // A type name may end in a digit (`V1`), the omitzero mark is a lone zero after it.
        let zero = text[..end].ends_with('0');
        let (named, marks) = (&text[..end - usize::from(zero)], &text[end..]);
        let (marks, keys) = marks.split_once('/').unwrap_or((marks, ""));
        field.omitzero = zero;
        field.required = marks.contains('!');
        field.pointer = marks.contains('*');
        field.omitempty = if field.required {
            marks.contains('?')
        } else {
            !marks.contains('-')
        };
        let merge = marks
            .chars()
            .find(|mark| "#%~".contains(*mark))
            .unwrap_or(' ');
        let keys = keys
            .split(',')
            .filter(|key| !key.is_empty())
            .map(SmolStr::new)
            .collect();
        field.node = self.node(named, merge, keys)?;
        Ok(())
    }

    fn node(&mut self, text: &str, merge: char, keys: Vec<SmolStr>) -> Result<NodeId, String> {
        if let Some(item) = text.strip_prefix('[') {
            let item = self.node(item, ' ', Vec::new())?;
            return Ok(self.list(item, keys, merge));
        }
        if let Some(value) = text.strip_prefix('{') {
            let (value, atomic) = (self.node(value, ' ', Vec::new())?, merge == '#');
            if let Some(id) = self.maps.get(&(value, atomic)) {
                return Ok(*id);
            }
            let id = self.anonymous(Shape::Map { value, atomic });
            self.maps.insert((value, atomic), id);
            return Ok(id);
        }
        let mut letters = text.chars();
        if let (Some(letter), None) = (letters.next(), letters.next()) {
            return self
                .scalar(letter)
                .ok_or_else(|| format!("unknown type {text}"));
        }
        let full = self.full_name(text);
        let id = self
            .schema
            .named(&full)
            .ok_or_else(|| format!("unknown type {full}"))?;
        Ok(if merge == '%' { self.granular(id) } else { id })
    }

    fn list(&mut self, item: NodeId, keys: Vec<SmolStr>, merge: char) -> NodeId {
        let key = (item, keys, if merge == '~' { '~' } else { ' ' });
        if let Some(id) = self.lists.get(&key) {
            return *id;
        }
        let kind = match (key.2, key.1.is_empty()) {
            ('~', _) => ListKind::Set,
            (_, false) => ListKind::Map(key.1.clone()),
            _ => ListKind::Atomic,
        };
        let id = self.anonymous(Shape::List { item, kind });
        self.lists.insert(key, id);
        id
    }

    /// A field may say that its type, elsewhere replaced whole, merges here. Its first pass may
    /// not have read the type's fields yet, so the table must define such a type before its use.
    fn granular(&mut self, id: NodeId) -> NodeId {
        let node = self.schema.node(id);
        let Shape::Struct(whole) = &node.shape else {
            return id;
        };
        let (name, shape) = (
            node.name.clone(),
            Struct {
                atomic: false,
                ..whole.clone()
            },
        );
        self.push(Node {
            name,
            shape: Shape::Struct(shape),
            ..Node::default()
        })
    }

    fn scalar(&mut self, letter: char) -> Option<NodeId> {
        if let Some(id) = self.scalars.get(&letter) {
            return Some(*id);
        }
        let shape = match letter {
            's' => Shape::String,
            'i' => Shape::Int { narrow: true },
            'l' => Shape::Int { narrow: false },
            'b' => Shape::Bool,
            'd' => Shape::Float,
            'y' => Shape::Bytes,
            'o' | 'a' => Shape::Any,
            _ => return None,
        };
        let id = self.anonymous(shape);
        self.scalars.insert(letter, id);
        Some(id)
    }
}

/// Fields are apart by `; `; a default's text holds none.
fn split_fields(text: &str) -> impl Iterator<Item = &str> {
    text.split("; ")
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

fn parse_tag(text: &str) -> Result<Vec<u32>, String> {
    text.split('.')
        .map(|part| part.parse().map_err(|_| format!("bad tag {text}")))
        .collect()
}

fn read_strategy(text: &str, field: &mut Field) -> Result<(), String> {
    let (letters, key) = text.split_once('/').unwrap_or((text, ""));
    field.patch_key = key.into();
    for letter in letters.chars() {
        match letter {
            'm' => field.patch.merge = true,
            'r' => field.patch.retain_keys = true,
            'p' => field.patch.replace = true,
            _ => return Err(format!("unknown strategy {letter}")),
        }
    }
    Ok(())
}

fn scalar_value(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|_| format!("bad default {text}"))
}

fn special(form: &str) -> Option<Shape> {
    Some(match form {
        "quantity" => Shape::Quantity,
        "fields" => Shape::FieldsV1,
        "microtime" => Shape::MicroTime,
        "time" => Shape::Time,
        "intorstring" => Shape::IntOrString,
        "object" | "any" => Shape::Any,
        _ => return None,
    })
}

impl PatchStrategy {
    /// Whether no strategy is set.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe(schema: &Schema, id: NodeId) -> String {
        let node = schema.node(id);
        match &node.shape {
            Shape::List { item, kind } => format!("[{}{kind:?}", describe(schema, *item)),
            Shape::Map { value, atomic } => format!("{{{}{atomic}", describe(schema, *value)),
            Shape::Struct(_) => node.name.rsplit('.').next().unwrap().to_owned(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn every_line_is_read() {
        let schema = builtin();
        assert_eq!(schema.names.len(), 771);
        let count = |node: &Node| match &node.shape {
            Shape::Struct(known) => known.fields.len(),
            _ => 0,
        };
        // 3151 columns of the source less the 14 types that have no fields.
        let fields: usize = schema
            .names
            .values()
            .map(|id| count(schema.node(*id)))
            .sum();
        assert_eq!(fields, 3137);
        assert!(schema.nodes.len() < 2000);
    }

    /// Counted independently in the document the table was made from.
    #[test]
    fn every_column_is_there() {
        let schema = builtin();
        let fields = || {
            schema
                .names
                .values()
                .flat_map(|id| match &schema.node(*id).shape {
                    Shape::Struct(known) => known.fields.as_slice(),
                    _ => &[],
                })
        };
        let count =
            |wanted: &dyn Fn(&Field) -> bool| fields().filter(|field| wanted(field)).count();
        let kind = |field: &Field| match &schema.node(field.node).shape {
            Shape::List { kind, .. } => Some(kind.clone()),
            _ => None,
        };
        let map = |field: &Field| matches!(kind(field), Some(ListKind::Map(_)));
        let columns = [
            ("required", count(&|field| field.required), 701),
            ("list maps", count(&map), 80),
            (
                "sets",
                count(&|field| kind(field) == Some(ListKind::Set)),
                18,
            ),
            (
                "patch strategies",
                count(&|field| !field.patch.is_none()),
                72,
            ),
            (
                "merge keys",
                count(&|field| !field.patch_key.is_empty()),
                68,
            ),
            ("defaults", count(&|field| field.default.is_some()), 24),
            ("tag paths", count(&|field| field.tag.len() > 1), 117),
            ("omitzero", count(&|field| field.omitzero), 1),
        ];
        for (column, found, wanted) in columns {
            assert_eq!(found, wanted, "{column}");
        }
    }

    #[test]
    fn fields_carry_their_facts() {
        let cases = [
            (
                "core.v1.Container",
                "ports",
                "[ContainerPortMap([\"containerPort\", \"protocol\"])",
                "6",
            ),
            ("core.v1.ContainerPort", "protocol", "String", "4"),
            (
                "core.v1.Volume",
                "configMap",
                "ConfigMapVolumeSource",
                "2.19",
            ),
            (
                "core.v1.PersistentVolumeSpec",
                "claimRef",
                "ObjectReference",
                "4",
            ),
            ("core.v1.ServiceSpec", "selector", "{Stringtrue", "2"),
            (
                "core.v1.ResourceRequirements",
                "limits",
                "{Quantityfalse",
                "1",
            ),
            (
                "apps.v1.DeploymentSpec",
                "replicas",
                "Int { narrow: true }",
                "1",
            ),
        ];
        let schema = builtin();
        for (name, field, shape, tag) in cases {
            let id = schema.named(&format!("io.k8s.api.{name}")).expect(name);
            let Shape::Struct(known) = &schema.node(id).shape else {
                panic!("{name}")
            };
            let found = known.field(field).expect(field);
            assert_eq!(describe(schema, found.node), shape, "{name}.{field}");
            let path: Vec<_> = found.tag.iter().map(u32::to_string).collect();
            assert_eq!(path.join("."), tag, "{name}.{field}");
        }
        let meta = schema.named(OBJECT_META).unwrap();
        let Shape::Struct(meta) = &schema.node(meta).shape else {
            panic!()
        };
        let created = meta.field("creationTimestamp").unwrap();
        assert!(created.omitzero && created.omitempty && !created.pointer);
        assert_eq!(
            *schema.node(created.node).name,
            *"io.k8s.apimachinery.pkg.apis.meta.v1.Time"
        );
        assert_eq!(meta.field("ownerReferences").unwrap().patch_key, "uid");
    }

    #[test]
    fn atomic_types_and_their_exceptions() {
        let schema = builtin();
        let atomic = |id: NodeId| matches!(&schema.node(id).shape, Shape::Struct(s) if s.atomic);
        let named = schema.named("io.k8s.api.core.v1.ObjectReference").unwrap();
        assert!(atomic(named));
        let volume = schema
            .named("io.k8s.api.core.v1.PersistentVolumeSpec")
            .unwrap();
        let Shape::Struct(volume) = &schema.node(volume).shape else {
            panic!()
        };
        assert!(!atomic(volume.field("claimRef").unwrap().node));
    }

    #[test]
    fn refuses_what_is_not_in_the_notation() {
        for (text, why) in [
            ("@a x.y\nT: f q", "unknown type q"),
            ("@a x.y\nT: f Missing", "unknown type x.y.Missing"),
            ("@a x.y\nT: x:f s", "bad tag x"),
            ("@a x.y\nT = strange", "unknown form"),
        ] {
            assert!(parse(text).unwrap_err().starts_with(why), "{text}");
        }
    }
}
