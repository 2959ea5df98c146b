//! All kinds served at a moment: immutable, replaced whole when CRDs change.
//!
//! Upstream counterparts: `pkg/controlplane/instance.go` (what is served by default), the
//! discovery handlers' group and version order.

use crate::{
    Columns, Convert, Kind, Row, ScalePaths, Strategy, SubKind, Subresource, Verbs, parts,
};
use machinery::{GroupVersion, GroupVersionKind, SmolStr, format_smolstr};
use schema::{Schema, TypeRef};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// What a built-in kind has beyond its row in the discovery table.
#[derive(Clone, Copy)]
pub struct Part {
    /// Resource in the store.
    pub storage: &'static str,
    /// Rules of writing it.
    pub strategy: Strategy,
    /// Column heads, see [`Columns::of`].
    pub heads: &'static [&'static str],
    /// Cells of a row; `None`: name and age.
    pub row: Option<Row>,
    /// Selectable fields.
    pub selectable: &'static [&'static str],
    /// Conversion between versions.
    pub convert: Option<Convert>,
}

impl Part {
    /// Nothing particular.
    pub const fn plain(storage: &'static str) -> Part {
        Part {
            storage,
            strategy: Strategy::PLAIN,
            heads: &[],
            row: None,
            selectable: &[],
            convert: None,
        }
    }
}

/// How long an event lives.
const EVENT_TTL: Duration = Duration::from_secs(3_600);

/// A group as discovery lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name, empty for core.
    pub name: SmolStr,
    /// Versions, the preferred one first.
    pub versions: Vec<SmolStr>,
}

/// All kinds served at a moment. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    inner: Arc<Inner>,
}

#[derive(Clone, Debug, Default)]
struct Inner {
    kinds: Vec<Arc<Kind>>,
    builtin: usize,
    groups: Vec<Group>,
    resources: BTreeMap<(SmolStr, SmolStr, SmolStr), usize>,
    names: BTreeMap<GroupVersionKind, usize>,
    storage: BTreeMap<SmolStr, usize>,
}

impl Catalogue {
    /// The built-in kinds served by default.
    pub fn builtin() -> Catalogue {
        let kinds: Vec<_> = builtin_kinds().into_iter().map(Arc::new).collect();
        let builtin = kinds.len();
        Self::of(kinds, builtin)
    }

    /// The built-in kinds and these custom ones (all of them: those of before are forgotten).
    pub fn with_custom(&self, custom: Vec<Kind>) -> Catalogue {
        let builtin = self.inner.builtin;
        let mut custom: Vec<_> = custom.into_iter().map(Arc::new).collect();
        custom.sort_by(|a, b| {
            (&a.gvk.group, &a.plural)
                .cmp(&(&b.gvk.group, &b.plural))
                .then_with(|| compare_versions(&b.gvk.version, &a.gvk.version))
        });
        let mut kinds = self.inner.kinds[..builtin].to_vec();
        kinds.extend(custom);
        Self::of(kinds, builtin)
    }

    fn of(kinds: Vec<Arc<Kind>>, builtin: usize) -> Catalogue {
        let mut inner = Inner {
            builtin,
            ..Inner::default()
        };
        for (at, kind) in kinds.iter().enumerate() {
            let GroupVersionKind { group, version, .. } = &kind.gvk;
            inner
                .resources
                .insert((group.clone(), version.clone(), kind.plural.clone()), at);
            inner.names.insert(kind.gvk.clone(), at);
            if kind.stored && kind.storage_version == kind.api_version() {
                inner.storage.insert(kind.storage.clone(), at);
            }
            let position = inner.groups.iter().position(|known| known.name == *group);
            let position = position.unwrap_or_else(|| {
                inner.groups.push(Group {
                    name: group.clone(),
                    versions: Vec::new(),
                });
                inner.groups.len() - 1
            });
            if !inner.groups[position].versions.contains(version) {
                inner.groups[position].versions.push(version.clone());
            }
            if at >= builtin {
                inner.groups[position]
                    .versions
                    .sort_by(|a, b| compare_versions(b, a));
            }
        }
        inner.kinds = kinds;
        Catalogue {
            inner: Arc::new(inner),
        }
    }

