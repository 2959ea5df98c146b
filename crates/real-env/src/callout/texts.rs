//! Failures of connections in the words that Go programs use for them, which operators search for.
//!
//! Upstream counterpart: the error texts of Go's `net`, `crypto/tls`, `crypto/x509` and `net/http`.

use std::{error::Error, io};
use tokio_rustls::rustls::{self, CertificateError};

const VERIFY: &str = "tls: failed to verify certificate: x509: ";
/// No CA was given that vouches for the server.
pub(super) const UNKNOWN_AUTHORITY: &str =
    "tls: failed to verify certificate: x509: certificate signed by unknown authority";

/// A connection that was not made.
pub(super) fn dial(address: &str, port: u16, why: &str) -> String {
    let lower = why.to_ascii_lowercase();
    let known = [
        ("refused", "connect: connection refused"),
        ("no route to host", "connect: no route to host"),
        ("unreachable", "connect: network is unreachable"),
        ("timed out", "i/o timeout"),
    ];
    let why = known
        .iter()
        .find(|(part, _)| lower.contains(part))
        .map_or(why, |(_, text)| text);
    let address = match address.contains(':') {
        true => format!("[{address}]"),
        false => address.to_owned(),
    };
    format!("dial tcp {address}:{port}: {why}")
}

/// A TLS handshake that failed.
pub(super) fn tls(why: &io::Error, wanted: &str) -> String {
    let inner = why.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(rustls::Error::InvalidCertificate(wrong)) => certificate(wrong, wanted),
        Some(rustls::Error::AlertReceived(alert)) => format!("remote error: tls: {alert:?}"),
        Some(rustls::Error::InvalidMessage(_)) => {
            "tls: first record does not look like a TLS handshake".into()
        }
        Some(other) => format!("tls: {other}"),
        None if why.kind() == io::ErrorKind::UnexpectedEof => "EOF".into(),
        None => why.to_string(),
    }
}

fn certificate(wrong: &CertificateError, wanted: &str) -> String {
    let why = match wrong {
        // Another authority of the same name is as unknown as any.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            return UNKNOWN_AUTHORITY.into();
        }
        CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
            let names: Vec<_> = presented.iter().map(|name| bare(name)).collect();
            format!(
                "certificate is valid for {}, not {wanted}",
                names.join(", ")
            )
        }
        CertificateError::NotValidForNameContext { .. } | CertificateError::NotValidForName => {
            format!("certificate is not valid for any names, but wanted to match {wanted}")
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "certificate has expired or is not yet valid".into()
        }
        other => other.to_string(),
    };
    format!("{VERIFY}{why}")
}

/// `DnsName("a")` and `IpAddress(1.2.3.4)` without their wrapping.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, rest)| rest);
    inner.trim_end_matches(')').trim_matches('"')
}

/// A request that got no answer.
pub(super) fn http(why: &hyper::Error) -> String {
    if why.is_incomplete_message() || why.is_closed() {
        return "EOF".into();
    }
    if why.is_parse() {
        return format!("net/http: HTTP/1.x transport connection broken: {why}");
    }
    broken(why)
}

/// The innermost reason.
pub(super) fn broken(why: &(dyn Error + 'static)) -> String {
    let mut inner = why;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_speak_as_go_does() {
        for (address, why, wanted) in [
            (
                "127.0.0.1",
                "Connection refused (os error 111)",
                "dial tcp 127.0.0.1:1: connect: connection refused",
            ),
            ("::1", "odd", "dial tcp [::1]:1: odd"),
        ] {
            assert_eq!(dial(address, 1, why), wanted);
        }
        assert_eq!(bare("DnsName(\"a.b\")"), "a.b");
        assert_eq!(bare("IpAddress(127.0.0.1)"), "127.0.0.1");
    }
}
