//! What a custom resource definition may say beside its schemas: names, versions, columns,
//! subresources, conversion.
//!
//! What all versions say alike is reported at the place upstream keeps it internally
//! (`spec.validation`, `spec.subresources`). Upstream counterpart:
//! `apiextensions-apiserver/pkg/apis/apiextensions/validation`.

use super::{compile_crd_schema, given};
use machinery::{FieldError, Value, dns1035_label, dns1123_subdomain};
use std::collections::BTreeSet;

/// Most fields that selectors may name.
const MAX_SELECTABLE: usize = 8;
/// Longest warning of a deprecated version, in bytes.
const MAX_WARNING: usize = 256;
/// The annotation that says who approved a kind of a protected group.
const APPROVAL: &str = "api-approved.kubernetes.io";
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = [
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
];
/// Keywords that a whole schema may use where status is a subresource.
const AT_ROOT: [&str; 22] = [
    "Description",
    "Type",
    "Format",
    "Title",
    "Maximum",
    "ExclusiveMaximum",
    "Minimum",
    "ExclusiveMinimum",
    "MaxLength",
    "MinLength",
    "Pattern",
    "MaxItems",
    "MinItems",
    "UniqueItems",
    "MultipleOf",
    "Required",
    "Items",
    "Properties",
    "ExternalDocs",
    "Example",
    "XPreserveUnknownFields",
    "XValidations",
];
/// The other keywords.
const NOT_AT_ROOT: [&str; 21] = [
    "id",
    "$schema",
    "$ref",
    "nullable",
    "default",
    "enum",
    "maxProperties",
    "minProperties",
    "allOf",
    "oneOf",
    "anyOf",
    "not",
    "additionalProperties",
    "patternProperties",
    "dependencies",
    "definitions",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
];

/// What is wrong with the name of a new definition; of an old one it stays as it is.
pub fn validate_definition_name(definition: &Value) -> Vec<FieldError> {
    let spec = &definition["spec"];
    let (plural, group) = (spec.at(&["names", "plural"]).str(), spec["group"].str());
    if definition.name() == format!("{plural}.{group}") {
        return Vec::new();
    }
    let why = "must be spec.names.plural+\".\"+spec.group";
    vec![FieldError::invalid("metadata.name", definition.name(), why)]
}

/// Everything wrong with a definition but its name.
pub fn validate_definition(definition: &Value) -> Vec<FieldError> {
    Check::default().definition(definition)
}

/// The schemas of a definition and where they stand in it; one that all versions share is said
/// once, as upstream does.
pub fn definition_schemas(definition: &Value) -> Vec<(String, &Value)> {
    let versions = definition.at(&["spec", "versions"]).items();
    fn of(version: &Value) -> &Value {
        version.at(&["schema", "openAPIV3Schema"])
    }
    if alike(versions, "schema").is_some() {
        let shared = versions.first().map(of);
        let place = || "spec.validation.openAPIV3Schema".to_owned();
        return shared.map(|schema| (place(), schema)).into_iter().collect();
    }
    let place = |at| format!("spec.versions[{at}].schema.openAPIV3Schema");
    let each = versions.iter().enumerate();
    each.map(|(at, version)| (place(at), of(version))).collect()
}

/// What an update may not change. What the definition then says is checked by
/// [`validate_definition`].
pub fn validate_definition_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let conditions = old.at(&["status", "conditions"]).items().iter();
    let established = conditions
        .filter(|one| one["type"].str() == "Established")
        .any(|one| one["status"].str() == "True");
    let fixed: &[&[&str]] = if established {
        &[
            &["scope"],
            &["names", "kind"],
            &["group"],
            &["names", "plural"],
        ]
    } else {
        &[&["group"], &["names", "plural"]]
    };
    for path in fixed {
        let (was, is) = (old["spec"].at(path), new["spec"].at(path));
        if was != is {
            let at = format!("spec.{}", path.join("."));
            errors.push(FieldError::invalid(at, is, "field is immutable"));
        }
    }
    errors
}