    /// The kind behind a path `/apis/group/version/plural`.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        let key = (group.into(), version.into(), plural.into());
        self.inner
            .resources
            .get(&key)
            .map(|at| &self.inner.kinds[*at])
    }

    /// The kind of that name.
    pub fn kind(&self, gvk: &GroupVersionKind) -> Option<&Arc<Kind>> {
        self.inner.names.get(gvk).map(|at| &self.inner.kinds[*at])
    }

    /// The storage version of what is stored as `storage`.
    pub fn by_storage(&self, storage: &str) -> Option<&Arc<Kind>> {
        self.inner
            .storage
            .get(storage)
            .map(|at| &self.inner.kinds[*at])
    }

    /// The kind of group and plural name in its preferred version.
    pub fn preferred(&self, group: &str, plural: &str) -> Option<&Arc<Kind>> {
        let group = self.group(group)?;
        group
            .versions
            .iter()
            .find_map(|version| self.resource(&group.name, version, plural))
    }

    /// Groups in discovery order, the core group first.
    pub fn groups(&self) -> &[Group] {
        &self.inner.groups
    }

    /// The group of that name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.inner.groups.iter().find(|group| group.name == name)
    }

    /// Whether a group has kinds that are not custom.
    pub fn is_builtin(&self, group: &str) -> bool {
        self.iter()
            .any(|kind| kind.gvk.group == group && !kind.custom)
    }

    /// Whether it is the very same catalogue (not an equal one).
    pub fn is_same(&self, other: &Catalogue) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// All kinds in discovery order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.inner.kinds.iter()
    }

    /// The kinds of one group and version, by plural name.
    pub fn of_version(&self, group: &str, version: &str) -> impl Iterator<Item = &Arc<Kind>> {
        let start = (
            SmolStr::new(group),
            SmolStr::new(version),
            SmolStr::default(),
        );
        let (group, version) = (start.0.clone(), start.1.clone());
        self.inner
            .resources
            .range(start..)
            .take_while(move |(key, _)| key.0 == group && key.1 == version)
            .map(|(_, at)| &self.inner.kinds[*at])
    }
}

/// Kube-aware order of versions: `v2` > `v1` > `v1beta2` > `v1beta1` > `v1alpha1` > others.
fn compare_versions(a: &str, b: &str) -> std::cmp::Ordering {
    version_rank(a).cmp(&version_rank(b)).then_with(|| b.cmp(a))
}

fn version_rank(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (major, tail) = rest.split_at(digits);
    let major = major.parse().ok()?;
    if tail.is_empty() {
        return Some((2, major, 0));
    }
    let beta = tail.strip_prefix("beta").map(|minor| (1, minor));
    let (stage, minor) = beta.or_else(|| tail.strip_prefix("alpha").map(|minor| (0, minor)))?;
    Some((stage, major, minor.parse().ok()?))
}

fn builtin_kinds() -> Vec<Kind> {
    let schema = schema::builtin();
    let (mut kinds, mut version, mut prefix) = (Vec::<Kind>::new(), GroupVersion::default(), "");
    for line in include_str!("discovery.txt")
        .lines()
        .filter(|line| !line.is_empty())
    {
        if let Some(head) = line.strip_prefix('[') {
            let (name, definitions) = head.split_once("] ").expect("a head names its definitions");
            (version, prefix) = (GroupVersion::parse(name), definitions);
        } else if let Some(row) = line.strip_prefix('/') {
            let kind = kinds
                .last_mut()
                .expect("subresources follow their resource");
            let subresource = parse_subresource(row, kind);
            kind.subresources.push(subresource);
        } else {
            kinds.push(parse_kind(line, &version, prefix, schema));
        }
    }
    kinds
}

