//! `Status`: every refusal and failure the API answers with, and field errors inside it.
//!
//! Texts are those that clients match. Upstream counterpart: `k8s.io/apimachinery/pkg/api/errors`
//! and `pkg/util/validation/field`.

use crate::{GroupResource, Map, Value, json};
use std::fmt;

/// `Status.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Reason {
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Expired,
    Invalid,
    ServerTimeout,
    Timeout,
    TooManyRequests,
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    InternalError,
    ServiceUnavailable,
}

impl Reason {
    /// Its HTTP status code.
    pub fn code(self) -> u16 {
        match self {
            Reason::BadRequest => 400,
            Reason::Unauthorized => 401,
            Reason::Forbidden => 403,
            Reason::NotFound => 404,
            Reason::MethodNotAllowed => 405,
            Reason::NotAcceptable => 406,
            Reason::AlreadyExists | Reason::Conflict => 409,
            Reason::Gone | Reason::Expired => 410,
            Reason::RequestEntityTooLarge => 413,
            Reason::UnsupportedMediaType => 415,
            Reason::Invalid => 422,
            Reason::TooManyRequests => 429,
            Reason::InternalError | Reason::ServerTimeout => 500,
            Reason::ServiceUnavailable => 503,
            Reason::Timeout => 504,
        }
    }

    /// The reason that a code stands for, as far as a code can say.
    fn nearest(code: u16) -> Reason {
        match code {
            401 => Reason::Unauthorized,
            403 => Reason::Forbidden,
            404 => Reason::NotFound,
            405 => Reason::MethodNotAllowed,
            406 => Reason::NotAcceptable,
            409 => Reason::Conflict,
            410 => Reason::Gone,
            413 => Reason::RequestEntityTooLarge,
            415 => Reason::UnsupportedMediaType,
            422 => Reason::Invalid,
            429 => Reason::TooManyRequests,
            503 => Reason::ServiceUnavailable,
            504 => Reason::Timeout,
            500.. => Reason::InternalError,
            _ => Reason::BadRequest,
        }
    }
}

/// One entry of `Status.details.causes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldManagerConflict`, `UnexpectedServerResponse`, ...
    pub reason: String,
    /// Sentence.
    pub message: String,
    /// Field path, may be empty.
    pub field: String,
}

/// An API failure. Boxed inside so that `Result<T, Status>` stays small.
#[derive(Clone, Debug, PartialEq)]
pub struct Status(Box<Body>);

#[derive(Clone, Debug, PartialEq)]
struct Body {
    reason: Reason,
    message: String,
    group: String,
    kind: String,
    name: String,
    uid: String,
    causes: Vec<Cause>,
    retry_after_seconds: u32,
    continue_token: String,
    foreign: Option<Foreign>,
    warnings: Vec<String>,
}

/// What a program outside said of its refusal: codes and reasons are its own.
#[derive(Clone, Debug, PartialEq)]
struct Foreign {
    code: u16,
    reason: String,
    details: Value,
}

impl Status {
    /// The same in other words.
    pub fn with_message(mut self, message: String) -> Self {
        self.0.message = message;
        self
    }

    /// The same with what there was to warn of before; not part of the printed failure.
    pub fn warned(mut self, warnings: &mut Vec<String>) -> Self {
        self.0.warnings.append(warnings);
        self
    }