#[derive(Default)]
struct Check {
    errors: Vec<FieldError>,
}

impl Check {
    fn required(&mut self, at: impl ToString, detail: &str) {
        self.errors.push(FieldError::required(at, detail));
    }

    fn invalid(&mut self, at: impl ToString, value: impl Into<Value>, detail: &str) {
        self.errors.push(FieldError::invalid(at, value, detail));
    }

    fn definition(mut self, definition: &Value) -> Vec<FieldError> {
        let spec = &definition["spec"];
        let (names, group) = (&spec["names"], spec["group"].str());
        self.group(group);
        self.scope(&spec["scope"]);
        self.versions(spec);
        for field in ["plural", "singular", "kind", "listKind"] {
            if names[field].str().is_empty() {
                self.required(format!("spec.names.{field}"), "");
            }
        }
        self.names(names);
        self.shared(spec);
        self.conversion(&spec["conversion"]);
        self.stored(definition);
        self.approval(definition);
        if spec["preserveUnknownFields"] == Value::Bool(true) {
            let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
            self.invalid("spec.preserveUnknownFields", true, why);
        }
        self.errors
    }

    fn group(&mut self, group: &str) {
        let wrong = dns1123_subdomain(group);
        if group.is_empty() {
            self.required("spec.group", "");
        } else if !wrong.is_empty() {
            self.invalid("spec.group", group, &wrong.join(","));
        } else if !group.contains('.') {
            let why = "should be a domain with at least one dot";
            self.invalid("spec.group", group, why);
        }
    }

    fn scope(&mut self, scope: &Value) {
        match scope.str() {
            "" => self.required("spec.scope", ""),
            "Cluster" | "Namespaced" => {}
            other => {
                let known = ["Cluster", "Namespaced"];
                let error = FieldError::not_supported("spec.scope", other, &known);
                self.errors.push(error);
            }
        }
    }

    fn versions(&mut self, spec: &Value) {
        let versions = spec["versions"].items();
        for (at, version) in versions.iter().enumerate() {
            if version.at(&["schema", "openAPIV3Schema"]).is_null() {
                let at = format!("spec.versions[{at}].schema.openAPIV3Schema");
                self.required(at, "");
            }
        }
        for (at, version) in versions.iter().enumerate() {
            let path = format!("spec.versions[{at}]");
            let name = version["name"].str();
            let wrong = dns1035_label(name);
            if !wrong.is_empty() {
                self.invalid(format!("{path}.name"), name, &wrong.join(","));
            }
            self.warning(&path, version);
            self.parts(&path, spec, version, |key| alike(versions, key).is_none());
        }
        let mut seen = BTreeSet::new();
        if !versions.iter().all(|one| seen.insert(one["name"].str())) {
            let why = "must contain unique version names";
            self.invalid("spec.versions", &spec["versions"], why);
        }
        let stored = |one: &&Value| one["storage"] == Value::Bool(true);
        if versions.iter().filter(stored).count() != 1 {
            let why = "must have exactly one version marked as storage version";
            self.invalid("spec.versions", &spec["versions"], why);
        }
        if let Some(first) = versions.first().map(|first| first["name"].str()) {
            let wrong = dns1035_label(first);
            if !first.is_empty() && !wrong.is_empty() {
                self.invalid("spec.version", first, &wrong.join(","));
            }
        }
    }

    /// What all versions say alike.
    fn shared(&mut self, spec: &Value) {
        let versions = spec["versions"].items();
        if let Some(first) = versions.first() {
            self.parts("spec", spec, first, |key| alike(versions, key).is_some());
        }
    }

