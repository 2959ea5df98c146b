//! A small made-up resource for the unit tests of this crate.

use crate::{ApiGroup, ApiResource, ApiSubresource};
use machinery::{GroupVersionKind, SmolStr};
use schema::{Field, Node, NodeId, Schema, Shape, Struct, TypeRef};
use std::sync::Arc;

fn words(text: &str) -> Vec<SmolStr> {
    text.split(' ').map(SmolStr::new).collect()
}

/// The core group and one with a custom kind.
pub(crate) fn groups() -> Vec<ApiGroup> {
    ["", "example.com"]
        .map(|name| ApiGroup {
            name: name.into(),
            versions: words("v1"),
        })
        .into()
}

/// A custom kind with `spec.size`, a status and a scale.
pub(crate) fn box_resource() -> ApiResource {
    let sub = |name: &str, gvk: GroupVersionKind| ApiSubresource {
        name: name.into(),
        gvk,
        verbs: words("get"),
    };
    let gvk = GroupVersionKind::new("example.com", "v1", "Box");
    ApiResource {
        gvk: gvk.clone(),
        plural: "boxes".into(),
        singular: "box".into(),
        list_kind: "BoxList".into(),
        namespaced: true,
        verbs: words("create get list patch"),
        short_names: words("bx"),
        categories: words("all"),
        subresources: vec![
            sub("status", gvk),
            sub("scale", GroupVersionKind::new("autoscaling", "v1", "Scale")),
        ],
        type_ref: box_type(),
        shows_deleted: false,
        storage_version_hash: "h".into(),
    }
}

fn box_type() -> TypeRef {
    let field = |name: &str, node| Field {
        name: name.into(),
        node: NodeId(node),
        ..Field::default()
    };
    let object = |fields| {
        Shape::Struct(Struct {
            fields,
            ..Struct::default()
        })
    };
    let node = |shape, description: &str| Node {
        shape,
        description: description.into(),
        ..Node::default()
    };
    let nodes = vec![
        node(object(vec![field("spec", 1)]), "Box holds things."),
        node(object(vec![field("size", 2)]), "What is wanted."),
        node(Shape::Int { narrow: false }, "How many."),
    ];
    let schema = Arc::new(Schema {
        nodes,
        ..Schema::default()
    });
    TypeRef {
        schema,
        id: NodeId(0),
    }
}
