//! Discovery documents, plain and aggregated.
//!
//! Knows no kind by name. Upstream counterpart: `apiserver/pkg/endpoints/discovery`.

use crate::{ApiGroup, ApiResource, ApiSubresource};
use machinery::{GroupVersion, GroupVersionKind, Map, SmolStr, Value, json};

/// `/api`: versions of the core group and the server's address.
pub fn api_versions(versions: &[SmolStr], server_address: &str) -> Value {
    json!({
        "kind": "APIVersions", "versions": versions.to_vec(),
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    })
}

/// `/apis`: all groups but the core one.
pub fn api_group_list(groups: &[ApiGroup]) -> Value {
    let named = groups.iter().filter(|group| !group.name.is_empty());
    let groups: Vec<Value> = named.map(group_entry).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`.
pub fn api_group(group: &ApiGroup) -> Value {
    let mut value = group_entry(group);
    value["kind"] = "APIGroup".into();
    value["apiVersion"] = "v1".into();
    value
}

fn group_entry(group: &ApiGroup) -> Value {
    let version = |version: &SmolStr| {
        let gv = GroupVersion::new(&group.name, version);
        json!({"groupVersion": gv.api_version(), "version": version})
    };
    let versions: Vec<Value> = group.versions.iter().map(version).collect();
    let preferred = versions.first().cloned().unwrap_or_default();
    json!({"name": &group.name, "versions": versions, "preferredVersion": preferred})
}

/// `/api/v1`, `/apis/GROUP/VERSION`: the resources of one version.
pub fn api_resource_list<'a>(
    gv: &GroupVersion,
    resources: impl Iterator<Item = &'a ApiResource>,
) -> Value {
    let mut rows = Vec::new();
    for resource in resources {
        rows.push(resource_row(resource));
        let subresources = resource.subresources.iter();
        rows.extend(subresources.map(|sub| subresource_row(gv, resource, sub)));
    }
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": gv.api_version(), "resources": rows})
}

fn resource_row(resource: &ApiResource) -> Value {
    let mut row = json!({
        "name": &resource.plural, "singularName": &resource.singular, "namespaced": resource.namespaced,
        "kind": &resource.gvk.kind, "verbs": resource.verbs.clone(),
    });
    let map = row.make_object();
    names(map, resource);
    if !resource.storage_version_hash.is_empty() {
        map.insert("storageVersionHash", &resource.storage_version_hash);
    }
    row
}

fn names(map: &mut Map, resource: &ApiResource) {
    if !resource.short_names.is_empty() {
        map.insert("shortNames", resource.short_names.clone());
    }
    if !resource.categories.is_empty() {
        map.insert("categories", resource.categories.clone());
    }
}

fn subresource_row(gv: &GroupVersion, resource: &ApiResource, sub: &ApiSubresource) -> Value {
    let mut row = json!({
        "name": format!("{}/{}", resource.plural, sub.name), "singularName": "",
        "namespaced": resource.namespaced, "kind": &sub.gvk.kind, "verbs": sub.verbs.clone(),
    });
    if sub.gvk.group_version() != *gv {
        row["group"] = (&sub.gvk.group).into();
        row["version"] = (&sub.gvk.version).into();
    }
    row
}

/// `APIGroupDiscoveryList` of `/api` (core group alone) or `/apis`; `version` is `v2` or `v2beta1`.
pub fn aggregated_discovery<'a>(
    version: &str,
    groups: &[ApiGroup],
    resources: impl Iterator<Item = &'a ApiResource> + Clone,
) -> Value {
    let items: Vec<Value> = groups
        .iter()
        .map(|group| group_discovery(group, resources.clone()))
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {}, "items": items,
    })
}

fn group_discovery<'a>(
    group: &ApiGroup,
    resources: impl Iterator<Item = &'a ApiResource> + Clone,
) -> Value {
    let version = |version: &SmolStr| {
        let rows: Vec<Value> = resources
            .clone()
            .filter(|resource| resource.gvk.group == group.name && resource.gvk.version == *version)
            .map(resource_discovery)
            .collect();
        json!({"version": version, "freshness": "Current", "resources": rows})
    };
    let versions: Vec<Value> = group.versions.iter().map(version).collect();
    let metadata = if group.name.is_empty() {
        json!({"creationTimestamp": null})
    } else {
        json!({"name": &group.name, "creationTimestamp": null})
    };
    json!({"metadata": metadata, "versions": versions})
}

/// What is answered: built-in resources leave out the group and version they are listed under.
fn response_kind(resource: &ApiResource, gvk: &GroupVersionKind) -> Value {
    let built_in = resource.type_ref.schema.source.is_none();
    if built_in && gvk.group_version() == resource.gvk.group_version() {
        return json!({"group": "", "version": "", "kind": &gvk.kind});
    }
    json!({"group": &gvk.group, "version": &gvk.version, "kind": &gvk.kind})
}

fn resource_discovery(resource: &ApiResource) -> Value {
    let scope = if resource.namespaced {
        "Namespaced"
    } else {
        "Cluster"
    };
    let mut row = json!({
        "resource": &resource.plural, "responseKind": response_kind(resource, &resource.gvk), "scope": scope,
        "singularResource": &resource.singular, "verbs": resource.verbs.clone(),
    });
    let map = row.make_object();
    names(map, resource);
    let subresource = |sub: &ApiSubresource| json!({"subresource": &sub.name, "responseKind": response_kind(resource, &sub.gvk), "verbs": sub.verbs.clone()});
    if !resource.subresources.is_empty() {
        let subresources: Vec<Value> = resource.subresources.iter().map(subresource).collect();
        map.insert("subresources", subresources);
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{box_resource, groups};

    #[test]
    fn lists_groups_and_resources() {
        let list = api_group_list(&groups());
        assert_eq!(
            list["groups"],
            json!([{
                "name": "example.com",
                "versions": [{"groupVersion": "example.com/v1", "version": "v1"}],
                "preferredVersion": {"groupVersion": "example.com/v1", "version": "v1"},
            }])
        );
        let resource = box_resource();
        let list = api_resource_list(&resource.gvk.group_version(), [&resource].into_iter());
        assert_eq!(list["groupVersion"].str(), "example.com/v1");
        assert_eq!(
            list["resources"],
            json!([
                {"name": "boxes", "singularName": "box", "namespaced": true, "kind": "Box", "shortNames": ["bx"],
                 "categories": ["all"], "verbs": ["create", "get", "list", "patch"], "storageVersionHash": "h"},
                {"name": "boxes/status", "singularName": "", "namespaced": true, "kind": "Box", "verbs": ["get"]},
                {"name": "boxes/scale", "singularName": "", "namespaced": true, "kind": "Scale", "group": "autoscaling",
                 "version": "v1", "verbs": ["get"]},
            ])
        );
    }

    #[test]
    fn aggregates() {
        let resource = box_resource();
        let document = aggregated_discovery("v2", &groups()[1..], [&resource].into_iter());
        assert_eq!(document["apiVersion"].str(), "apidiscovery.k8s.io/v2");
        let group = &document["items"][0];
        assert_eq!(group["metadata"]["name"].str(), "example.com");
        let row = &group["versions"][0]["resources"][0];
        assert_eq!(row["scope"].str(), "Namespaced");
        assert_eq!(
            row["responseKind"],
            json!({"group": "", "version": "", "kind": "Box"})
        );
        assert_eq!(
            row["subresources"][1]["responseKind"],
            json!({"group": "autoscaling", "version": "v1", "kind": "Scale"})
        );
    }
}