    /// Texts for `Warning` headers.
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// A failure with a message and no details.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Status(Box::new(Body {
            reason,
            message: message.into(),
            group: String::new(),
            kind: String::new(),
            name: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
            continue_token: String::new(),
            foreign: None,
            warnings: Vec::new(),
        }))
    }

    /// A refusal by a program outside, with any code, any reason (or none) and details of its own.
    /// Inside the platform it counts as the nearest [`Reason`].
    pub fn foreign(code: u16, reason: &str, message: impl Into<String>, details: Value) -> Self {
        let mut made = Self::new(Reason::nearest(code), message);
        made.0.foreign = Some(Foreign {
            code,
            reason: reason.to_owned(),
            details,
        });
        made
    }

    /// Adds which object it is about (`kind` holds the resource name, as upstream's does).
    pub fn about(mut self, resource: &GroupResource, name: &str) -> Self {
        self.0.group = resource.group.to_string();
        self.0.kind = resource.resource.to_string();
        self.0.name = name.to_owned();
        self
    }

    /// Adds a cause.
    pub fn cause(
        mut self,
        reason: &str,
        message: impl Into<String>,
        field: impl Into<String>,
    ) -> Self {
        self.0.causes.push(Cause {
            reason: reason.into(),
            message: message.into(),
            field: field.into(),
        });
        self
    }

    /// Adds when to try again, in seconds.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after_seconds = seconds;
        self
    }

    /// Adds the token with which a list goes on all the same (`metadata.continue`).
    pub fn go_on_with(mut self, token: String) -> Self {
        self.0.continue_token = token;
        self
    }

    /// `pods "x" not found`.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::new(Reason::NotFound, format!("{resource} \"{name}\" not found"))
            .about(resource, name)
    }

    /// `pods "x" already exists`.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        Self::new(
            Reason::AlreadyExists,
            format!("{resource} \"{name}\" already exists"),
        )
        .about(resource, name)
    }

    /// `Operation cannot be fulfilled on pods "x": why`.
    pub fn conflict(resource: &GroupResource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Self::new(Reason::Conflict, message).about(resource, name)
    }

    /// The conflict of a stale `resourceVersion`.
    pub fn modified(resource: &GroupResource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// `pods "x" is forbidden: why`.
    pub fn forbidden(resource: &GroupResource, name: &str, why: &str) -> Self {
        let message = match (resource.resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{resource} is forbidden: {why}"),
            (false, false) => format!("{resource} \"{name}\" is forbidden: {why}"),
        };
        Self::new(Reason::Forbidden, message).about(resource, name)
    }

    /// `Kind.group "x" is invalid: causes`. `kind` is the CamelCase kind.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let qualified = if group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{group}")
        };
        let texts: Vec<_> = errors.iter().map(FieldError::to_string).collect();
        let list = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut status = Self::new(
            Reason::Invalid,
            format!("{qualified} \"{name}\" is invalid: {list}"),
        )
        .about(&GroupResource::new(group, kind), name);
        status.0.causes = errors.iter().map(FieldError::cause).collect();
        status
    }

    /// 400 with a message.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(Reason::Unauthorized, "Unauthorized")
    }

    /// 405: `create is not supported on resources of kind "x"`.
    pub fn method_not_supported(resource: &GroupResource, verb: &str) -> Self {
        let message = format!("{verb} is not supported on resources of kind \"{resource}\"");
        Self::new(Reason::MethodNotAllowed, message).about(resource, "")
    }

    /// 410 with reason Expired.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(Reason::Expired, message)
    }

    /// 500: `Internal error occurred: why`.
    pub fn internal(why: impl fmt::Display) -> Self {
        let message = format!("Internal error occurred: {why}");
        Self::new(Reason::InternalError, message).cause("", why.to_string(), "")
    }

    /// 405 for a path that is served with other methods.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(Reason::MethodNotAllowed, message)
    }

    /// 404 for a path that leads nowhere.
    pub fn no_such_path() -> Self {
        Self::new(
            Reason::NotFound,
            "the server could not find the requested resource",
        )
    }

    /// Reason.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// HTTP status code.
    pub fn code(&self) -> u16 {
        match &self.0.foreign {
            Some(foreign) => foreign.code,
            None => self.0.reason.code(),
        }
    }

    /// Message.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Causes.
    pub fn causes(&self) -> &[Cause] {
        &self.0.causes
    }

    /// When to try again, in seconds; zero if not said.
    pub fn retry_after_seconds(&self) -> u32 {
        self.0.retry_after_seconds
    }

    /// Whether it is a 404.
    pub fn is_not_found(&self) -> bool {
        self.0.reason == Reason::NotFound
    }

    /// Whether it says that the object exists already.
    pub fn is_already_exists(&self) -> bool {
        self.0.reason == Reason::AlreadyExists
    }

    /// Whether it is a version or precondition conflict.
    pub fn is_conflict(&self) -> bool {
        self.0.reason == Reason::Conflict
    }

    /// The `v1.Status` object.
    pub fn to_value(&self) -> Value {
        let body = &self.0;
        let mut value = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": &body.message, "reason": format!("{:?}", body.reason), "code": i64::from(self.code()),
        });
        if !body.continue_token.is_empty() {
            value.set_at(&["metadata", "continue"], body.continue_token.as_str());
        }
        let details = self.details();
        // Paths and methods that are not there have details that say nothing.
        if !details.is_empty() || matches!(body.reason, Reason::NotFound | Reason::MethodNotAllowed)
        {
            value["details"] = Value::Object(details);
        }
        if let Some(foreign) = &body.foreign {
            match foreign.reason.as_str() {
                "" => drop(value.make_object().remove("reason")),
                reason => value["reason"] = reason.into(),
            }
            if !foreign.details.is_null() {
                value["details"] = foreign.details.clone();
            }
        }
        value
    }

    fn details(&self) -> Map {
        let body = &self.0;
        let mut details = Map::new();
        for (key, text) in [
            ("name", &body.name),
            ("group", &body.group),
            ("kind", &body.kind),
            ("uid", &body.uid),
        ] {
            if !text.is_empty() {
                details.insert(key, text);
            }
        }
        if !body.causes.is_empty() {
            let causes: Vec<Value> = body.causes.iter().map(Cause::to_value).collect();
            details.insert("causes", causes);
        }
        if body.retry_after_seconds > 0 {
            details.insert("retryAfterSeconds", body.retry_after_seconds);
        }
        details
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let parts = [
            ("reason", &self.reason),
            ("message", &self.message),
            ("field", &self.field),
        ];
        Value::Object(
            parts
                .into_iter()
                .filter(|(_, text)| !text.is_empty())
                .collect(),
        )
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}
impl std::error::Error for Status {}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FieldErrorKind {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    Internal,
    TypeInvalid,
}

