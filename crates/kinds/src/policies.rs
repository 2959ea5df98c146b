//! What may be wrong with admission policies and their bindings.
//!
//! Upstream counterpart: `pkg/apis/admissionregistration/validation`.

use crate::{
    Expressions, Powers,
    check::{self, Errors, Place, at, one_of},
    configuration_type, patch_type, webhooks,
};
use k8s_cel::Type;
use machinery::{
    FieldError, Value, dns1035_label, dns1123_subdomain, path_segment, qualified_name,
};
use std::collections::BTreeSet;

/// Annotations of one policy at most.
const ANNOTATIONS_MAX: usize = 20;
/// Bytes of an annotation's expression at most.
const ANNOTATION_BYTES_MAX: usize = 5 * 1024;
const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
/// Operations that may be named by who mutates.
const MUTATED: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];
/// Checks a `ValidatingAdmissionPolicy`.
pub(crate) fn validate_validating(policy: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &policy["spec"]);
    let mut expressions = common(&mut errors, spec, false);
    variables(&mut errors, &mut expressions, spec);
    let (validations, annotations) = (&spec["validations"], &spec["auditAnnotations"]);
    if validations.items().is_empty() && annotations.items().is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        for field in ["spec.validations", "spec.auditAnnotations"] {
            errors.push(FieldError::required(field, why));
        }
        return errors;
    }
    for (at, one) in validations.items().iter().enumerate() {
        let path = at!("spec.validations[{at}]");
        validation(&mut errors, &expressions, path, one);
    }
    audit_annotations(&mut errors, &expressions, policy);
    errors
}

/// Checks a `MutatingAdmissionPolicy`.
pub(crate) fn validate_mutating(policy: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &policy["spec"]);
    let mut expressions = common(&mut errors, spec, true).composed();
    variables(&mut errors, &mut expressions, spec);
    let mutations = spec["mutations"].items();
    if mutations.is_empty() {
        let why = "mutations must contain at least one item";
        errors.push(FieldError::required("spec.mutations", why));
    }
    for (at, one) in mutations.iter().enumerate() {
        mutation(&mut errors, &expressions, at!("spec.mutations[{at}]"), one);
    }
    let policies = ["IfNeeded", "Never"];
    one_of(
        &mut errors,
        at!("spec.reinvocationPolicy"),
        &spec["reinvocationPolicy"],
        &policies,
    );
    errors
}

/// Checks a `ValidatingAdmissionPolicyBinding`.
pub(crate) fn validate_validating_binding(binding: &Value) -> Errors {
    let mut errors = bound(binding, false);
    actions(
        &mut errors,
        at!("spec.validationActions"),
        &binding["spec"]["validationActions"],
    );
    errors
}

/// Checks a `MutatingAdmissionPolicyBinding`.
pub(crate) fn validate_mutating_binding(binding: &Value) -> Errors {
    bound(binding, true)
}

/// What both sorts of policies have; with what their expressions are compiled.
fn common(errors: &mut Errors, spec: &Value, mutates: bool) -> Expressions {
    let policies = ["Fail", "Ignore"];
    one_of(
        errors,
        at!("spec.failurePolicy"),
        &spec["failurePolicy"],
        &policies,
    );
    let kind = &spec["paramKind"];
    if !kind.is_null() {
        param_kind(errors, at!("spec.paramKind"), kind);
    }
    let path = "spec.matchConstraints";
    let constraints = &spec["matchConstraints"];
    if constraints.is_null() {
        errors.push(FieldError::required(path, ""));
    } else {
        match_resources(errors, at!("{path}"), constraints);
        if constraints["resourceRules"].items().is_empty() {
            let field = at!("{path}.resourceRules");
            errors.push(FieldError::required(field, ""));
        }
        if mutates {
            only_mutable(errors, at!("{path}"), constraints);
        }
    }
    let expressions = Expressions::new(!kind.is_null());
    let conditions = &spec["matchConditions"];
    webhooks::conditions(
        errors,
        at!("spec.matchConditions"),
        conditions,
        &expressions,
    );
    expressions
}

fn only_mutable(errors: &mut Errors, path: Place<'_>, constraints: &Value) {
    let field = at!("{path}.resourceRules.operations");
    let rules = constraints["resourceRules"].items().iter();
    for operation in rules.flat_map(|rule| rule["operations"].items()) {
        if !MUTATED.contains(&operation.str()) {
            let error = FieldError::not_supported(field, operation.str(), &MUTATED);
            errors.push(error);
        }
    }
}

fn param_kind(errors: &mut Errors, path: Place<'_>, kind: &Value) {
    api_version(errors, at!("{path}.apiVersion"), kind["apiVersion"].str());
    let (field, name) = (at!("{path}.kind"), kind["kind"].str());
    if name.is_empty() {
        return errors.push(FieldError::required(field, ""));
    }
    let wrong = dns1035_label(&name.to_lowercase());
    if !wrong.is_empty() {
        let why = format!(
            "may have mixed case, but should otherwise match: {}",
            wrong.join(",")
        );
        errors.push(FieldError::invalid(field, name, why));
    }
}

