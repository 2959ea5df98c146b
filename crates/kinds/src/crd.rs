//! Custom resource definitions: what is wrong with one, and the kinds it makes.
//!
//! Upstream counterparts: `apiextensions-apiserver/pkg/apis/apiextensions/validation`,
//! `pkg/apiserver/customresource_handler.go`.

use crate::{
    Cells, Column, Columns, Kind, Path, ScalePaths, Strategy, SubKind, Subresource, Verbs,
    check::{Errors, at},
    webhooks,
};
use machinery::{FieldError, GroupVersionKind, Object, Ref, SmolStr, Value, format_smolstr, json};
use schema::compile_stored_crd_schema;
use std::sync::Arc;

/// The kinds of a definition, one for each served version.
///
/// # Errors
/// What is wrong with the schemas.
pub fn kinds_of_crd(crd: Ref<'_>) -> Result<Vec<Kind>, Vec<FieldError>> {
    let crd = crd.to_value();
    let mut kinds = served_kinds(&crd)?;
    share_versions(&mut kinds, &crd)?;
    Ok(kinds)
}

/// As [`kinds_of_crd`], with kinds that know where their texts stand.
///
/// # Errors
/// As there.
pub fn kinds_of_definition(definition: &Arc<Object>) -> Result<Vec<Kind>, Vec<FieldError>> {
    let crd = definition.root().to_value();
    let mut kinds = served_kinds(&crd)?;
    for kind in &mut kinds {
        let version = kind.gvk.version.clone();
        let schema = Arc::get_mut(&mut kind.type_ref.schema).expect("nobody has it yet");
        schema.source = Some(schema::Source {
            definition: definition.clone(),
            version,
        });
    }
    share_versions(&mut kinds, &crd)?;
    Ok(kinds)
}

fn served_kinds(crd: &Value) -> Result<Vec<Kind>, Vec<FieldError>> {
    let spec = &crd["spec"];
    let versions = spec["versions"].items().iter();
    versions
        .filter(|version| version["served"].as_bool() == Some(true))
        .map(|version| kind_of(spec, version))
        .collect()
}

/// Lets each of several versions know the types of those that objects are stored in.
fn share_versions(kinds: &mut [Kind], crd: &Value) -> Result<(), Vec<FieldError>> {
    let versions = crd.at(&["spec", "versions"]).items();
    if versions.len() == 1 {
        return Ok(());
    }
    let ever = crd.at(&["status", "storedVersions"]).items();
    let group = crd.at(&["spec", "group"]).str();
    let mut types = Vec::new();
    for version in versions {
        let stored = version["storage"].as_bool() == Some(true) || ever.contains(&version["name"]);
        let name = version["name"].str();
        let of = match kinds.iter().find(|kind| kind.gvk.version == name) {
            Some(kind) => kind.type_ref.clone(),
            None if stored => {
                compile_stored_crd_schema(version.at(&["schema", "openAPIV3Schema"]))?
            }
            None => continue,
        };
        types.push((format_smolstr!("{group}/{name}"), of));
    }
    let types: Arc<[_]> = types.into();
    for kind in kinds {
        kind.versions = types.clone();
    }
    Ok(())
}

fn kind_of(spec: &Value, version: &Value) -> Result<Kind, Vec<FieldError>> {
    let type_ref = compile_stored_crd_schema(version.at(&["schema", "openAPIV3Schema"]))?;
    let (group, names) = (spec["group"].str(), &spec["names"]);
    let gvk = GroupVersionKind::new(group, version["name"].str(), names["kind"].str());
    let storage = format_smolstr!("{}.{group}", names["plural"].str());
    let stored = spec["versions"]
        .items()
        .iter()
        .find(|one| one["storage"].as_bool() == Some(true));
    let stored = stored.map_or("", |one| one["name"].str());
    let has_status = !version.at(&["subresources", "status"]).is_null();
    let singular = match names["singular"].str() {
        "" => gvk.kind.to_ascii_lowercase().into(),
        singular => SmolStr::new(singular),
    };
    Ok(Kind {
        plural: names["plural"].str().into(),
        singular,
        list_kind: match names["listKind"].str() {
            "" => format_smolstr!("{}List", gvk.kind),
            kind => kind.into(),
        },
        short_names: texts(&names["shortNames"]),
        categories: texts(&names["categories"]),
        namespaced: spec["scope"].str() == "Namespaced",
        verbs: Verbs::ALL,
        subresources: subresources(version, &gvk),
        columns: Arc::new(columns(version)),
        strategy: Strategy {
            has_status,
            allow_unconditional_update: false,
            generation: crate::Generation::Desired,
            ..Strategy::PLAIN
        },
        selectable: selectable(version),
        storage_version: format_smolstr!("{group}/{stored}"),
        storage_version_hash: hash(&storage, stored),
        convert: None,
        conversion_webhook: webhook(spec),
        durable: true,
        ttl: None,
        custom: true,
        versions: Arc::default(),
        rules: Arc::default(),
        stored: true,
        deprecation: deprecation(version, &gvk),
        storage,
        type_ref,
        gvk,
    })
}