    /// The parts of a version that `wanted` names.
    fn parts(&mut self, path: &str, spec: &Value, version: &Value, wanted: impl Fn(&str) -> bool) {
        if wanted("schema") {
            let at = if path == "spec" {
                "validation"
            } else {
                "schema"
            };
            let versions = spec["versions"].items();
            let status = |one: &Value| !one.at(&["subresources", "status"]).is_null();
            let has_status = match path {
                "spec" => versions.iter().any(status),
                _ => status(version),
            };
            let at = format!("{path}.{at}.openAPIV3Schema");
            self.schema(&at, version, has_status);
        }
        if wanted("subresources") {
            let at = format!("{path}.subresources.scale");
            self.scale(&at, version.at(&["subresources", "scale"]));
        }
        if wanted("additionalPrinterColumns") {
            let columns = version["additionalPrinterColumns"].items().iter();
            for (position, column) in columns.enumerate() {
                self.column(
                    &format!("{path}.additionalPrinterColumns[{position}]"),
                    column,
                );
            }
        }
        if wanted("selectableFields") {
            self.selectable(&format!("{path}.selectableFields"), version);
        }
    }

    fn schema(&mut self, at: &str, version: &Value, has_status: bool) {
        let schema = version.at(&["schema", "openAPIV3Schema"]);
        if schema.is_null() {
            return;
        }
        if has_status {
            self.root_schema(at, schema);
        }
        if schema["nullable"] == Value::Bool(true) {
            let at = format!("{at}.nullable");
            let why = "nullable cannot be true at the root";
            self.errors.push(FieldError::forbidden(at, why));
        }
        if let Err(wrong) = compile_crd_schema(schema, at) {
            self.errors.extend(wrong);
        }
    }

    fn root_schema(&mut self, at: &str, schema: &Value) {
        let says = |key: &str| given(schema, key) && schema[key] != Value::Bool(false);
        if schema["type"].str() != "object" && !schema["type"].str().is_empty() {
            let why = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
            self.invalid(format!("{at}.type"), schema["type"].str(), why);
        } else if NOT_AT_ROOT.iter().any(|key| says(key)) {
            let fields = AT_ROOT.join(" ");
            let why = format!(
                "only [{fields}] fields are allowed at the root of the schema if the status subresource is enabled"
            );
            self.invalid(at, schema, &why);
        }
    }

    fn warning(&mut self, path: &str, version: &Value) {
        let Some(text) = version["deprecationWarning"].as_str() else {
            return;
        };
        let at = format!("{path}.deprecationWarning");
        if version["deprecated"] != Value::Bool(true) {
            self.invalid(&at, text, "can only be set for deprecated versions");
            return;
        }
        if text.len() > MAX_WARNING {
            self.invalid(&at, text, "must be <= 256 characters long");
        }
        if text.is_empty() {
            self.invalid(&at, text, "must not be an empty string");
        }
        if let Some((index, _)) = text.char_indices().find(|(_, letter)| letter.is_control()) {
            let why = format!(
                "must only contain printable UTF-8 characters; non-printable character found at index {index}"
            );
            self.invalid(&at, text, &why);
        }
    }

    fn names(&mut self, names: &Value) {
        let mixed = |name: &str| name.to_ascii_lowercase();
        for (field, lower) in [
            ("plural", false),
            ("singular", false),
            ("kind", true),
            ("listKind", true),
        ] {
            let name = names[field].str();
            let wrong = dns1035_label(&if lower { mixed(name) } else { name.to_owned() });
            if !name.is_empty() && !wrong.is_empty() {
                let but = if lower {
                    "may have mixed case, but should otherwise match: "
                } else {
                    ""
                };
                let why = format!("{but}{}", wrong.join(","));
                self.invalid(format!("spec.names.{field}"), name, &why);
            }
        }
        self.labels("shortNames", names);
        if !names["kind"].str().is_empty() && names["kind"] == names["listKind"] {
            let why = "kind and listKind may not be the same";
            self.invalid("spec.names.listKind", names["listKind"].str(), why);
        }
        self.labels("categories", names);
    }

