//! Names inside a pod: its host name and its resolv.conf.
//!
//! Upstream counterpart: `pkg/kubelet/network/dns`.

use crate::KubeletConfig;
use machinery::{Object, Ref};

/// Linux' limit for host names.
const HOSTNAME_MAX: usize = 63;

/// Host name and, with a subdomain, the fully qualified one in `domain` (`cluster.local` if empty).
pub fn host_names(pod: &Object, domain: &str) -> (String, String) {
    let domain = if domain.is_empty() {
        "cluster.local"
    } else {
        domain
    };
    let spec = pod.at("spec");
    let overridden = spec.get("hostnameOverride").str();
    if !overridden.is_empty() {
        return (overridden.into(), String::new());
    }
    let host = spec
        .get("hostname")
        .as_str()
        .filter(|host| !host.is_empty())
        .unwrap_or(pod.name());
    let host: String = host.chars().take(HOSTNAME_MAX).collect();
    let host = host.trim_end_matches(['-', '.']).to_owned();
    let subdomain = spec.get("subdomain").str();
    if subdomain.is_empty() {
        return (host, String::new());
    }
    let full = format!("{host}.{subdomain}.{}.svc.{domain}", pod.namespace());
    if spec.get("setHostnameAsFQDN").is_true() {
        (full.clone(), full)
    } else {
        (host, full)
    }
}

/// Servers, search domains and options of a resolv.conf.
#[derive(Default)]
struct Resolver {
    servers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

fn parse(text: &str) -> Resolver {
    let mut resolver = Resolver::default();
    for line in text.lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => resolver.servers.extend(words),
            Some("search") => resolver.searches = words.collect(),
            Some("options") => resolver.options.extend(words),
            _ => {}
        }
    }
    resolver
}

fn strings(list: Ref<'_>) -> impl Iterator<Item = String> {
    list.items().map(|item| item.str().to_owned())
}

fn cluster_first(pod: &Object, config: &KubeletConfig, node: Resolver) -> Resolver {
    let (namespace, domain) = (pod.namespace(), &config.cluster_domain);
    let own = [
        format!("{namespace}.svc.{domain}"),
        format!("svc.{domain}"),
        domain.clone(),
    ];
    let mut searches = own.to_vec();
    searches.extend(node.searches);
    Resolver {
        servers: config.cluster_dns.iter().map(ToString::to_string).collect(),
        searches,
        options: vec!["ndots:5".into()],
    }
}

/// The pod's resolv.conf, from its `dnsPolicy` and `dnsConfig`.
pub fn resolv_conf(pod: &Object, config: &KubeletConfig) -> String {
    let (spec, node) = (pod.at("spec"), parse(&config.node_resolv_conf));
    let host = spec.get("hostNetwork").is_true();
    let mut resolver = match spec.get("dnsPolicy").str() {
        "None" => Resolver::default(),
        "Default" => node,
        "ClusterFirstWithHostNet" => cluster_first(pod, config, node),
        _ if host || config.cluster_dns.is_empty() => node,
        _ => cluster_first(pod, config, node),
    };
    let custom = spec.get("dnsConfig");
    resolver.servers.extend(strings(custom.get("nameservers")));
    resolver.searches.extend(strings(custom.get("searches")));
    for option in custom.get("options").items() {
        let name = option.get("name").str();
        resolver
            .options
            .retain(|known| known.split(':').next() != Some(name));
        resolver.options.push(match option.get("value").as_str() {
            Some(value) => format!("{name}:{value}"),
            None => name.into(),
        });
    }
    let mut text: String = resolver
        .servers
        .iter()
        .map(|server| format!("nameserver {server}\n"))
        .collect();
    for (word, list) in [("search", resolver.searches), ("options", resolver.options)] {
        if !list.is_empty() {
            text.push_str(&format!("{word} {}\n", list.join(" ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn policies() {
        let config = KubeletConfig {
            cluster_dns: vec!["10.0.0.10".parse().unwrap()],
            node_resolv_conf: "nameserver 1.1.1.1\nsearch corp\n".into(),
            ..KubeletConfig::default()
        };
        for (spec, wanted) in [
            (
                json!({}),
                "nameserver 10.0.0.10\nsearch d.svc.cluster.local svc.cluster.local cluster.local corp\noptions ndots:5\n",
            ),
            (
                json!({"hostNetwork": true}),
                "nameserver 1.1.1.1\nsearch corp\n",
            ),
            (
                json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["9.9.9.9"], "options": [{"name": "ndots", "value": "2"}]}}),
                "nameserver 9.9.9.9\noptions ndots:2\n",
            ),
        ] {
            let pod = Object::new(
                &json!({"metadata": {"name": "p", "namespace": "d"}, "spec": spec}),
                1,
            );
            assert_eq!(resolv_conf(&pod, &config), wanted);
        }
    }
}
