//! How long the server waits for a client, and a client for the server.
//!
//! Upstream counterpart: `apiserver/pkg/endpoints/filters/request_deadline.go`,
//! `pkg/server/secure_serving.go`.

use crate::options::Query;
use machinery::{Reason, Status};
use std::{future::Future, time::Duration};

/// A TLS handshake that takes longer is given up.
pub(crate) const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// The head of an HTTP/1 request must be there by then (upstream's number).
pub(crate) const HEADER_MAX: Duration = Duration::from_secs(32);
/// Bytes of an HTTP/1 request's head, and of an answer's body that wait to be encrypted.
pub(crate) const BUFFERED_MAX: usize = 128 * 1024;
/// A request that is no stream is answered by then (upstream's `--request-timeout`).
pub(crate) const REQUEST_MAX: Duration = Duration::from_secs(60);
/// Streams on one HTTP/2 connection (upstream's limit).
pub(crate) const STREAMS_MAX: u32 = 250;
/// A silent HTTP/2 connection is asked whether it is still there.
pub(crate) const PING_AFTER: Duration = Duration::from_secs(30);
/// A connection that does not say so by then is closed.
pub(crate) const PING_MAX: Duration = Duration::from_secs(15);
/// After a failing accept the listener rests this long, so that a full file table does not spin.
pub(crate) const ACCEPT_REST: Duration = Duration::from_millis(50);

/// How long the request may take: `timeout`, at most [`REQUEST_MAX`].
pub(crate) fn of(query: &Query) -> Result<Duration, Status> {
    let text = query.get("timeout");
    if text.is_empty() {
        return Ok(REQUEST_MAX);
    }
    let nanos = machinery::parse_duration(text).and_then(|nanos| u64::try_from(nanos).ok());
    let nanos = nanos.ok_or_else(|| {
        Status::bad_request(format!(
            "invalid timeout specified in the request URL - time: invalid duration {text:?}"
        ))
    })?;
    Ok(match Duration::from_nanos(nanos) {
        Duration::ZERO => REQUEST_MAX,
        asked => asked.min(REQUEST_MAX),
    })
}

/// Waits for an answer no longer than `limit`. What is being written by then may be written.
pub(crate) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let waited = tokio::time::timeout(limit, work).await;
    waited.unwrap_or_else(|_| {
        Err(Status::new(
            Reason::Timeout,
            "Timeout: request did not complete within requested timeout - context deadline exceeded",
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_may_ask_for_less_but_not_for_more() {
        let limit = |text: &str| of(&Query(vec![("timeout".into(), text.into())])).ok();
        for (text, wanted) in [
            ("", Some(REQUEST_MAX)),
            ("0s", Some(REQUEST_MAX)),
            ("1m30s", Some(REQUEST_MAX)),
            ("5s", Some(Duration::from_secs(5))),
            ("1500ms", Some(Duration::from_millis(1500))),
            ("-1s", None),
            ("soon", None),
            ("10", None),
        ] {
            assert_eq!(limit(text), wanted, "{text}");
        }
    }

    #[tokio::test]
    async fn what_takes_longer_is_a_timeout() {
        let never = std::future::pending::<Result<(), Status>>();
        let status = within(Duration::from_millis(1), never).await;
        assert_eq!(status.expect_err("it never ends").code(), 504);
    }
}
