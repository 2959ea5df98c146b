//! Asking who may do what.
//!
//! The question is put to a callback; who answers is the caller's business. Upstream
//! counterpart: `k8s.io/apiserver/pkg/cel/library/authz.go`.

use super::{Opaque, Row, text, wrong};
use crate::{EvalError, Outcome, Val};
use machinery::{SmolStr, dns1123_label, dns1123_subdomain};
use std::{fmt, sync::Arc};

pub(crate) const TABLE: &[Row] = &[
    (
        "path",
        "authorizer_path",
        "Authorizer.(string) -> PathCheck",
        path,
    ),
    (
        "group",
        "authorizer_group",
        "Authorizer.(string) -> GroupCheck",
        group,
    ),
    (
        "serviceAccount",
        "authorizer_serviceaccount",
        "Authorizer.(string, string) -> Authorizer",
        service_account,
    ),
    (
        "resource",
        "groupcheck_resource",
        "GroupCheck.(string) -> ResourceCheck",
        resource,
    ),
    (
        "subresource",
        "resourcecheck_subresource",
        "ResourceCheck.(string) -> ResourceCheck",
        |args| refine(args, |check, text| check.subresource = text),
    ),
    (
        "namespace",
        "resourcecheck_namespace",
        "ResourceCheck.(string) -> ResourceCheck",
        |args| refine(args, |check, text| check.namespace = text),
    ),
    (
        "name",
        "resourcecheck_name",
        "ResourceCheck.(string) -> ResourceCheck",
        |args| refine(args, |check, text| check.name = text),
    ),
    (
        "fieldSelector",
        "authorizer_fieldselector",
        "ResourceCheck.(string) -> ResourceCheck",
        |args| refine(args, |check, text| check.field_selector = text),
    ),
    (
        "labelSelector",
        "authorizer_labelselector",
        "ResourceCheck.(string) -> ResourceCheck",
        |args| refine(args, |check, text| check.label_selector = text),
    ),
    (
        "check",
        "pathcheck_check",
        "PathCheck.(string) -> Decision",
        check,
    ),
    (
        "check",
        "resourcecheck_check",
        "ResourceCheck.(string) -> Decision",
        check,
    ),
    (
        "errored",
        "decision_errored",
        "Decision.() -> bool",
        |args| Ok(Val::Bool(!verdict(args)?.error.is_empty())),
    ),
    ("error", "decision_error", "Decision.() -> string", |args| {
        Ok(Val::text(verdict(args)?.error.clone()))
    }),
    (
        "allowed",
        "decision_allowed",
        "Decision.() -> bool",
        |args| Ok(Val::Bool(verdict(args)?.allowed)),
    ),
    (
        "reason",
        "decision_reason",
        "Decision.() -> string",
        |args| Ok(Val::text(verdict(args)?.reason.clone())),
    ),
];

/// Who answers.
pub trait Authorizer: Send + Sync {
    /// Decides.
    fn authorize(&self, check: &AuthorizationCheck) -> Verdict;
}

/// A question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AuthorizationCheck {
    /// Namespace and name of the service account asked about; otherwise it is the requester.
    pub service_account: Option<(SmolStr, SmolStr)>,
    /// Path of a request for no resource; empty for one.
    pub path: SmolStr,
    pub verb: SmolStr,
    pub group: SmolStr,
    pub resource: SmolStr,
    pub subresource: SmolStr,
    pub namespace: SmolStr,
    pub name: SmolStr,
    pub field_selector: SmolStr,
    pub label_selector: SmolStr,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Verdict {
    pub allowed: bool,
    pub reason: SmolStr,
    /// Empty unless deciding failed.
    pub error: SmolStr,
}

/// Who asks whom.
#[derive(Clone)]
pub struct Asker<'a> {
    authorizer: &'a (dyn Authorizer + 'a),
    service_account: Option<(SmolStr, SmolStr)>,
}

impl fmt::Debug for Asker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asker({:?})", self.service_account)
    }
}

