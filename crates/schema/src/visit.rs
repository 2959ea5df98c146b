//! Walks to every object of given types inside a value, skipping what cannot hold one.
//!
//! Upstream counterpart: the generated defaulting functions, which call a type's hook wherever
//! the type is embedded.

use crate::{At, NodeId, Schema, Shape};
use machinery::{Map, Value};
use std::sync::Arc;

/// A prepared walk: which nodes are of interest and which lead to them.
#[derive(Debug)]
pub struct Visitor {
    schema: Arc<Schema>,
    /// Position in the list of names, for each node.
    wanted: Vec<Option<u16>>,
    leads: Vec<bool>,
}

impl Visitor {
    /// Prepares a walk to all objects of the types called `names`. Unknown names are ignored.
    pub fn new<'a>(schema: &Arc<Schema>, names: impl IntoIterator<Item = &'a str>) -> Self {
        let names: std::collections::BTreeMap<&str, u16> = names.into_iter().zip(0..).collect();
        let wanted: Vec<_> = schema
            .nodes
            .iter()
            .map(|node| names.get(node.name.as_str()).copied())
            .collect();
        let leads = schema.leading_to(wanted.iter().map(Option::is_some).collect());
        Self {
            schema: Arc::clone(schema),
            wanted,
            leads,
        }
    }

    /// Calls `hook` with the position of the type's name and the object, outer objects first,
    /// for every object of interest in `value`, which is of type `root`. Hooks have seen what is
    /// stored before: they are not called for parts of a stored object that nobody has changed.
    pub fn visit(&self, value: &mut Value, root: NodeId, hook: &mut impl FnMut(usize, &mut Map)) {
        let stored = value.as_object().is_some_and(Map::is_stored);
        if stored || !self.leads[root.0 as usize] {
            return;
        }
        if let (Some(name), Value::Object(map)) = (self.wanted[root.0 as usize], &mut *value) {
            hook(usize::from(name), map);
        }
        let at = At {
            schema: &self.schema,
            id: root,
        };
        match (at.shape(), value) {
            (Shape::List { item, .. }, Value::Array(items)) => {
                for value in items {
                    self.visit(value, *item, hook);
                }
            }
            (_, Value::Object(map)) => {
                for (key, value) in map.iter_mut() {
                    if let Some(inner) = at.member(key) {
                        self.visit(value, inner.id, hook);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Calls `hook` for every object of the type called `name` inside `value`, outer objects first.
/// Prepares a [`Visitor`] each time: for a walk that repeats, keep one.
pub fn for_each_of_type(
    value: &mut Value,
    of: &crate::TypeRef,
    name: &str,
    mut hook: impl FnMut(&mut Map),
) {
    Visitor::new(&of.schema, [name]).visit(value, of.id, &mut |_, map| hook(map));
}
