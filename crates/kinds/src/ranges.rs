//! Validation of the address blocks of services and of the addresses taken from them.
//!
//! Upstream counterpart: `pkg/apis/networking/validation`.

use crate::check::{self, Errors, at, syntax};
use machinery::{FieldError, Value, dns1123_subdomain, path_segment};
use std::net::IpAddr;

/// One block of each family.
const BLOCKS_MAX: usize = 2;
const FIELD: &str = "spec.cidrs";

pub(crate) fn blocks(o: &Value) -> Errors {
    let (mut errors, list) = (Errors::new(), o.at(&["spec", "cidrs"]));
    let blocks = list.items();
    if blocks.is_empty() {
        errors.push(FieldError::required(FIELD, "at least one CIDR required"));
    }
    if blocks.len() > BLOCKS_MAX {
        let why = "may only hold up to 2 values";
        errors.push(FieldError::invalid(FIELD, &o["spec"], why));
        return errors;
    }
    for (at, block) in blocks.iter().enumerate() {
        let field = at!("{FIELD}[{at}]");
        check::block(&mut errors, field, block.str());
        if check::is_cidr(block.str()) && has_host_bits(block.str()) {
            let why = "must not have bits set beyond the prefix length";
            errors.push(FieldError::invalid(field, block.str(), why));
        }
    }
    let is_v6 = |block: &Value| block.str().contains(':');
    if errors.is_empty() && blocks.len() == BLOCKS_MAX && is_v6(&blocks[0]) == is_v6(&blocks[1]) {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(FieldError::invalid(FIELD, list, why));
    }
    errors
}

/// Whether a well-formed block's address goes beyond its prefix.
fn has_host_bits(block: &str) -> bool {
    let Some((address, length)) = block.split_once('/') else {
        return false;
    };
    let length = length.parse::<u32>().unwrap_or(0);
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.to_bits().checked_shl(length).unwrap_or(0) != 0,
        Ok(IpAddr::V6(address)) => address.to_bits().checked_shl(length).unwrap_or(0) != 0,
        Err(_) => false,
    }
}

/// Blocks stay; one of the other family may join the first.
pub(crate) fn blocks_update(new: &Value, old: &Value) -> Errors {
    let (new, old) = (new.at(&["spec", "cidrs"]), old.at(&["spec", "cidrs"]));
    let grown = new.items().len() == BLOCKS_MAX && old.items().len() == 1;
    if new.items().len() != old.items().len() && !grown {
        return vec![FieldError::invalid(FIELD, new, check::IMMUTABLE)];
    }
    let pairs = new.items().iter().zip(old.items()).enumerate();
    pairs
        .filter(|(_, (new, old))| new != old)
        .map(|(at, (new, _))| FieldError::invalid(at!("{FIELD}[{at}]"), new, check::IMMUTABLE))
        .collect()
}

/// Names of addresses are the addresses, written the one way there is.
pub(crate) fn address_name(name: &str) -> Vec<String> {
    let zeros = |part: &str| part.len() > 1 && part.starts_with('0');
    match name.parse::<IpAddr>() {
        Ok(address) if address.to_string() == name => Vec::new(),
        Ok(address) => vec![format!(
            "must be in canonical form ({:?})",
            address.to_string()
        )],
        Err(_) if is_dotted(name) && name.split('.').any(zeros) => {
            vec!["must not have leading 0s".into()]
        }
        Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".into()],
    }
}

fn is_dotted(name: &str) -> bool {
    name.split('.').count() == 4
        && name
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
}

pub(crate) fn address(o: &Value) -> Errors {
    let mut errors = Errors::new();
    let parent = o.at(&["spec", "parentRef"]);
    if parent.is_null() {
        errors.push(FieldError::required("spec.parentRef", ""));
        return errors;
    }
    if !parent["group"].str().is_empty() {
        let field = "spec.parentRef.group";
        syntax(
            &mut errors,
            at!("{field}"),
            parent["group"].str(),
            dns1123_subdomain,
        );
    }
    for (field, required) in [("resource", true), ("name", true), ("namespace", false)] {
        let (path, text) = (at!("spec.parentRef.{field}"), parent[field].str());
        match text {
            "" if required => errors.push(FieldError::required(path, "")),
            _ => syntax(&mut errors, path, text, path_segment),
        }
    }
    errors
}

pub(crate) fn address_update(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let parent = |object: &Value| object.at(&["spec", "parentRef"]).clone();
    check::immutable(
        &mut errors,
        at!("spec.parentRef"),
        &parent(new),
        &parent(old),
    );
    errors
}
