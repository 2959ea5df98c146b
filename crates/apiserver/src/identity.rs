//! Who sends a request: client certificate, bearer token, impersonation.
//!
//! Upstream counterpart: `authentication/request/{x509,bearertoken}` and `endpoints/filters/impersonation.go`.

use auth::{AUTHENTICATED, Attributes, User};
use hyper::{HeaderMap, header};
use machinery::Status;
use registry::Door;
use std::{collections::BTreeMap, sync::Arc};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Tokens with a fixed meaning, beside those of service accounts.
pub type StaticTokens = BTreeMap<String, User>;

/// The user a verified client certificate names: common name and organizations.
pub fn of_certificate(der: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let mut groups: Vec<String> = subject
        .iter_organization()
        .filter_map(|part| part.as_str().ok().map(str::to_owned))
        .collect();
    groups.push(AUTHENTICATED.into());
    Some(User {
        name,
        groups,
        ..User::default()
    })
}

/// The user of a request, impersonation carried out; anonymous without credentials.
pub fn of_request(
    door: &Door,
    tokens: &StaticTokens,
    certificate: Option<&User>,
    headers: &HeaderMap,
) -> Result<Arc<User>, Status> {
    let user = match (bearer(headers), certificate) {
        (_, Some(user)) => user.clone(),
        (Some(token), None) => match tokens.get(token) {
            Some(user) => user.clone(),
            None => door
                .authenticate_token(token)
                .map_err(|_| Status::unauthorized())?,
        },
        (None, None) => User::anonymous(),
    };
    impersonate(door, user, headers).map(Arc::new)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
}

fn impersonate(door: &Door, user: User, headers: &HeaderMap) -> Result<User, Status> {
    let text = |value: &hyper::header::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let name = headers.get("impersonate-user").map(text);
    let groups: Vec<String> = headers
        .get_all("impersonate-group")
        .iter()
        .map(text)
        .collect();
    let Some(name) = name else {
        if groups.is_empty() {
            return Ok(user);
        }
        return Err(Status::bad_request(
            "requested impersonation of groups without impersonating a user",
        ));
    };
    let allowed = |resource: &str, namespace: &str, name: &str| {
        let asked = Attributes {
            verb: "impersonate".into(),
            resource: resource.into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Attributes::default()
        };
        door.require(&user, &asked)
    };
    match name
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'))
    {
        Some((namespace, account)) => allowed("serviceaccounts", namespace, account)?,
        None => allowed("users", "", &name)?,
    }
    groups
        .iter()
        .try_for_each(|group| allowed("groups", "", group))?;
    let mut made = User {
        name,
        groups,
        ..User::default()
    };
    let account = made.name.strip_prefix("system:serviceaccount:");
    let namespace = account
        .and_then(|rest| rest.split_once(':'))
        .map(|(namespace, _)| namespace);
    if let Some(namespace) = namespace.filter(|_| made.groups.is_empty()) {
        made.groups = vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
        ];
    }
    if made.name != "system:anonymous" && !made.in_group(AUTHENTICATED) {
        made.groups.push(AUTHENTICATED.into());
    }
    Ok(made)
}
