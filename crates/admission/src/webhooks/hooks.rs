//! Webhooks as their configurations describe them, parsed once and kept while nothing changes.
//!
//! Upstream counterparts: `admission/configuration`, `admission/plugin/webhook/accessors.go`.

use super::{client::Client, conditions::Condition};
use crate::common::texts;
use machinery::{LabelSelector, Ref, SmolStr, Value, flat, format_smolstr};
use registry::{Door, Table};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// Seconds a webhook is given where it does not say (the field's default).
const TIMEOUT_SECONDS: u64 = 10;

/// One entry of `rules`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rule {
    pub operations: Vec<SmolStr>,
    pub groups: Vec<SmolStr>,
    pub versions: Vec<SmolStr>,
    pub resources: Vec<SmolStr>,
    pub scope: SmolStr,
    /// Names of objects (policies only); empty for any.
    pub names: Vec<SmolStr>,
}

/// Which writes concern a webhook or a policy.
#[derive(Clone, Debug)]
pub(crate) struct Criteria {
    pub rules: Vec<Rule>,
    /// Whether no rules means every write (policies).
    pub unruled: bool,
    /// Rules whose writes do not concern it after all.
    pub excluded: Vec<Rule>,
    /// `matchPolicy: Exact`.
    pub exact: bool,
    pub namespaces: LabelSelector,
    pub objects: LabelSelector,
}

impl Criteria {
    /// The criteria in a webhook, or in the `MatchResources` of a policy.
    pub fn parse(value: &Value, rules: &str) -> Self {
        let list = |field: &str| value[field].items().iter().map(parse_rule).collect();
        let all: Vec<Rule> = list(rules);
        Self {
            unruled: all.is_empty() && rules == "resourceRules",
            rules: all,
            excluded: list("excludeResourceRules"),
            exact: value["matchPolicy"].str() == "Exact",
            namespaces: selector(&value["namespaceSelector"]),
            objects: selector(&value["objectSelector"]),
        }
    }
}

/// Version of the `AdmissionReview` a webhook is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReviewVersion {
    V1,
    V1Beta1,
}

/// One webhook.
#[derive(Clone, Debug)]
pub(super) struct Hook {
    pub name: SmolStr,
    /// Names it among all webhooks of its sort.
    pub id: SmolStr,
    pub criteria: Criteria,
    pub conditions: Vec<Condition>,
    /// `failurePolicy: Ignore`.
    pub ignores_failures: bool,
    /// Whether it may be asked about a dry run.
    pub dry_runs: bool,
    pub timeout: Duration,
    /// `reinvocationPolicy: IfNeeded`.
    pub asked_again: bool,
    /// `None`: it names no version that is spoken here.
    pub version: Option<ReviewVersion>,
    pub client: Result<Client, String>,
}

/// All webhooks of one sort.
pub(super) struct Hooks {
    storage: &'static str,
    parsed: Mutex<Option<(Table, Arc<[Hook]>)>>,
}

impl Hooks {
    pub fn of(storage: &'static str) -> Self {
        Self {
            storage,
            parsed: Mutex::default(),
        }
    }

    /// Whether there are any.
    pub fn exist(&self, door: &Door) -> bool {
        let snapshot = door.snapshot();
        let table = snapshot.tables.get(self.storage);
        table.is_some_and(|table| !table.is_empty())
    }

    /// The webhooks of now, by name of their configuration, then in its order; none costs nothing.
    pub fn now(&self, door: &Door) -> Option<Arc<[Hook]>> {
        let snapshot = door.snapshot();
        let table = snapshot.tables.get(self.storage)?;
        if table.is_empty() {
            return None;
        }
        let mut parsed = self.parsed.lock().expect("parsing does not panic");
        if let Some((of, hooks)) = parsed.as_ref()
            && of.ptr_eq(table)
        {
            return Some(hooks.clone());
        }
        let hooks: Arc<[Hook]> = table
            .values()
            .flat_map(|configuration| parse(&configuration.root().to_value()))
            .collect();
        *parsed = Some((table.clone(), hooks.clone()));
        Some(hooks)
    }
}

fn parse(configuration: &Value) -> Vec<Hook> {
    let hooks = configuration["webhooks"].items().iter().enumerate();
    hooks
        .map(|(at, hook)| {
            let id = format_smolstr!("{}/{}/{at}", configuration.name(), hook["name"].str());
            parse_hook(id, hook)
        })
        .collect()
}

fn parse_hook(id: SmolStr, hook: &Value) -> Hook {
    let seconds = hook["timeoutSeconds"].as_i64();
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let named = |condition: &Value| Condition {
        name: condition["name"].str().to_owned(),
        expression: condition["expression"].str().to_owned(),
    };
    let version = texts(&hook["admissionReviewVersions"]).find_map(|version| match version {
        "v1" => Some(ReviewVersion::V1),
        "v1beta1" => Some(ReviewVersion::V1Beta1),
        _ => None,
    });
    Hook {
        name: hook["name"].str().into(),
        id,
        criteria: Criteria::parse(hook, "rules"),
        conditions: hook["matchConditions"].items().iter().map(named).collect(),
        ignores_failures: hook["failurePolicy"].str() == "Ignore",
        dry_runs: matches!(hook["sideEffects"].str(), "None" | "NoneOnDryRun"),
        timeout: Duration::from_secs(seconds.unwrap_or(TIMEOUT_SECONDS)),
        asked_again: hook["reinvocationPolicy"].str() == "IfNeeded",
        version,
        client: Client::parse(&hook["clientConfig"]),
    }
}

fn parse_rule(rule: &Value) -> Rule {
    let list = |field: &str| texts(&rule[field]).map(SmolStr::new).collect();
    Rule {
        operations: list("operations"),
        groups: list("apiGroups"),
        versions: list("apiVersions"),
        resources: list("resources"),
        scope: rule["scope"].str().into(),
        names: list("resourceNames"),
    }
}

/// An absent selector matches everything here: it defaults to the empty one.
pub(crate) fn selector(value: &Value) -> LabelSelector {
    if value.is_null() {
        return LabelSelector::everything();
    }
    LabelSelector::from_ref(Ref::new(&flat::encode(value)))
}