fn parse_kind(
    row: &'static str,
    version: &GroupVersion,
    prefix: &str,
    schema: &Arc<Schema>,
) -> Kind {
    let fields: Vec<&str> = row.split(' ').collect();
    let [plural, kind, scope, verbs, short, categories, hash] = fields[..] else {
        panic!("a row of the discovery table has seven fields: {row}")
    };
    let definition = format!("{prefix}.{kind}");
    let id = schema
        .named(&definition)
        .unwrap_or_else(|| panic!("no type {definition}"));
    let list = |text: &'static str| -> Vec<SmolStr> {
        text.split(',')
            .filter(|one| *one != "-")
            .map(SmolStr::new_static)
            .collect()
    };
    let storage = storage_of(&version.group, plural);
    let part = parts().get(storage.as_str());
    let made = Kind {
        gvk: GroupVersionKind::new(&version.group, &version.version, kind),
        plural: plural.into(),
        singular: kind.to_ascii_lowercase().into(),
        list_kind: format_smolstr!("{kind}List"),
        short_names: list(short),
        categories: list(categories),
        namespaced: scope == "N",
        verbs: Verbs::parse(verbs),
        subresources: Vec::new(),
        type_ref: TypeRef {
            schema: Arc::clone(schema),
            id,
        },
        columns: Arc::new(Columns::plain()),
        strategy: Strategy::PLAIN,
        selectable: Vec::new(),
        storage_version: storage_version(&storage, version),
        durable: !matches!(storage.as_str(), crate::EVENTS | crate::LEASES),
        ttl: (storage == crate::EVENTS).then_some(EVENT_TTL),
        storage,
        convert: None,
        conversion_webhook: None,
        storage_version_hash: if hash == "-" {
            SmolStr::default()
        } else {
            hash.into()
        },
        custom: false,
        versions: Arc::default(),
        rules: Arc::default(),
        stored: hash != "-",
        deprecation: deprecation(&version.group, plural),
    };
    match part {
        Some(part) => made.with_part(part),
        None => made,
    }
}

/// Both event groups share one place.
fn storage_of(group: &str, plural: &str) -> SmolStr {
    match (group, plural) {
        ("events.k8s.io", "events") => crate::EVENTS.into(),
        ("", _) => plural.into(),
        _ => format_smolstr!("{plural}.{group}"),
    }
}

fn storage_version(storage: &str, served: &GroupVersion) -> SmolStr {
    match storage {
        crate::EVENTS => "v1".into(),
        crate::HORIZONTAL_POD_AUTOSCALERS => "autoscaling/v2".into(),
        _ => served.api_version(),
    }
}

fn deprecation(group: &str, plural: &str) -> Option<SmolStr> {
    match (group, plural) {
        ("", "componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+".into()),
        ("", "endpoints") => Some(
            "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".into(),
        ),
        _ => None,
    }
}

fn parse_subresource(row: &str, kind: &Kind) -> Subresource {
    let fields: Vec<&str> = row.split(' ').collect();
    let [name, body, verbs] = fields[..] else {
        panic!("a subresource row has three fields: {row}")
    };
    let gvk = match body.rsplit_once('.') {
        Some((version, kind)) => {
            let version = GroupVersion::parse(version);
            GroupVersionKind::new(&version.group, &version.version, kind)
        }
        None => GroupVersionKind {
            kind: body.into(),
            ..kind.gvk.clone()
        },
    };
    let what = match name {
        "status" => SubKind::Status,
        "scale" => SubKind::Scale(ScalePaths {
            spec: "spec.replicas".into(),
            status: "status.replicas".into(),
            selector: "spec.selector".into(),
        }),
        "proxy" | "exec" | "attach" | "log" | "portforward" => SubKind::Connect,
        "binding" | "eviction" | "token" => SubKind::Create,
        _ => SubKind::Part,
    };
    Subresource {
        name: name.into(),
        gvk,
        verbs: Verbs::parse(verbs),
        kind: what,
    }
}
