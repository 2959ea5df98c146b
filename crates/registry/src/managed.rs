//! Field ownership: who set what, for server-side apply.

use crate::Context;
use machinery::{Object, Status, Value};
use std::sync::Arc;

pub(crate) fn track_create(_context: &Context<'_>, _new: &mut Value) {}
pub(crate) fn track_update(_context: &Context<'_>, _old: &Value, _new: &mut Value) {}
pub(crate) fn apply(
    _context: &mut Context<'_>,
    _live: Option<&Arc<Object>>,
    _config: Value,
) -> Result<Value, Status> {
    Err(Status::bad_request("apply"))
}
