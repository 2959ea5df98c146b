//! Acting as somebody else: who is meant, and whether the requestor may.
//!
//! First the constrained modes (`impersonate:<mode>` on whom, `impersonate-on:<mode>:<verb>` on
//! what), then the plain `impersonate`. Knows no transport. Upstream counterpart:
//! `k8s.io/apiserver/pkg/endpoints/filters/impersonation`.

use crate::{
    ANONYMOUS, AUTHENTICATED, Attributes, MASTERS, NODE_NAME_EXTRA, NODE_PREFIX, NODES,
    UNAUTHENTICATED, User,
};
use machinery::{GroupResource, Status};
use std::collections::BTreeMap;

/// Group of the identity's own resources.
const GROUP: &str = "authentication.k8s.io";
/// From this many values on, the right to all of them is tried first.
const MANY: usize = 4;

/// Whom a request wants to be, as its headers say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `Impersonate-User`.
    pub name: String,
    /// `Impersonate-Uid`.
    pub uid: String,
    /// `Impersonate-Group`, each.
    pub groups: Vec<String>,
    /// `Impersonate-Extra-<key>`, keys in lower case and unescaped.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Wanted {
    /// Whether anybody is meant; an error if only parts of an identity are.
    pub fn is_anybody(&self) -> Result<bool, Status> {
        let parts = !self.uid.is_empty() || !self.groups.is_empty() || !self.extra.is_empty();
        if self.name.is_empty() && parts {
            let message = format!(
                "requested {} without impersonating a user name",
                self.text()
            );
            return Err(Status::bad_request(message));
        }
        Ok(!self.name.is_empty())
    }

    /// The identity as upstream prints it.
    fn text(&self) -> String {
        let list = |values: &[String]| {
            let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
            format!("[]string{{{}}}", quoted.join(", "))
        };
        let groups = match self.groups.is_empty() {
            true => "[]string(nil)".to_owned(),
            false => list(&self.groups),
        };
        let pairs: Vec<String> = self
            .extra
            .iter()
            .map(|(key, values)| format!("{key:?}:{}", list(values)))
            .collect();
        let extra = match pairs.is_empty() {
            true => "map[string][]string(nil)".to_owned(),
            false => format!("map[string][]string{{{}}}", pairs.join(", ")),
        };
        format!(
            "&user.DefaultInfo{{Name:{:?}, UID:{:?}, Groups:{groups}, Extra:{extra}}}",
            self.name, self.uid
        )
    }

    fn only_name(&self) -> bool {
        self.uid.is_empty() && self.groups.is_empty() && self.extra.is_empty()
    }

    fn node(&self) -> Option<&str> {
        let name = self.name.strip_prefix(NODE_PREFIX)?;
        machinery::dns1123_subdomain(name)
            .is_empty()
            .then_some(name)
    }

    fn account(&self) -> Option<(String, String)> {
        let user = User::new(&self.name, &[]);
        let (namespace, name) = user.as_service_account()?;
        Some((namespace.to_owned(), name.to_owned()))
    }
}

/// Asks whether a user may do something; refuses with the standard sentence.
pub type Require<'a> = &'a dyn Fn(&User, &Attributes) -> Result<(), Status>;

/// The user that `requestor` becomes for `request`, if it may.
pub fn impersonate(
    require: Require<'_>,
    requestor: &User,
    wanted: &Wanted,
    request: &Attributes,
) -> Result<User, Status> {
    let own_node = requestor.as_service_account().is_some()
        && wanted.node().is_some()
        && requestor.extra.get(NODE_NAME_EXTRA).map(Vec::as_slice)
            == wanted.node().map(|node| vec![node.to_owned()]).as_deref();
    let (node, account) = (wanted.node().is_some(), wanted.account().is_some());
    let modes = [
        ("associated-node", wanted.only_name() && own_node),
        ("arbitrary-node", wanted.only_name() && node),
        ("serviceaccount", wanted.only_name() && account),
        ("user-info", !node && !account),
        ("", true),
    ];
    let mut first = None;
    for (mode, _) in modes.into_iter().filter(|(_, fits)| *fits) {
        let attempt = Attempt {
            require,
            requestor,
            wanted,
            mode,
        };
        match attempt.run(request) {
            Ok(user) => return Ok(user),
            Err(status) => {
                first.get_or_insert(status);
            }
        }
    }
    Err(first.expect("the plain mode is always tried"))
}

/// One mode's checks; an empty mode is the plain one.
struct Attempt<'a> {
    require: Require<'a>,
    requestor: &'a User,
    wanted: &'a Wanted,
    mode: &'static str,
}

