//! Custom types: what a CRD may say, compiling its schema, and checking values against it.
//!
//! Rules in CEL are kept, not evaluated. Upstream counterpart: `apiextensions-apiserver/pkg/apiserver`
//! `schema` and `validation`, and `kube-openapi/pkg/validation`.

mod compile;
mod definition;
mod embedded;
mod formats;
mod keywords;
mod lists;
mod structural;
mod validate;

pub use definition::{
    definition_schemas, validate_definition, validate_definition_name, validate_definition_update,
};
pub use validate::{validate, validate_update};

use crate::TypeRef;
use compile::{Compiled, Placed, compile};
use machinery::{FieldError, Value};

/// Compiles the schema of one version. `path` is where it stands in the CRD
/// (`spec.versions[0].schema.openAPIV3Schema`), for errors. `apiVersion`, `kind` and `metadata`
/// are those of every object.
///
/// # Errors
/// Upstream's field errors for what is not structural.
pub fn compile_crd_schema(schema: &Value, path: &str) -> Result<TypeRef, Vec<FieldError>> {
    let compiled = compile(schema, path);
    if !compiled.errors.is_empty() {
        return Err(compiled.errors);
    }
    let mut errors = structural::structural_errors(schema, path);
    if errors.is_empty() {
        errors = default_errors(&compiled);
    }
    errors.extend(keywords::keyword_errors(schema, path));
    if errors.is_empty() && keywords::names_a_dialect(schema) {
        let why = "OpenAPIV3Schema 'schema' is not supported";
        errors.push(FieldError::invalid(path, "", why));
    }
    if errors.is_empty() {
        Ok(compiled.of)
    } else {
        Err(errors)
    }
}

/// Compiles a schema that was accepted when it was written, without looking for errors again.
///
/// # Errors
/// It is nested too deeply.
pub fn compile_stored_crd_schema(schema: &Value) -> Result<TypeRef, Vec<FieldError>> {
    let compiled = compile(schema, "");
    if compiled.errors.is_empty() {
        Ok(compiled.of)
    } else {
        Err(compiled.errors)
    }
}

/// The defaults of a schema that stands at `path`: where each stands, and its type.
pub fn schema_defaults(schema: &Value, path: &str) -> Vec<(String, TypeRef)> {
    let compiled = compile(schema, path);
    let typed = |placed: &Placed| (placed.path.clone(), compiled.of.to(placed.node));
    compiled.defaults.iter().map(typed).collect()
}

/// What is wrong with the defaults: unknown fields, and values that would be refused.
fn default_errors(compiled: &Compiled) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for Placed {
        path,
        node,
        inside_meta,
    } in &compiled.defaults
    {
        let of = compiled.of.to(*node);
        let Some(default) = &of.node().default else {
            continue;
        };
        if !inside_meta && !crate::prune(&mut default.clone(), &of).is_empty() {
            let why = "must not have unknown fields";
            errors.push(FieldError::invalid(path.as_str(), default, why));
        }
        let wrong = embedded::embedded_errors(default, &of, path);
        if !wrong.is_empty() {
            errors.extend(wrong);
            continue;
        }
        // The messages name what is wrong from the default on, the fields from the definition.
        for mut error in validate::value_errors(default, None, &of, "") {
            error.field = match error.field.as_str() {
                "" | "<nil>" => path.clone(),
                inner => format!("{path}.{inner}"),
            };
            errors.push(error);
        }
    }
    errors
}

fn flag(schema: &Value, key: &str) -> bool {
    schema[key] == Value::Bool(true)
}

/// Whether a keyword is there: null says nothing.
fn given(schema: &Value, key: &str) -> bool {
    !schema[key].is_null()
}