impl FieldErrorKind {
    /// Name in `causes[].reason`, and words in the message.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::NotFound => ("FieldValueNotFound", "Not found"),
            Self::Required => ("FieldValueRequired", "Required value"),
            Self::Duplicate => ("FieldValueDuplicate", "Duplicate value"),
            Self::Invalid => ("FieldValueInvalid", "Invalid value"),
            Self::NotSupported => ("FieldValueNotSupported", "Unsupported value"),
            Self::Forbidden => ("FieldValueForbidden", "Forbidden"),
            Self::TooLong => ("FieldValueTooLong", "Too long"),
            Self::TooMany => ("FieldValueTooMany", "Too many"),
            Self::Internal => ("InternalError", "Internal error"),
            Self::TypeInvalid => ("FieldValueTypeInvalid", "Invalid value"),
        }
    }
}

/// One validation failure.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// What is wrong.
    pub kind: FieldErrorKind,
    /// Path, e.g. `spec.containers[0].name`.
    pub field: String,
    /// The offending value; null where the message does not show one.
    pub value: Value,
    /// Explanation, may be empty.
    pub detail: String,
    /// Whether the message leaves the value out although its kind shows one.
    pub omits_value: bool,
    /// How the message shows the value, where that is not its JSON.
    pub shown: Option<String>,
}

