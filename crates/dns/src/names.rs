//! Names of the cluster, taken apart.
//!
//! Upstream counterpart: `plugin/kubernetes/parse.go` of CoreDNS and the Kubernetes DNS specification.

use std::net::{IpAddr, Ipv4Addr};

/// What a question asks for, below the cluster domain. Labels are lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject<'a> {
    /// The domain itself.
    Apex,
    /// `dns-version`.
    Version,
    /// `svc` or `pod`: exists, holds nothing.
    Branch,
    /// `<namespace>.svc` or `<namespace>.pod`.
    Namespace(&'a str),
    /// `[_port._protocol.]<service>.<namespace>.svc`.
    Service {
        namespace: &'a str,
        service: &'a str,
        port: Option<(&'a str, &'a str)>,
    },
    /// `<host>.<service>.<namespace>.svc`.
    Endpoint {
        namespace: &'a str,
        service: &'a str,
        host: &'a str,
    },
    /// `<address-with-dashes>.<namespace>.pod`.
    Pod {
        namespace: &'a str,
        address: &'a str,
    },
    /// Anything else.
    Unknown,
}

impl<'a> Subject<'a> {
    /// Reads the labels in front of the cluster domain, leftmost first.
    pub fn parse(labels: &[&'a str]) -> Self {
        match *labels {
            [] => Self::Apex,
            ["dns-version"] => Self::Version,
            ["svc" | "pod"] => Self::Branch,
            [namespace, "svc" | "pod"] => Self::Namespace(namespace),
            [address, namespace, "pod"] => Self::Pod { namespace, address },
            [service, namespace, "svc"] => Self::Service {
                namespace,
                service,
                port: None,
            },
            [host, service, namespace, "svc"] => Self::Endpoint {
                namespace,
                service,
                host,
            },
            [port, protocol, service, namespace, "svc"] => {
                match (port.strip_prefix('_'), protocol.strip_prefix('_')) {
                    (Some(port), Some(protocol)) => Self::Service {
                        namespace,
                        service,
                        port: Some((port, protocol)),
                    },
                    _ => Self::Unknown,
                }
            }
            _ => Self::Unknown,
        }
    }
}

/// The address of a name below `in-addr.arpa`.
pub(crate) fn reverse_address(labels: &[&str]) -> Option<Ipv4Addr> {
    let [d, c, b, a, "in-addr", "arpa"] = *labels else {
        return None;
    };
    format!("{a}.{b}.{c}.{d}").parse().ok()
}

/// The address written with dashes in a pod's name.
pub(crate) fn dashed_address(text: &str) -> Option<IpAddr> {
    let v4 = text.replace('-', ".").parse::<Ipv4Addr>();
    v4.map(IpAddr::V4)
        .or_else(|_| text.replace('-', ":").parse())
        .ok()
}

/// An address as a label.
pub(crate) fn dashed(address: &IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let parse = |name: &'static str| {
            let labels: Vec<&str> = name.split('.').filter(|l| !l.is_empty()).collect();
            Subject::parse(&labels)
        };
        let service = |port| Subject::Service {
            namespace: "n",
            service: "s",
            port,
        };
        assert_eq!(parse(""), Subject::Apex);
        assert_eq!(parse("s.n.svc"), service(None));
        assert_eq!(parse("_http._tcp.s.n.svc"), service(Some(("http", "tcp"))));
        assert_eq!(parse("http.tcp.s.n.svc"), Subject::Unknown);
        let endpoint = Subject::Endpoint {
            namespace: "n",
            service: "s",
            host: "h",
        };
        assert_eq!(parse("h.s.n.svc"), endpoint);
        assert_eq!(
            parse("1-2-3-4.n.pod"),
            Subject::Pod {
                namespace: "n",
                address: "1-2-3-4"
            }
        );
        assert_eq!(parse("a.b.c.d.e.svc"), Subject::Unknown);
        assert_eq!(parse("s.n"), Subject::Unknown);
    }

    #[test]
    fn addresses_in_names() {
        assert_eq!(
            dashed_address("10-0-0-1"),
            Some(IpAddr::from([10, 0, 0, 1]))
        );
        assert_eq!(
            dashed_address("fd00--1"),
            Some("fd00::1".parse().expect("valid"))
        );
        assert_eq!(dashed_address("web-0"), None);
        let reverse = reverse_address(&["1", "0", "100", "10", "in-addr", "arpa"]);
        assert_eq!(reverse, Some(Ipv4Addr::new(10, 100, 0, 1)));
        assert_eq!(reverse_address(&["1", "0", "in-addr", "arpa"]), None);
    }
}