    fn labels(&mut self, list: &str, names: &Value) {
        for (at, one) in names[list].items().iter().enumerate() {
            let wrong = dns1035_label(one.str());
            if !wrong.is_empty() {
                let at = format!("spec.names.{list}[{at}]");
                self.invalid(at, one, &wrong.join(","));
            }
        }
    }

    fn scale(&mut self, at: &str, scale: &Value) {
        if scale.is_null() {
            return;
        }
        for (field, root) in [
            ("specReplicasPath", ".spec."),
            ("statusReplicasPath", ".status."),
        ] {
            let (at, path) = (format!("{at}.{field}"), scale[field].str());
            let below = root.trim_end_matches('.');
            if path.is_empty() {
                self.required(at, "");
            } else if self.simple_path(&at, path) && !path.starts_with(root) {
                let why = format!("should be a json path under {below}");
                self.invalid(at, path, &why);
            }
        }
        let (at, path) = (
            format!("{at}.labelSelectorPath"),
            scale["labelSelectorPath"].str(),
        );
        let known = path.starts_with(".spec.") || path.starts_with(".status.");
        if !path.is_empty() && self.simple_path(&at, path) && !known {
            let why = "should be a json path under either .spec or .status";
            self.invalid(at, path, why);
        }
    }

    fn simple_path(&mut self, at: &str, path: &str) -> bool {
        let simple = path.starts_with('.');
        if !simple {
            self.invalid(at, path, "must be a simple json path starting with .");
        }
        simple
    }

