//! Environment variables of a container: literals, references, expansion, services.
//!
//! Upstream counterpart: `makeEnvironmentVariables` and `third_party/forked/golang/expansion`.

use crate::context::Context;
use machinery::{Object, Quantity, Ref, SmolStr, Status};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// Expands `$(NAME)`; `$$` is a dollar sign, unknown names stay as they are.
pub fn expand(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) =
            rest.strip_prefix('(').and_then(|tail| tail.split_once(')'))
        {
            match values.get(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = tail;
        } else {
            out.push('$');
        }
    }
    out + rest
}

/// What the downward API shows of a pod beyond the object itself.
pub struct Downward<'a> {
    pub pod: &'a Object,
    pub node: &'a str,
    pub hosts: &'a [IpAddr],
    pub ips: &'a [IpAddr],
    /// Allocatable amounts of the node, for limits that are not set.
    pub allocatable: &'a BTreeMap<String, String>,
}

fn join(addresses: &[IpAddr]) -> String {
    addresses
        .iter()
        .map(IpAddr::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

impl Downward<'_> {
    /// The text of a `fieldRef`.
    pub fn field(&self, path: &str) -> Result<String, String> {
        let meta = self.pod.metadata();
        if let Some((field, rest)) = path.split_once("['") {
            let key = rest.strip_suffix("']").unwrap_or(rest);
            let map = field.strip_prefix("metadata.").unwrap_or_default();
            return Ok(meta.get(map).get(key).str().into());
        }
        let ips = if self.ips.is_empty() {
            self.hosts
        } else {
            self.ips
        };
        let first = |list: &[IpAddr]| list.first().map(IpAddr::to_string).unwrap_or_default();
        Ok(match path {
            "metadata.name" => self.pod.name().into(),
            "metadata.namespace" => self.pod.namespace().into(),
            "metadata.uid" => self.pod.uid().into(),
            "metadata.labels" | "metadata.annotations" => {
                formatted(meta.get(path.trim_start_matches("metadata.")))
            }
            "spec.nodeName" => self.node.into(),
            "spec.serviceAccountName" => self.pod.at(path).str().into(),
            "status.hostIP" => first(self.hosts),
            "status.hostIPs" => join(self.hosts),
            "status.podIP" => first(ips),
            "status.podIPs" => join(ips),
            _ => return Err(format!("unsupported fieldPath: {path}")),
        })
    }

    /// The text of a `resourceFieldRef`; `container` when it names none.
    pub fn resource(&self, reference: Ref<'_>, container: Ref<'_>) -> Result<String, String> {
        let named = reference.get("containerName").str();
        let spec = self.pod.at("spec");
        let mut all = spec
            .get("containers")
            .items()
            .chain(spec.get("initContainers").items());
        let container = if named.is_empty() {
            container
        } else {
            let found = all.find(|one| one.get("name").str() == named);
            found.ok_or_else(|| format!("container {named} not found"))?
        };
        let resource = reference.get("resource").str();
        let (list, name) = resource
            .split_once('.')
            .ok_or_else(|| format!("unsupported container resource : {resource}"))?;
        let amount = container.get("resources").get(list).get(name);
        let default = self
            .allocatable
            .get(name)
            .map(String::as_str)
            .filter(|_| list == "limits");
        let text = amount.as_str().or(default).unwrap_or("0");
        let amount: Quantity = match amount.as_i64() {
            Some(units) => Quantity::from_units(units, machinery::Format::DecimalSi),
            None => text.parse().map_err(|error| format!("{text}: {error}"))?,
        };
        let divisor: Quantity = reference
            .get("divisor")
            .str()
            .parse()
            .unwrap_or(Quantity::ZERO);
        let divisor = if divisor.is_zero() {
            Quantity::from_milli(1000)
        } else {
            divisor
        };
        Ok(if name == "cpu" {
            div_ceil(amount.milli(), divisor.milli()).to_string()
        } else {
            div_ceil(amount.units(), divisor.units()).to_string()
        })
    }
}

fn div_ceil(number: i64, divisor: i64) -> i64 {
    let divisor = divisor.max(1);
    number / divisor + i64::from(number % divisor != 0)
}

/// `key="value"` lines, sorted.
fn formatted(map: Ref<'_>) -> String {
    let lines: Vec<_> = map
        .entries()
        .map(|(key, value)| format!("{key}={:?}", value.str()))
        .collect();
    lines.join("\n")
}

/// One entry of a ConfigMap or Secret as text; `binary` also reads base64 fields.
fn entry(object: &Object, key: &str) -> Option<Vec<u8>> {
    match object.at("kind").str() {
        "Secret" => crate::base64::decode(object.at("data").get(key).as_str()?),
        _ => {
            let text = object
                .at("data")
                .get(key)
                .as_str()
                .map(|text| text.as_bytes().to_vec());
            text.or_else(|| crate::base64::decode(object.at("binaryData").get(key).as_str()?))
        }
    }
}

/// All entries of a ConfigMap or Secret.
pub fn entries(object: &Object) -> BTreeMap<String, Vec<u8>> {
    let fields = [object.at("data"), object.at("binaryData")];
    let keys = fields
        .iter()
        .flat_map(|field| field.entries().map(|(key, _)| key));
    keys.filter_map(|key| Some((key.to_owned(), entry(object, key)?)))
        .collect()
}

/// Fetches a ConfigMap or Secret; absent is fine when `optional`.
pub async fn fetch(
    context: &Context,
    (resource, namespace, name): (&str, &str, &str),
    optional: bool,
) -> Result<Option<Arc<Object>>, String> {
    match context.api.get(resource, namespace, name).await {
        Ok(object) => Ok(Some(object)),
        Err(status) if status.is_not_found() && optional => Ok(None),
        Err(status) if status.is_not_found() => Err(format!(
            "{} {name:?} not found",
            resource.trim_end_matches('s')
        )),
        Err(status) => Err(Status::message(&status).to_owned()),
    }
}

/// The complete environment of a container, in order.
pub async fn build(
    context: &Context,
    downward: &Downward<'_>,
    container: Ref<'_>,
) -> Result<Vec<(String, String)>, String> {
    let mut values = service_variables(context, downward.pod).await?;
    from_sources(context, downward.pod, container, &mut values).await?;
    let mut order: Vec<(String, String)> = Vec::new();
    for variable in container.get("env").items() {
        let name = variable.get("name").str();
        let text = match variable.get("value").as_str() {
            Some(text) if !text.is_empty() => Some(expand(text, &values)),
            _ => from_reference(context, downward, (variable.get("valueFrom"), container)).await?,
        };
        if let Some(text) = text {
            values.insert(name.into(), text.clone());
            order.push((name.into(), text));
        }
    }
    let named = |name: &String| order.iter().any(|(known, _)| known == name);
    let mut all: Vec<_> = values
        .into_iter()
        .filter(|(name, _)| !named(name))
        .collect();
    all.extend(order);
    Ok(all)
}

async fn from_sources(
    context: &Context,
    pod: &Object,
    container: Ref<'_>,
    values: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    for source in container.get("envFrom").items() {
        for (field, resource) in [("configMapRef", "configmaps"), ("secretRef", "secrets")] {
            let reference = source.get(field);
            if reference.is_null() {
                continue;
            }
            let key = (resource, pod.namespace(), reference.get("name").str());
            let found = fetch(context, key, reference.get("optional").is_true()).await?;
            let prefix = source.get("prefix").str();
            for (name, value) in found.map(|object| entries(&object)).unwrap_or_default() {
                values.insert(
                    format!("{prefix}{name}"),
                    String::from_utf8_lossy(&value).into_owned(),
                );
            }
        }
    }
    Ok(())
}

async fn from_reference(
    context: &Context,
    downward: &Downward<'_>,
    (source, container): (Ref<'_>, Ref<'_>),
) -> Result<Option<String>, String> {
    if source.is_null() {
        return Ok(Some(String::new()));
    }
    let (field, resource) = (source.get("fieldRef"), source.get("resourceFieldRef"));
    if !field.is_null() {
        return downward.field(field.get("fieldPath").str()).map(Some);
    }
    if !resource.is_null() {
        return downward.resource(resource, container).map(Some);
    }
    for (kind, resource, shown) in [
        ("configMapKeyRef", "configmaps", "ConfigMap"),
        ("secretKeyRef", "secrets", "Secret"),
    ] {
        let reference = source.get(kind);
        if reference.is_null() {
            continue;
        }
        let (name, optional) = (
            reference.get("name").str(),
            reference.get("optional").is_true(),
        );
        let namespace = downward.pod.namespace();
        let Some(object) = fetch(context, (resource, namespace, name), optional).await? else {
            return Ok(None);
        };
        let key = reference.get("key").str();
        return match entry(&object, key) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
            None if optional => Ok(None),
            None => Err(format!(
                "couldn't find key {key} in {shown} {namespace}/{name}"
            )),
        };
    }
    Ok(None)
}