fn api_version(errors: &mut Errors, field: Place<'_>, text: &str) {
    if text.is_empty() {
        return errors.push(FieldError::required(field, ""));
    }
    if text != "/" && text.matches('/').count() > 1 {
        let why = format!("unexpected GroupVersion string: {text}");
        return errors.push(FieldError::invalid(field, text, why));
    }
    let (group, version) = text.split_once('/').unwrap_or(("", text));
    let mut bad = |value: &str, wrong: Vec<String>| {
        if !wrong.is_empty() {
            errors.push(FieldError::invalid(field, value, wrong.join(",")));
        }
    };
    if !group.is_empty() {
        bad(group, dns1123_subdomain(group));
    }
    if version.is_empty() {
        bad(text, vec!["version must be specified".to_owned()]);
    } else {
        bad(version, dns1035_label(version));
    }
}

fn match_resources(errors: &mut Errors, path: Place<'_>, resources: &Value) {
    let policies = ["Equivalent", "Exact"];
    let field = at!("{path}.matchPolicy");
    one_of(errors, field, &resources["matchPolicy"], &policies);
    for field in ["namespaceSelector", "objectSelector"] {
        let (at, selector) = (at!("{path}.{field}"), &resources[field]);
        if selector.is_null() {
            errors.push(FieldError::required(at, ""));
        } else {
            check::label_selector(errors, at, selector);
        }
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        for (at, rule) in resources[field].items().iter().enumerate() {
            let path = at!("{path}.{field}[{at}]");
            resource_names(errors, at!("{path}.resourceNames"), &rule["resourceNames"]);
            webhooks::validate_rule(errors, path, rule);
        }
    }
}

fn resource_names(errors: &mut Errors, path: Place<'_>, names: &Value) {
    let mut seen = BTreeSet::new();
    for (at, name) in names.items().iter().map(Value::str).enumerate() {
        let field = at!("{path}[{at}]");
        check::syntax(errors, field, name, path_segment);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(field, name));
        }
    }
}

fn variables(errors: &mut Errors, expressions: &mut Expressions, spec: &Value) {
    for (at, variable) in spec["variables"].items().iter().enumerate() {
        let path = at!("spec.variables[{at}]");
        let (name, source) = (variable["name"].str(), variable["expression"].str());
        let field = at!("{path}.name");
        if name.trim().is_empty() {
            errors.push(FieldError::required(field, "name is not specified"));
        } else if !is_identifier(name) {
            let why = "must be a valid CEL identifier";
            errors.push(FieldError::invalid(field, name, why));
        }
        let field = at!("{path}.expression");
        if source.trim().is_empty() {
            errors.push(FieldError::required(field, "expression is not specified"));
            continue;
        }
        if let Err(why) = expressions.add(name, source) {
            errors.push(FieldError::invalid(field, source, why));
        }
    }
}

fn is_identifier(name: &str) -> bool {
    let letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    !name.starts_with(|first: char| first.is_ascii_digit())
        && name.chars().all(letter)
        && !k8s_cel::RESERVED.contains(&name)
}

fn has_line_breaks(text: &str) -> bool {
    text.contains(['\n', '\r'])
}

fn validation(errors: &mut Errors, expressions: &Expressions, path: Place<'_>, one: &Value) {
    let source = one["expression"].str();
    let field = at!("{path}.expression");
    if source.trim().is_empty() {
        errors.push(FieldError::required(field, "expression is not specified"));
    } else if let Err(why) = expressions.compile(source, &[Type::Bool], Powers::Ask) {
        errors.push(FieldError::invalid(field, source, why));
    }
    let source = one["messageExpression"].str();
    let field = at!("{path}.messageExpression");
    if !source.is_empty() && source.trim().is_empty() {
        let why = "must be non-empty if specified";
        errors.push(FieldError::invalid(field, source, why));
    } else if !source.is_empty()
        && let Err(why) = expressions.compile(source, &[Type::String], Powers::Look)
    {
        errors.push(FieldError::invalid(field, source, why));
    }
    let message = one["message"].str();
    let field = at!("{path}.message");
    if !message.is_empty() && message.trim().is_empty() {
        let why = "must be non-empty if specified";
        errors.push(FieldError::invalid(field, message, why));
    } else if has_line_breaks(message.trim()) {
        let why = "must not contain line breaks";
        errors.push(FieldError::invalid(field, message, why));
    }
    check::one_of_if_set(errors, at!("{path}.reason"), &one["reason"], &REASONS);
}