impl Attempt<'_> {
    fn run(&self, request: &Attributes) -> Result<User, Status> {
        if !self.mode.is_empty() {
            let on = Attributes {
                verb: format!("impersonate-on:{}:{}", self.mode, request.verb).into(),
                ..request.clone()
            };
            (self.require)(self.requestor, &on)?;
        }
        let mut user = User {
            name: self.wanted.name.clone(),
            uid: self.wanted.uid.clone(),
            groups: self.wanted.groups.clone(),
            extra: self.wanted.extra.clone(),
        };
        self.name(&mut user)?;
        if !self.wanted.uid.is_empty() {
            self.may(GROUP, "uids", "", &self.wanted.uid)?;
        }
        self.groups()?;
        self.extra()?;
        let wide = if user.name == ANONYMOUS {
            Some(UNAUTHENTICATED)
        } else {
            (!user.in_group(UNAUTHENTICATED)).then_some(AUTHENTICATED)
        };
        if let Some(group) = wide.filter(|group| !user.in_group(group)) {
            user.groups.push(group.into());
        }
        Ok(user)
    }

    /// Group of users and groups: the constrained modes have moved them.
    fn group(&self) -> &'static str {
        if self.mode.is_empty() { "" } else { GROUP }
    }

    fn asked(&self, group: &str, resource: &str, subresource: &str, name: &str) -> Attributes {
        let verb = match self.mode {
            "" => "impersonate".into(),
            mode => format!("impersonate:{mode}").into(),
        };
        Attributes {
            verb,
            group: group.into(),
            version: "v1".into(),
            resource: resource.into(),
            subresource: subresource.into(),
            name: name.into(),
            ..Attributes::default()
        }
    }

    fn may(&self, group: &str, resource: &str, sub: &str, name: &str) -> Result<(), Status> {
        (self.require)(self.requestor, &self.asked(group, resource, sub, name))
    }

    fn refuse(&self, asked: &Attributes, why: &str) -> Result<(), Status> {
        let resource = GroupResource::new(&asked.group, &asked.resource);
        let text = format!("{}: {why}", asked.refusal(self.requestor));
        Err(Status::forbidden(&resource, &asked.name, &text))
    }

    fn name(&self, user: &mut User) -> Result<(), Status> {
        let mut asked = self.asked(self.group(), "users", "", &self.wanted.name);
        if let Some(node) = self.wanted.node().filter(|_| !self.mode.is_empty()) {
            asked.resource = "nodes".into();
            // The right to one's own node is a right to whichever node that is.
            let own = self.mode == "associated-node";
            asked.name = if own { "*" } else { node }.into();
            user.groups = vec![NODES.into()];
        }
        if let Some((namespace, name)) = self.wanted.account() {
            if self.wanted.groups.is_empty() {
                user.groups = User::service_account(&namespace, &name, "").groups;
                user.groups.retain(|group| group != AUTHENTICATED);
            }
            asked.resource = "serviceaccounts".into();
            asked.namespace = namespace.into();
            asked.name = name.into();
        }
        (self.require)(self.requestor, &asked)
    }

    fn groups(&self) -> Result<(), Status> {
        let (groups, constrained) = (&self.wanted.groups, !self.mode.is_empty());
        let asked = |name: &str| self.asked(self.group(), "groups", "", name);
        if constrained && groups.iter().any(String::is_empty) {
            let why = "impersonating the empty string group is not allowed";
            return self.refuse(&asked(""), why);
        }
        if constrained && groups.iter().any(|group| group == MASTERS) {
            let why = "impersonating the system:masters group is not allowed";
            return self.refuse(&asked(MASTERS), why);
        }
        let all = constrained && groups.len() >= MANY;
        if all && (self.require)(self.requestor, &asked("*")).is_ok() {
            return Ok(());
        }
        groups
            .iter()
            .try_for_each(|group| (self.require)(self.requestor, &asked(group)))
    }

    fn extra(&self) -> Result<(), Status> {
        let extra = &self.wanted.extra;
        let constrained = !self.mode.is_empty();
        if let Some(why) = extra_error(extra).filter(|_| constrained) {
            return self.refuse(&self.asked(GROUP, "userextras", "", ""), &why);
        }
        let count: usize = extra.values().map(Vec::len).sum();
        let all = constrained && (extra.len() >= MANY || count >= MANY);
        if all && self.may(GROUP, "userextras", "*", "*").is_ok() {
            return Ok(());
        }
        for (key, values) in extra {
            for value in values {
                self.may(GROUP, "userextras", key, value)?;
            }
        }
        Ok(())
    }
}