/// Holds a definition that is going until none of its objects is left.
const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Marks a definition that is about to go: its objects go first.
pub(crate) fn hold(definition: &mut Value) -> bool {
    let metadata = definition.metadata_mut();
    if metadata.contains_key("deletionTimestamp") {
        return false;
    }
    let finalizers = metadata.entry_or("finalizers", || Value::Array(Vec::new()));
    if let Some(list) = finalizers.as_array_mut()
        && !list.iter().any(|one| one.str() == CLEANUP_FINALIZER)
    {
        list.push(CLEANUP_FINALIZER.into());
    }
    false
}

/// The status of a new definition: its versions that were ever stored, and no names yet.
pub(crate) fn first_status(definition: &mut Value) {
    let versions = definition.at(&["spec", "versions"]).items();
    let stored = versions
        .iter()
        .filter(|one| one["storage"].as_bool() == Some(true));
    let stored: Vec<Value> = stored.map(|one| one["name"].clone()).collect();
    definition["status"] = json!({
        "acceptedNames": {"kind": "", "plural": ""},
        "conditions": null,
        "storedVersions": stored,
    });
}

/// Adds the version that is stored from now on to those that ever were.
pub(crate) fn note_stored(definition: &mut Value) {
    let versions = definition.at(&["spec", "versions"]).items().iter();
    let mut stored = versions.filter(|one| one["storage"].as_bool() == Some(true));
    let Some(name) = stored.next().map(|one| one["name"].clone()) else {
        return;
    };
    let known = definition.at(&["status", "storedVersions"]).items();
    if !known.contains(&name) {
        let all: Vec<Value> = known.iter().cloned().chain([name]).collect();
        definition.set_at(&["status", "storedVersions"], all);
    }
}

fn texts(list: &Value) -> Vec<SmolStr> {
    list.items().iter().map(|one| one.str().into()).collect()
}

fn webhook(spec: &Value) -> Option<Arc<Value>> {
    let conversion = &spec["conversion"];
    (conversion["strategy"].str() == "Webhook").then(|| Arc::new(conversion["webhook"].clone()))
}

fn deprecation(version: &Value, gvk: &GroupVersionKind) -> Option<SmolStr> {
    if version["deprecated"].as_bool() != Some(true) {
        return None;
    }
    let said = version["deprecationWarning"].as_str().map(SmolStr::new);
    Some(
        said.unwrap_or_else(|| {
            format_smolstr!("{} {} is deprecated", gvk.group_version(), gvk.kind)
        }),
    )
}

fn selectable(version: &Value) -> Vec<SmolStr> {
    let fields = version["selectableFields"].items().iter();
    fields
        .map(|field| field["jsonPath"].str().trim_start_matches('.').into())
        .collect()
}

/// Discovery shows a hash so that clients see when what is stored changes; any stable one does.
fn hash(storage: &str, version: &str) -> SmolStr {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let hash = storage
        .bytes()
        .chain(version.bytes())
        .fold(0xcbf2_9ce4_8422_2325, mix);
    crate::core::base64(&hash.to_be_bytes()).into()
}

