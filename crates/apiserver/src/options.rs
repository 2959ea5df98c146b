//! Query parameters as the door's options.
//!
//! Upstream counterpart: `metav1.{List,Create,Update,Patch,Delete}Options` and their validation.

use codec::IncludeObject;
use machinery::{FieldError, FieldSelector, LabelSelector, Reason, SmolStr, Status, Value};
use registry::{FieldValidation, Options, Verb, VersionMatch};

/// A query string, decoded.
pub struct Query(pub Vec<(String, String)>);

impl Query {
    /// The first value of `key`, empty if absent.
    pub fn get(&self, key: &str) -> &str {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map_or("", |(_, value)| value)
    }

    /// All values of `key`.
    pub fn all(&self, key: &str) -> Vec<String> {
        self.0
            .iter()
            .filter(|(name, _)| name == key)
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// A boolean: `true` and `1` (and the bare word) are true.
    pub fn flag(&self, key: &str) -> bool {
        self.0
            .iter()
            .any(|(name, value)| name == key && matches!(value.as_str(), "true" | "1" | ""))
    }

    fn number(&self, key: &str) -> Result<Option<i64>, Status> {
        match self.get(key) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                let why = format!("strconv.ParseInt: parsing {text:?}: invalid syntax");
                Status::bad_request(why)
            }),
        }
    }

    /// `timeoutSeconds`.
    pub fn timeout_seconds(&self) -> Result<Option<i64>, Status> {
        self.number("timeoutSeconds")
    }

    /// `includeObject` of tables.
    pub fn include_object(&self) -> Result<IncludeObject, Status> {
        let text = self.get("includeObject");
        IncludeObject::parse(text).ok_or_else(|| {
            Status::bad_request(format!("unrecognized includeObject value: {text:?}"))
        })
    }

    /// Everything the door wants to know of a request with this verb. What a deletion is to do is
    /// in its body, or in [`Self::delete_options`].
    pub fn options(&self, user_agent: &str, verb: Verb) -> Result<Options, Status> {
        match verb {
            Verb::Delete => Ok(Options {
                field_manager: self.manager(user_agent),
                ..Options::default()
            }),
            Verb::DeleteCollection => self.read_options(user_agent),
            _ => Ok(Options {
                dry_run: self.dry_run()?,
                field_validation: self.field_validation()?,
                ..self.read_options(user_agent)?
            }),
        }
    }

    fn manager(&self, user_agent: &str) -> SmolStr {
        match self.get("fieldManager") {
            "" => derived_manager(user_agent),
            named => named.into(),
        }
    }

    fn read_options(&self, user_agent: &str) -> Result<Options, Status> {
        Ok(Options {
            field_manager: self.manager(user_agent),
            force: self.flag("force"),
            labels: LabelSelector::parse(self.get("labelSelector"))?,
            fields: FieldSelector::parse(self.get("fieldSelector"))?,
            resource_version: self.resource_version()?,
            version_match: self.version_match()?,
            limit: self.limit()?,
            continue_token: self.get("continue").into(),
            bookmarks: self.flag("allowWatchBookmarks"),
            initial_events: (!self.all("sendInitialEvents").is_empty())
                .then(|| self.flag("sendInitialEvents")),
            ..Options::default()
        })
    }

    /// Whether the client named its manager itself, as apply requires.
    pub fn names_manager(&self) -> bool {
        !self.get("fieldManager").is_empty()
    }

    /// `limit`; none if it is negative.
    fn limit(&self) -> Result<usize, Status> {
        let given = self.number("limit")?.unwrap_or(0);
        Ok(usize::try_from(given).unwrap_or(0))
    }

    fn dry_run(&self) -> Result<bool, Status> {
        let values = self.all("dryRun");
        match values.iter().find(|value| *value != "All") {
            Some(value) => Err(invalid(FieldError::not_supported(
                "dryRun",
                value,
                &["All"],
            ))),
            None => Ok(!values.is_empty()),
        }
    }

    fn field_validation(&self) -> Result<FieldValidation, Status> {
        match self.get("fieldValidation") {
            "" | "Warn" => Ok(FieldValidation::Warn),
            "Ignore" => Ok(FieldValidation::Ignore),
            "Strict" => Ok(FieldValidation::Strict),
            text => Err(invalid(FieldError::not_supported(
                "fieldValidation",
                text,
                &["Ignore", "Strict", "Warn"],
            ))),
        }
    }

    fn resource_version(&self) -> Result<Option<u64>, Status> {
        let text = self.get("resourceVersion");
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| {
            let detail = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
            Status::bad_request(format!(
                "invalid resource version: resourceVersion: Invalid value: {text:?}: {detail}"
            ))
        })
    }

    fn version_match(&self) -> Result<VersionMatch, Status> {
        match self.get("resourceVersionMatch") {
            "" => Ok(VersionMatch::Unset),
            "Exact" => Ok(VersionMatch::Exact),
            "NotOlderThan" => Ok(VersionMatch::NotOlderThan),
            text => Err(self.unknown_match(text)),
        }
    }

    fn unknown_match(&self, text: &str) -> Status {
        const MATCH: &str = "resourceVersionMatch";
        let mut errors = Vec::new();
        if self.get("resourceVersion").is_empty() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            errors.push(FieldError::forbidden(MATCH, why));
        }
        let known = ["Exact", "NotOlderThan", ""];
        errors.push(FieldError::not_supported(MATCH, text, &known));
        Status::invalid("meta.k8s.io", "ListOptions", "", &errors)
    }

    /// The `DeleteOptions` of a deletion without a body; none where nothing is asked for.
    pub fn delete_options(&self) -> Result<Option<Value>, Status> {
        let mut options = Value::object();
        if let Some(seconds) = self.number("gracePeriodSeconds")? {
            options["gracePeriodSeconds"] = seconds.into();
        }
        let policy = self.get("propagationPolicy");
        if !policy.is_empty() {
            options["propagationPolicy"] = policy.into();
        }
        if let Some(orphan) = self.all("orphanDependents").first() {
            // Whatever is not plainly no is yes.
            let no = orphan == "0" || orphan.eq_ignore_ascii_case("false");
            options["orphanDependents"] = (!no).into();
        }
        let stages = self.all("dryRun");
        if !stages.is_empty() {
            options["dryRun"] = stages.into();
        }
        for field in ["uid", "resourceVersion"] {
            let wanted = self.get(field);
            if !wanted.is_empty() {
                options.set_at(&["preconditions", field], wanted);
            }
        }
        Ok((options != Value::object()).then_some(options))
    }
}

fn invalid(error: FieldError) -> Status {
    let message = error.to_string();
    Status::new(Reason::Invalid, message.clone()).cause(
        "FieldValueNotSupported",
        message,
        error.field,
    )
}

/// The manager of a client that does not name one: its agent up to the first slash, as upstream.
fn derived_manager(user_agent: &str) -> SmolStr {
    const LENGTH_MAX: usize = 128;
    let name = user_agent.split('/').next().unwrap_or_default();
    let printable: String = name
        .chars()
        .filter(|c| !c.is_control())
        .take(LENGTH_MAX)
        .collect();
    if printable.is_empty() {
        "unknown".into()
    } else {
        printable.into()
    }
}