/// What the constrained modes do not accept as further attributes.
fn extra_error(extra: &BTreeMap<String, Vec<String>>) -> Option<String> {
    extra.iter().find_map(|(key, values)| {
        let domain_and_path = key
            .split_once('/')
            .is_some_and(|(domain, path)| {
                machinery::dns1123_subdomain(domain).is_empty() && !path.is_empty()
            });
        if key.is_empty() {
            Some("impersonating the empty string key in extra is not allowed".into())
        } else if !domain_and_path {
            Some(format!("impersonating an invalid key in extra is not allowed: extra.key: Invalid value: {key:?}: must be a domain-prefixed path (such as \"acme.io/foo\")"))
        } else if key.to_lowercase() != *key {
            Some(format!("impersonating a non-lowercase key in extra is not allowed: {key:?}"))
        } else if values.is_empty() {
            Some("impersonating empty values in extra is not allowed".into())
        } else if values.iter().any(String::is_empty) {
            Some("impersonating the empty string value in extra is not allowed".into())
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Allows exactly these: `verb group/resource/sub namespace/name`.
    fn guard(rights: &'static [&'static str]) -> impl Fn(&User, &Attributes) -> Result<(), Status> {
        move |user, asked| {
            let text = format!(
                "{} {}/{}/{} {}/{}",
                asked.verb,
                asked.group,
                asked.resource,
                asked.subresource,
                asked.namespace,
                asked.name
            );
            match rights.contains(&text.as_str()) {
                true => Ok(()),
                false => Err(Status::forbidden(
                    &GroupResource::new(&asked.group, &asked.resource),
                    &asked.name,
                    &asked.refusal(user),
                )),
            }
        }
    }

    fn wanted(name: &str, groups: &[&str]) -> Wanted {
        Wanted {
            name: name.into(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..Wanted::default()
        }
    }

    fn list_pods() -> Attributes {
        Attributes {
            verb: "list".into(),
            resource: "pods".into(),
            ..Attributes::default()
        }
    }

    #[test]
    fn plain_impersonation_asks_for_every_part() {
        let may = guard(&[
            "impersonate /users/ /ann",
            "impersonate /groups/ /dev",
            "impersonate authentication.k8s.io/uids/ /7",
            "impersonate authentication.k8s.io/userextras/scopes /view",
            "impersonate /serviceaccounts/ n/bot",
        ]);
        let admin = User::new("admin", &[]);
        let mut ann = wanted("ann", &["dev"]);
        ann.uid = "7".into();
        ann.extra.insert("scopes".into(), vec!["view".into()]);
        let user = impersonate(&may, &admin, &ann, &list_pods()).unwrap();
        assert_eq!(user.groups, ["dev", AUTHENTICATED]);
        assert_eq!((user.uid.as_str(), &user.extra), ("7", &ann.extra));
        let bot = wanted("system:serviceaccount:n:bot", &[]);
        let bot = impersonate(&may, &admin, &bot, &list_pods()).unwrap();
        let own = [
            "system:serviceaccounts",
            "system:serviceaccounts:n",
            AUTHENTICATED,
        ];
        assert_eq!(bot.groups, own);
        ann.groups.push("ops".into());
        let refused = impersonate(&may, &admin, &ann, &list_pods()).unwrap_err();
        assert_eq!(
            refused.message(),
            "pods is forbidden: User \"admin\" cannot impersonate-on:user-info:list resource \"pods\" in API group \"\" at the cluster scope"
        );
    }

    #[test]
    fn constrained_impersonation_is_about_whom_and_what() {
        let may = guard(&[
            "impersonate-on:user-info:list /pods/ /",
            "impersonate:user-info authentication.k8s.io/users/ /ann",
            "impersonate-on:associated-node:list /pods/ /",
            "impersonate:associated-node authentication.k8s.io/nodes/ /*",
        ]);
        let admin = User::new("admin", &[]);
        let ann = wanted("ann", &[]);
        assert!(impersonate(&may, &admin, &ann, &list_pods()).is_ok());
        let mut other = list_pods();
        other.verb = "delete".into();
        assert!(impersonate(&may, &admin, &ann, &other).is_err());
        let mut agent = User::service_account("n", "agent", "");
        let node = wanted("system:node:one", &[]);
        assert!(impersonate(&may, &agent, &node, &list_pods()).is_err());
        agent
            .extra
            .insert(NODE_NAME_EXTRA.into(), vec!["one".into()]);
        let made = impersonate(&may, &agent, &node, &list_pods()).unwrap();
        assert_eq!(made.as_node(), Some("one"));
    }

    #[test]
    fn parts_need_a_name() {
        let error = wanted("", &["g"]).is_anybody().unwrap_err();
        assert_eq!(
            error.message(),
            "requested &user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string{\"g\"}, Extra:map[string][]string(nil)} without impersonating a user name"
        );
        assert_eq!(Wanted::default().is_anybody(), Ok(false));
    }
}