fn subresources(version: &Value, gvk: &GroupVersionKind) -> Vec<Subresource> {
    let mut made = Vec::new();
    let given = &version["subresources"];
    if !given["status"].is_null() {
        made.push(Subresource {
            name: "status".into(),
            gvk: gvk.clone(),
            verbs: Verbs::GET_PATCH_UPDATE,
            kind: SubKind::Status,
        });
    }
    let scale = &given["scale"];
    if !scale.is_null() {
        let path = |field: &str| SmolStr::new(scale[field].str().trim_start_matches('.'));
        made.push(Subresource {
            name: "scale".into(),
            gvk: GroupVersionKind::new("autoscaling", "v1", "Scale"),
            verbs: Verbs::GET_PATCH_UPDATE,
            kind: SubKind::Scale(ScalePaths {
                spec: path("specReplicasPath"),
                status: path("statusReplicasPath"),
                selector: path("labelSelectorPath"),
            }),
        });
    }
    made
}

fn columns(version: &Value) -> Columns {
    let column = |name: &str, kind: &str| Column {
        name: name.into(),
        kind: kind.into(),
        format: SmolStr::default(),
        description: SmolStr::default(),
        priority: 0,
    };
    let mut definitions = vec![Column {
        format: "name".into(),
        ..column("Name", "string")
    }];
    let mut paths = Vec::new();
    for given in version["additionalPrinterColumns"].items() {
        // A path that does not parse shows an empty column, as upstream's does.
        let Some(path) = Path::parse(given["jsonPath"].str()) else {
            continue;
        };
        definitions.push(Column {
            format: given["format"].str().into(),
            description: given["description"].str().into(),
            priority: given["priority"]
                .as_i64()
                .and_then(|p| p.try_into().ok())
                .unwrap_or(0),
            ..column(given["name"].str(), given["type"].str())
        });
        paths.push(path);
    }
    if version["additionalPrinterColumns"].items().is_empty() {
        definitions.push(column("Age", "date"));
        paths.extend(Path::parse(".metadata.creationTimestamp"));
    }
    Columns {
        definitions,
        cells: Cells::Paths(paths),
    }
}

pub(crate) fn validate(crd: &Value) -> Errors {
    let mut errors = schema::validate_definition(crd);
    let conversion = crd.at(&["spec", "conversion"]);
    if conversion["strategy"].str() == "Webhook" {
        let (webhook, path) = (&conversion["webhook"], "spec.conversion");
        if !webhook["clientConfig"].is_null() {
            let path = at!("{path}.webhookClientConfig");
            webhooks::client(&mut errors, path, &webhook["clientConfig"]);
        }
        let (path, versions) = (
            at!("{path}.conversionReviewVersions"),
            &webhook["conversionReviewVersions"],
        );
        if versions.items().is_empty() {
            errors.push(FieldError::required(path, ""));
        } else {
            webhooks::review_versions(&mut errors, path, versions);
        }
    }
    if errors.is_empty() {
        errors = check_rules(crd);
    }
    errors
}

/// What is wrong with the rules of the schemas, which are sound otherwise.
fn check_rules(crd: &Value) -> Errors {
    let mut errors = Errors::new();
    for (path, schema) in schema::definition_schemas(crd) {
        if let Ok(of) = compile_stored_crd_schema(schema) {
            errors.extend(k8s_cel::rules::check(&of, &path));
        }
        if errors.is_empty() {
            errors.extend(broken_defaults(schema, &path));
        }
    }
    errors
}

/// Defaults that the rules of their own types refuse.
fn broken_defaults(schema: &Value, path: &str) -> Errors {
    let mut errors = Errors::new();
    for (path, of) in schema::schema_defaults(schema, path) {
        let rules = k8s_cel::rules::Rules::compile(&of);
        let (Some(rules), Some(default)) = (rules, of.node().default.as_ref()) else {
            continue;
        };
        for mut error in rules.validate(default, None).errors {
            error.field = match error.field.as_str() {
                "" | "<nil>" => path.clone(),
                inner => format!("{path}.{inner}"),
            };
            errors.push(error);
        }
    }
    errors
}

pub(crate) fn validate_update(new: &Value, old: &Value) -> Errors {
    schema::validate_definition_update(new, old)
}
