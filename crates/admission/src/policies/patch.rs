//! What mutations do to an object: apply configurations merged by type, and JSON patches.
//!
//! Upstream counterparts: `policy/mutating/patch/{smd,json_patch}.go`,
//! `k8s.io/apiserver/pkg/cel/mutation`.

use super::{
    compiled::{Mutation, Variable},
    evaluate::{BUDGET, Run, Scene},
};
use k8s_cel::{Map, Val};
use machinery::{Status, Value};
use schema::{ListKind, Shape, TypeRef};

/// The object after a mutation. Without a type (bodies of subresources) only JSON patches apply.
///
/// # Errors
/// Why the mutation cannot be made.
pub(super) fn apply(
    mutation: &Mutation,
    scene: &Scene<'_>,
    variables: &[Variable],
    of: Option<&TypeRef>,
) -> Result<Value, String> {
    let (Mutation::Configuration(expression) | Mutation::Operations(expression)) = mutation;
    if let Err(why) = &expression.program {
        return Err(why.clone());
    }
    let mut run = Run::new(scene, variables, BUDGET);
    let found = run.evaluate(expression)??;
    match mutation {
        Mutation::Operations(_) => operations(scene.object, &found),
        Mutation::Configuration(_) => match of {
            Some(of) => configuration(scene.object, &found, of),
            None => Err("apply configurations are for whole objects".to_owned()),
        },
    }
}

fn configuration(object: &Value, made: &Val<'_>, of: &TypeRef) -> Result<Value, String> {
    check_names(made, "Object").map_err(|why| format!("type mismatch: {why}"))?;
    let mut config = made.to_value().map_err(|why| why.to_string())?;
    for field in ["apiVersion", "kind"] {
        config[field] = object[field].clone();
    }
    let mut wrong = schema::prune(&mut config.clone(), of);
    if wrong.is_empty()
        && let Err(why) = schema::check_types(&config, of)
    {
        wrong.push(why);
    } else {
        for path in &mut wrong {
            *path = format!(".{path}: field not declared in schema");
        }
    }
    if !wrong.is_empty() {
        let why = wrong.join("; ");
        return Err(format!(
            "error applying patch: failed to convert patch object to typed object: {why}"
        ));
    }
    let mut atomics = Vec::new();
    find_atomics(&config, of, String::new(), &mut atomics);
    if !atomics.is_empty() {
        let paths = atomics.join(", ");
        return Err(format!(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {paths}"
        ));
    }
    Ok(schema::merge_configuration(object, &config, of))
}

/// Places whose value would be replaced whole, and with it what the expression does not name.
fn find_atomics(value: &Value, of: &TypeRef, path: String, found: &mut Vec<String>) {
    match (&of.node().shape, value) {
        (Shape::Struct(known), Value::Object(map)) => {
            if known.atomic {
                found.push(path.clone());
            }
            for (key, value) in map.iter() {
                if let Some(field) = known.field(key) {
                    find_atomics(value, &of.to(field.node), format!("{path}.{key}"), found);
                }
            }
        }
        (Shape::Map { atomic: true, .. }, Value::Object(_)) => found.push(path),
        (Shape::List { item, kind }, Value::Array(items)) => {
            if *kind == ListKind::Atomic {
                found.push(path.clone());
            }
            for (at, value) in items.iter().enumerate() {
                find_atomics(value, &of.to(*item), format!("{path}[{at}]"), found);
            }
        }
        _ => {}
    }
}

fn operations(object: &Value, made: &Val<'_>) -> Result<Value, String> {
    let Val::List(list) = made else {
        return Err("type mismatch: JSONPatchType.expression should evaluate to array".to_owned());
    };
    let mut patch = Vec::new();
    for operation in list.items() {
        let operation = operation.map_err(|why| why.to_string())?;
        if let Val::Map(map) = &operation
            && let Some(Ok(value)) = map.field("value")
            && is_message(&value)
        {
            check_names(&value, "").map_err(|why| format!("type mismatch: {why}"))?;
        }
        patch.push(operation.to_value().map_err(|why| {
            format!(
                "JSONPath valueExpression evaluated to a type that could not marshal to JSON: {why}"
            )
        })?);
    }
    match schema::json_patch(object, &Value::Array(patch)) {
        Ok(patched) => Ok(patched),
        Err(status) if text(&status).ends_with("test failed") => Ok(object.clone()),
        Err(status) => Err(format!("JSON Patch: {}", text(&status))),
    }
}

/// What a refused patch says about itself.
fn text(status: &Status) -> &str {
    let cause = status.causes().first();
    cause.map_or_else(|| status.message(), |cause| cause.message.as_str())
}

fn is_message(value: &Val<'_>) -> bool {
    matches!(value, Val::Map(Map::Message(_)))
}

/// Type names of made objects must follow the fields they stand in; an empty `name` is that of
/// the outermost.
fn check_names(value: &Val<'_>, name: &str) -> Result<(), String> {
    match value {
        Val::Map(Map::Message(message)) => {
            let name = if name.is_empty() { &message.name } else { name };
            if message.name != name {
                return Err(format!(
                    "unexpected type name {:?}, expected {name:?}, which matches field name path from root Object type",
                    message.name
                ));
            }
            let mut fields = message.fields.iter();
            fields.try_for_each(|(field, value)| check_names(value, &format!("{name}.{field}")))
        }
        Val::Map(Map::Made(map)) => {
            let mut entries = map.entries().iter();
            entries.try_for_each(|(_, value)| check_names(value, name))
        }
        Val::List(list) => {
            let mut items = list.items().filter_map(Result::ok);
            items.try_for_each(|value| check_names(&value, name))
        }
        _ => Ok(()),
    }
}