    fn column(&mut self, at: &str, column: &Value) {
        if column["name"].str().is_empty() {
            self.required(format!("{at}.name"), "");
        }
        let (kind, format) = (column["type"].str(), column["format"].str());
        let why = format!("must be one of {}", COLUMN_TYPES.join(","));
        if kind.is_empty() {
            self.required(format!("{at}.type"), &why);
        } else if !COLUMN_TYPES.contains(&kind) {
            self.invalid(format!("{at}.type"), kind, &why);
        }
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let why = format!("must be one of {}", COLUMN_FORMATS.join(","));
            self.invalid(format!("{at}.format"), format, &why);
        }
        match column["jsonPath"].str() {
            "" => self.required(format!("{at}.JSONPath"), ""),
            path => {
                self.simple_path(&format!("{at}.JSONPath"), path);
            }
        }
    }

    fn selectable(&mut self, at: &str, version: &Value) {
        let schema = version.at(&["schema", "openAPIV3Schema"]);
        let mut seen = BTreeSet::new();
        for (position, field) in version["selectableFields"].items().iter().enumerate() {
            let at = format!("{at}[{position}].jsonPath");
            let path = field["jsonPath"].str();
            if path.is_empty() {
                self.required(at, "");
                continue;
            }
            let found = match selected(path, schema) {
                Ok(found) => found,
                Err(why) => {
                    self.invalid(at, path, &format!("is an invalid path: {why}"));
                    continue;
                }
            };
            if path.split('.').nth(1) == Some("metadata") {
                self.invalid(&at, path, "must not point to fields in metadata");
            }
            if !matches!(found["type"].str(), "string" | "boolean" | "integer") {
                let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
                self.invalid(&at, path, why);
            }
            if !seen.insert(path.trim_start_matches('.')) {
                self.errors.push(FieldError::duplicate(at, path));
            }
        }
        if seen.len() > MAX_SELECTABLE {
            let error = FieldError::too_many(at, seen.len(), MAX_SELECTABLE);
            self.errors.push(error);
        }
    }

    fn conversion(&mut self, conversion: &Value) {
        if conversion.is_null() {
            return;
        }
        let webhook = &conversion["webhook"];
        let (at, versions) = (
            "spec.conversion.webhookClientConfig",
            &webhook["conversionReviewVersions"],
        );
        match conversion["strategy"].str() {
            "" => self.required("spec.conversion.strategy", ""),
            // What the program's address may be is the concern of whoever knows such programs.
            "Webhook" => {
                if webhook["clientConfig"].is_null() {
                    self.required(at, "required when strategy is set to Webhook");
                }
                return;
            }
            "None" => {}
            other => {
                let (at, known) = ("spec.conversion.strategy", ["None", "Webhook"]);
                let error = FieldError::not_supported(at, other, &known);
                self.errors.push(error);
            }
        }
        let why = "should not be set when strategy is not set to Webhook";
        if !webhook["clientConfig"].is_null() {
            self.errors.push(FieldError::forbidden(at, why));
        }
        if !versions.items().is_empty() {
            let at = "spec.conversion.conversionReviewVersions";
            self.errors.push(FieldError::forbidden(at, why));
        }
    }

    /// Versions in which objects may still lie must stay.
    fn stored(&mut self, definition: &Value) {
        let stored = definition.at(&["status", "storedVersions"]);
        let versions = definition.at(&["spec", "versions"]).items();
        let storage = |one: &&Value| one["storage"] == Value::Bool(true);
        let mut stores = versions.iter().filter(storage).map(|one| &one["name"]);
        // The first is noted by itself.
        match (stores.next(), stored.items()) {
            (None, []) => {
                let why = "must have at least one stored version";
                self.invalid("status.storedVersions", Value::Null, why);
            }
            (first, known) => {
                let mut known = known.to_vec();
                known.extend(first.filter(|first| !known.contains(first)).cloned());
                for name in stores.filter(|name| !known.contains(name)) {
                    let why = format!("must have the storage version {}", name.str());
                    self.invalid("status.storedVersions", known.clone(), &why);
                }
            }
        }
        for (position, name) in stored.items().iter().enumerate() {
            if versions.iter().any(|version| version["name"] == *name) {
                continue;
            }
            let why = format!(
                "missing from spec.versions; {0} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {0} and removes {0} from status.storedVersions",
                name.str()
            );
            self.invalid(format!("status.storedVersions[{position}]"), name, &why);
        }
    }

    /// Groups of the project itself need its word.
    fn approval(&mut self, definition: &Value) {
        let group = definition.at(&["spec", "group"]).str();
        let protected = ["k8s.io", "kubernetes.io"]
            .iter()
            .any(|root| group == *root || group.ends_with(&format!(".{root}")));
        let text = definition.at(&["metadata", "annotations", APPROVAL]).str();
        if !protected || text.contains("://") || text.starts_with("unapproved") {
            return;
        }
        let at = format!("metadata.annotations[{APPROVAL}]");
        let see = "see https://github.com/kubernetes/enhancements/pull/1111";
        let must = format!("protected groups must have approval annotation {APPROVAL:?}");
        if text.is_empty() {
            return self.required(at, &format!("{must}, {see}"));
        }
        let why =
            format!("{must} with either a URL or a reason starting with \"unapproved\", {see}");
        self.invalid(at, text, &why);
    }
}

/// What every version says under `key`, if they all say the same.
fn alike<'a>(versions: &'a [Value], key: &str) -> Option<&'a Value> {
    let first = &versions.first()?[key];
    let all = versions.iter().all(|version| version[key] == *first);
    all.then_some(first)
}

/// The schema that a path such as `.spec.color` leads to.
fn selected<'a>(path: &str, schema: &'a Value) -> Result<&'a Value, String> {
    if path.contains('[') {
        return Err("array notation is not allowed".into());
    }
    let Some(rest) = path.strip_prefix('.') else {
        let first = path.split('.').next().unwrap_or_default();
        return Err(format!("expected [ or . but got: {first}"));
    };
    let mut at = schema;
    for name in rest.split('.') {
        if name.is_empty() {
            return Err("unexpected end of JSON path".into());
        }
        let next = at["properties"].get(name);
        let known = next.or_else(|| {
            at["additionalProperties"]
                .as_object()
                .map(|_| &at["additionalProperties"])
        });
        at = known.ok_or("does not refer to a valid field")?;
    }
    Ok(at)
}
