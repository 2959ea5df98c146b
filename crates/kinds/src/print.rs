//! Cells that many tables share. Upstream counterpart: helpers of `pkg/printers/internalversion`.

use machinery::{LabelSelector, Object, Ref, Value};

/// What an empty cell shows.
pub(crate) const NONE: &str = "<none>";

/// Name.
pub(crate) fn name(object: &Object) -> Value {
    object.name().into()
}

/// Time since creation.
pub(crate) fn age(object: &Object, now: u64) -> Value {
    crate::age_cell(object.at("metadata.creationTimestamp").str(), now)
}

/// Creation time.
pub(crate) fn created(object: &Object) -> Value {
    object.at("metadata.creationTimestamp").str().into()
}

/// The text at a dotted path, `<none>` where there is none.
pub(crate) fn text(object: &Object, path: &str) -> Value {
    or_none(object.at(path).str())
}

/// The number at a dotted path.
pub(crate) fn number(object: &Object, path: &str) -> Value {
    object.at(path).i64().into()
}

/// A text, `<none>` if it is empty.
pub(crate) fn or_none(text: impl AsRef<str>) -> Value {
    let text = text.as_ref();
    if text.is_empty() {
        NONE.into()
    } else {
        text.into()
    }
}

/// A label selector in the query form.
pub(crate) fn selector(selector: Ref<'_>) -> Value {
    or_none(LabelSelector::from_ref(selector).to_string())
}

/// A plain map in the query form.
pub(crate) fn labels(map: Ref<'_>) -> Value {
    or_none(LabelSelector::from_map(map).to_string())
}

/// Texts joined by commas.
pub(crate) fn joined<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.collect::<Vec<_>>().join(",")
}

/// Names and images of a pod specification's containers.
pub(crate) fn containers(spec: Ref<'_>) -> [Value; 2] {
    ["name", "image"].map(|field| {
        joined(
            spec.get("containers")
                .items()
                .map(|container| container.get(field).str()),
        )
        .into()
    })
}

/// A number, a text, or nothing, as text.
pub(crate) fn scalar(found: Ref<'_>) -> String {
    match found.as_i64() {
        Some(number) => number.to_string(),
        None => found.str().to_owned(),
    }
}

/// Whether a condition of that type is `True`.
pub(crate) fn is_true(status: Ref<'_>, condition: &str) -> bool {
    status
        .get("conditions")
        .items()
        .any(|one| one.get("type").str() == condition && one.get("status").str() == "True")
}