impl<'a> Val<'a> {
    /// The `authorizer` variable.
    pub fn authorizer(authorizer: &'a (dyn Authorizer + 'a)) -> Self {
        Self::Opaque(Opaque::Authorizer(Arc::new(Asker {
            authorizer,
            service_account: None,
        })))
    }

    /// The `authorizer.requestResource` variable: the question for the request's own resource.
    pub fn resource_check(
        authorizer: &'a (dyn Authorizer + 'a),
        check: AuthorizationCheck,
    ) -> Self {
        let asker = Asker {
            authorizer,
            service_account: None,
        };
        Self::Opaque(Opaque::ResourceCheck(Arc::new((asker, check))))
    }
}

fn asker<'v, 'a>(args: &'v [Val<'a>]) -> Result<&'v Asker<'a>, EvalError> {
    match &args[0] {
        Val::Opaque(Opaque::Authorizer(asker)) => Ok(asker),
        _ => Err(wrong()),
    }
}

fn verdict<'v>(args: &'v [Val]) -> Result<&'v Verdict, EvalError> {
    match &args[0] {
        Val::Opaque(Opaque::Decision(verdict)) => Ok(verdict),
        _ => Err(wrong()),
    }
}

fn path<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let (asker, path) = (asker(args)?, text(&args[1])?);
    if path.trim().is_empty() {
        return Err(EvalError::new("path must not be empty"));
    }
    let check = AuthorizationCheck {
        service_account: asker.service_account.clone(),
        path: path.into(),
        ..AuthorizationCheck::default()
    };
    Ok(Val::Opaque(Opaque::PathCheck(Arc::new((
        asker.clone(),
        check,
    )))))
}

fn group<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let asker = asker(args)?;
    let check = AuthorizationCheck {
        service_account: asker.service_account.clone(),
        group: text(&args[1])?.into(),
        ..AuthorizationCheck::default()
    };
    Ok(Val::Opaque(Opaque::GroupCheck(Arc::new((
        asker.clone(),
        check,
    )))))
}

fn service_account<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let mut asker = asker(args)?.clone();
    let (namespace, name) = (text(&args[1])?, text(&args[2])?);
    if !dns1123_subdomain(name).is_empty() {
        return Err(EvalError::new("Invalid service account name"));
    }
    if !dns1123_label(namespace).is_empty() {
        return Err(EvalError::new("Invalid service account namespace"));
    }
    asker.service_account = Some((namespace.into(), name.into()));
    Ok(Val::Opaque(Opaque::Authorizer(Arc::new(asker))))
}

fn resource<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let Val::Opaque(Opaque::GroupCheck(check)) = &args[0] else {
        return Err(wrong());
    };
    let resource = text(&args[1])?;
    if resource.trim().is_empty() {
        return Err(EvalError::new("resource must not be empty"));
    }
    let (asker, mut check) = (**check).clone();
    check.resource = resource.into();
    Ok(Val::Opaque(Opaque::ResourceCheck(Arc::new((asker, check)))))
}

fn refine<'a>(args: &[Val<'a>], set: fn(&mut AuthorizationCheck, SmolStr)) -> Outcome<'a> {
    let Val::Opaque(Opaque::ResourceCheck(check)) = &args[0] else {
        return Err(wrong());
    };
    let (asker, mut check) = (**check).clone();
    set(&mut check, text(&args[1])?.into());
    Ok(Val::Opaque(Opaque::ResourceCheck(Arc::new((asker, check)))))
}

fn check<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let (Val::Opaque(Opaque::ResourceCheck(check)) | Val::Opaque(Opaque::PathCheck(check))) =
        &args[0]
    else {
        return Err(wrong());
    };
    let (asker, mut check) = (**check).clone();
    check.verb = text(&args[1])?.into();
    let verdict = asker.authorizer.authorize(&check);
    Ok(Val::Opaque(Opaque::Decision(Arc::new(verdict))))
}
