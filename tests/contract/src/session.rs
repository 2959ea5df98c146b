//! A connection that is kept, with whole answers: for suites of thousands of requests.
//!
//! Knows nothing of what is asked. Upstream counterpart: `net/http.Transport`.

use crate::{
    Api,
    http::{Answer, Wire},
};
use std::io;

/// One connection of an [`Api`], one request after another; opened again when it broke.
pub struct Session {
    api: Api,
    wire: Option<Box<dyn Wire>>,
}

impl Session {
    pub(crate) fn new(api: Api, wire: Box<dyn Wire>) -> Self {
        Self {
            api,
            wire: Some(wire),
        }
    }

    /// Sends a request and takes the whole answer.
    pub fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        if self.wire.is_none() {
            *self = self.api.session()?;
        }
        let wire = self.wire.take();
        let opened = self.api.send(wire, (method, path), headers, body)?;
        let ends = |(name, value): &(String, String)| name == "connection" && value == "close";
        let closing = opened.headers.iter().any(ends);
        let (answer, wire) = opened.whole()?;
        self.wire = (!closing).then_some(wire);
        Ok(answer)
    }

    /// The API it speaks to.
    pub fn api(&self) -> &Api {
        &self.api
    }
}