impl FieldError {
    fn new(
        kind: FieldErrorKind,
        field: impl ToString,
        value: Value,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            field: field.to_string(),
            value,
            detail: detail.into(),
            omits_value: false,
            shown: None,
        }
    }

    /// The error without its value, as rules of custom resources show whole objects and lists.
    #[must_use]
    pub fn without_value(mut self) -> Self {
        self.omits_value = true;
        self
    }

    /// `Required value: detail`.
    pub fn required(field: impl ToString, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Required, field, Value::Null, detail)
    }

    /// `Invalid value: v: detail`.
    pub fn invalid(
        field: impl ToString,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(FieldErrorKind::Invalid, field, value.into(), detail)
    }

    /// `Invalid value: v: detail` for a value of the wrong type.
    pub fn type_invalid(
        field: impl ToString,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(FieldErrorKind::TypeInvalid, field, value.into(), detail)
    }

    /// `Duplicate value: v`.
    pub fn duplicate(field: impl ToString, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorKind::Duplicate, field, value.into(), "")
    }

    /// `Not found: v`.
    pub fn not_found(field: impl ToString, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorKind::NotFound, field, value.into(), "")
    }

    /// `Forbidden: detail`.
    pub fn forbidden(field: impl ToString, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Forbidden, field, Value::Null, detail)
    }

    /// `Unsupported value: v: supported values: "a", "b"`.
    pub fn not_supported(
        field: impl ToString,
        value: impl Into<Value>,
        supported: &[&str],
    ) -> Self {
        let quoted: Vec<_> = supported.iter().map(|name| format!("{name:?}")).collect();
        let detail = if quoted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted.join(", "))
        };
        Self::new(FieldErrorKind::NotSupported, field, value.into(), detail)
    }

    /// `Too long: may not be more than N bytes`.
    pub fn too_long(field: impl ToString, limit: usize) -> Self {
        let detail = format!("may not be more than {limit} bytes");
        Self::new(FieldErrorKind::TooLong, field, Value::Null, detail)
    }

    /// `Too many: n: must have at most N items`.
    pub fn too_many(field: impl ToString, actual: usize, limit: usize) -> Self {
        let items = if limit == 1 { "item" } else { "items" };
        let detail = format!("must have at most {limit} {items}");
        Self::new(FieldErrorKind::TooMany, field, actual.into(), detail)
    }

    fn body(&self) -> String {
        let (_, words) = self.kind.names();
        let mut text = words.to_owned();
        if self.shows_value() {
            text += ": ";
            text += &self.shown.clone().unwrap_or_else(|| show(&self.value));
        }
        if !self.detail.is_empty() {
            text += ": ";
            text += &self.detail;
        }
        text
    }

    fn shows_value(&self) -> bool {
        use FieldErrorKind::{Forbidden, Internal, Required, TooLong};
        !self.omits_value && !matches!(self.kind, Required | Forbidden | TooLong | Internal)
    }

    fn cause(&self) -> Cause {
        Cause {
            reason: self.kind.names().0.into(),
            message: self.body(),
            field: self.field.clone(),
        }
    }
}

/// A value as Go prints it in such messages: quoted strings, bare numbers, JSON for the rest.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::String(text) => format!("{:?}", text.as_str()),
        Value::Array(items) => {
            let shown: Vec<_> = items.iter().map(show).collect();
            format!("[{}]", shown.join(","))
        }
        Value::Object(map) => {
            let shown: Vec<_> = map
                .iter()
                .map(|(key, value)| format!("{:?}:{}", key.as_str(), show(value)))
                .collect();
            format!("{{{}}}", shown.join(","))
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_upstreams() {
        let errors = [
            FieldError::invalid("spec.replicas", -1, "must be greater than or equal to 0"),
            FieldError::required("spec.selector", ""),
            FieldError::not_supported("spec.type", "X", &["A", "B"]),
        ];
        let status = Status::invalid("apps", "Deployment", "web", &errors);
        assert_eq!(
            status.message(),
            "Deployment.apps \"web\" is invalid: [spec.replicas: Invalid value: -1: must be greater than or equal to 0, \
             spec.selector: Required value, spec.type: Unsupported value: \"X\": supported values: \"A\", \"B\"]"
        );
        assert_eq!(status.code(), 422);
        let value = status.to_value();
        assert_eq!(
            value.at(&["details", "causes"])[1]["reason"].str(),
            "FieldValueRequired"
        );
        assert_eq!(value.at(&["details", "kind"]).str(), "Deployment");
        let missing = Status::not_found(&GroupResource::new("apps", "deployments"), "web");
        assert_eq!(missing.message(), "deployments.apps \"web\" not found");
    }
}