fn audit_annotations(errors: &mut Errors, expressions: &Expressions, policy: &Value) {
    let list = &policy["spec"]["auditAnnotations"];
    if list.items().len() > ANNOTATIONS_MAX {
        let why = format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations");
        errors.push(FieldError::invalid("spec.auditAnnotations", list, why));
    }
    let mut seen = BTreeSet::new();
    for (at, one) in list.items().iter().enumerate() {
        let path = at!("spec.auditAnnotations[{at}]");
        let (field, key) = (at!("{path}.key"), one["key"].str());
        match policy.name() {
            "" => {
                let why = "requires metadata.name be non-empty";
                errors.push(FieldError::invalid(field, key, why));
            }
            name => check::syntax(errors, field, &format!("{name}/{key}"), qualified_name),
        }
        let at = at!("{path}.valueExpression");
        annotation_value(errors, expressions, at, one["valueExpression"].str());
        if !seen.insert(key) {
            errors.push(FieldError::duplicate(field, key));
        }
    }
}

fn annotation_value(
    errors: &mut Errors,
    expressions: &Expressions,
    field: Place<'_>,
    source: &str,
) {
    let trimmed = source.trim();
    if trimmed.is_empty() {
        let why = "valueExpression is not specified";
        return errors.push(FieldError::required(field, why));
    }
    if trimmed.len() > ANNOTATION_BYTES_MAX {
        let why = format!("must not exceed {ANNOTATION_BYTES_MAX} bytes in length");
        return errors.push(FieldError::required(field, why));
    }
    let wanted = [Type::String, Type::Null];
    if let Err(why) = expressions.compile(trimmed, &wanted, Powers::Ask) {
        errors.push(FieldError::invalid(field, source, why));
    }
}

fn mutation(errors: &mut Errors, expressions: &Expressions, path: Place<'_>, one: &Value) {
    let (field, other, ty) = match one["patchType"].str() {
        "" => return errors.push(FieldError::required(at!("{path}.patchType"), "")),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", configuration_type()),
        "JSONPatch" => ("jsonPatch", "applyConfiguration", patch_type()),
        unknown => {
            let supported = ["ApplyConfiguration", "JSONPatch"];
            let at = at!("{path}.patchType");
            return errors.push(FieldError::not_supported(at, unknown, &supported));
        }
    };
    let kind = one["patchType"].str();
    if one[field].is_null() {
        let why = format!("must be specified when patchType is {kind}");
        errors.push(FieldError::required(at!("{path}.{field}"), why));
    } else {
        let at = at!("{path}.{field}.expression");
        let source = one[field]["expression"].str().trim();
        if source.is_empty() {
            errors.push(FieldError::required(at, ""));
        } else if let Err(why) = expressions.compile(source, &[ty], Powers::Mutate) {
            errors.push(FieldError::invalid(at, source, why));
        }
    }
    if !one[other].is_null() {
        let why = format!("must not be specified when patchType is {kind}");
        let at = at!("{path}.{other}");
        errors.push(FieldError::invalid(at, format!("{{{other}}}"), why));
    }
}

/// What both sorts of bindings have.
fn bound(binding: &Value, mutates: bool) -> Errors {
    let (mut errors, spec) = (Errors::new(), &binding["spec"]);
    check::named(
        &mut errors,
        at!("spec.policyName"),
        spec["policyName"].str(),
        dns1123_subdomain,
    );
    if !spec["paramRef"].is_null() {
        param_ref(&mut errors, at!("spec.paramRef"), &spec["paramRef"]);
    }
    let (path, resources) = ("spec.matchResources", &spec["matchResources"]);
    if !resources.is_null() {
        match_resources(&mut errors, at!("{path}"), resources);
        if mutates {
            only_mutable(&mut errors, at!("{path}"), resources);
        }
    }
    errors
}

fn param_ref(errors: &mut Errors, path: Place<'_>, reference: &Value) {
    let (name, selector) = (reference["name"].str(), &reference["selector"]);
    let both = "name and selector are mutually exclusive";
    if !name.is_empty() {
        let field = at!("{path}.name");
        check::syntax(errors, field, name, path_segment);
        if !selector.is_null() {
            errors.push(FieldError::forbidden(field, both));
        }
    }
    if !selector.is_null() {
        let field = at!("{path}.selector");
        check::label_selector(errors, field, selector);
        if !name.is_empty() {
            errors.push(FieldError::forbidden(field, both));
        }
    }
    if name.is_empty() && selector.is_null() {
        let why = "one of name or selector must be specified";
        errors.push(FieldError::required(path, why));
    }
    let field = at!("{path}.parameterNotFoundAction");
    let action = &reference["parameterNotFoundAction"];
    one_of(errors, field, action, &["Deny", "Allow"]);
}

fn actions(errors: &mut Errors, path: Place<'_>, actions: &Value) {
    let mut seen = BTreeSet::new();
    for (at, action) in actions.items().iter().map(Value::str).enumerate() {
        let field = at!("{path}[{at}]");
        if !ACTIONS.contains(&action) {
            errors.push(FieldError::not_supported(field, action, &ACTIONS));
        }
        if !seen.insert(action) {
            errors.push(FieldError::duplicate(field, action));
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.push(FieldError::invalid(path, actions, why));
    }
    if seen.is_empty() {
        let why = "at least one validation action is required";
        errors.push(FieldError::required(path, why));
    }
}