/// `KUBERNETES_*` always, and the namespace's services if the pod wants links.
async fn service_variables(
    context: &Context,
    pod: &Object,
) -> Result<BTreeMap<String, String>, String> {
    let mut values = BTreeMap::new();
    let message = |status: Status| status.message().to_owned();
    let master = match context.api.get("services", "default", "kubernetes").await {
        Ok(service) => Some(service),
        Err(status) if status.is_not_found() => None,
        Err(status) => return Err(message(status)),
    };
    if pod.at("spec.enableServiceLinks").as_bool().unwrap_or(true) {
        let services = context
            .api
            .list("services", pod.namespace())
            .await
            .map_err(message)?;
        services
            .iter()
            .for_each(|service| link(service, &mut values));
    }
    if let Some(master) = master {
        link(&master, &mut values);
    }
    Ok(values)
}

/// The variables of one service, as Docker's links had them.
fn link(service: &Object, values: &mut BTreeMap<String, String>) {
    let address = service.at("spec.clusterIP").str();
    if ["", "None"].contains(&address) {
        return;
    }
    let prefix = service.name().to_uppercase().replace('-', "_");
    let host = if address.contains(':') {
        format!("[{address}]")
    } else {
        address.into()
    };
    values.insert(format!("{prefix}_SERVICE_HOST"), address.into());
    for (index, port) in service.at("spec.ports").items().enumerate() {
        let number = port.get("port").i64();
        let protocol = port.get("protocol").as_str().unwrap_or("TCP");
        let lower = protocol.to_lowercase();
        let url = format!("{lower}://{host}:{number}");
        if index == 0 {
            values.insert(format!("{prefix}_SERVICE_PORT"), number.to_string());
            values.insert(format!("{prefix}_PORT"), url.clone());
        }
        if let Some(name) = port.get("name").as_str().filter(|name| !name.is_empty()) {
            let name = SmolStr::new(name.to_uppercase().replace('-', "_"));
            values.insert(format!("{prefix}_SERVICE_PORT_{name}"), number.to_string());
        }
        let stem = format!("{prefix}_PORT_{number}_{protocol}");
        values.insert(format!("{stem}_PROTO"), lower);
        values.insert(format!("{stem}_PORT"), number.to_string());
        values.insert(format!("{stem}_ADDR"), address.into());
        values.insert(stem, url);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion() {
        let values = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        for (text, wanted) in [
            ("x$(A)y", "x1y"),
            ("$$(A)", "$(A)"),
            ("$(B)", "$(B)"),
            ("$A$", "$A$"),
            ("$(A", "$(A"),
            ("$$$(A)", "$1"),
        ] {
            assert_eq!(expand(text, &values), wanted, "{text}");
        }
    }
}
