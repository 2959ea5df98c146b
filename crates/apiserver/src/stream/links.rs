//! Links in proxied pages: absolute paths are led back through the proxy.
//!
//! It must not know where pages come from. Upstream counterpart:
//! `apimachinery/pkg/util/proxy/transport.go`.

/// Attributes that hold an address.
const ATTRIBUTES: [&str; 11] = [
    "action",
    "background",
    "cite",
    "codebase",
    "data",
    "href",
    "longdesc",
    "poster",
    "profile",
    "src",
    "usemap",
];

/// The page with `prefix` before each address that is an absolute path.
pub fn rewrite(page: &str, prefix: &str) -> String {
    let mut out = String::with_capacity(page.len() + page.len() / 8);
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        let (text, tag) = rest.split_at(start);
        out.push_str(text);
        let length = tag_length(tag);
        rewrite_tag(&mut out, &tag[..length], prefix);
        rest = &tag[length..];
    }
    out.push_str(rest);
    out
}

/// The length of a tag up to its `>`, which does not count inside quotes.
fn tag_length(tag: &str) -> usize {
    let mut quote = None;
    for (at, byte) in tag.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return at + 1,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    tag.len()
}

fn rewrite_tag(out: &mut String, tag: &str, prefix: &str) {
    let mut rest = tag;
    while let Some(at) = rest.find('=') {
        let (name, value) = rest.split_at(at + 1);
        out.push_str(name);
        let spaces = value.len() - value.trim_start().len();
        let (spaces, value) = value.split_at(spaces);
        out.push_str(spaces);
        let quoted = value.chars().next().filter(|first| "\"'".contains(*first));
        let Some(quote) = quoted else {
            rest = value;
            continue;
        };
        let inside = &value[1..];
        let end = inside.find(quote).unwrap_or(inside.len());
        let address = &inside[..end];
        out.push(quote);
        if is_address(name) && is_ours(address, prefix) {
            out.push_str(prefix);
        }
        out.push_str(address);
        rest = &inside[end..];
        if let Some(after) = rest.strip_prefix(quote) {
            out.push(quote);
            rest = after;
        }
    }
    out.push_str(rest);
}

/// Whether the text before a value ends with an attribute that holds an address.
fn is_address(before: &str) -> bool {
    let name = before.trim_end_matches('=').trim_end();
    let name = name.rsplit(char::is_whitespace).next().unwrap_or_default();
    ATTRIBUTES.contains(&name.to_ascii_lowercase().as_str())
}

/// Whether an address is an absolute path that does not go through the proxy yet.
fn is_ours(address: &str, prefix: &str) -> bool {
    address.starts_with('/') && !address.starts_with("//") && !address.starts_with(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_go_through_the_proxy() {
        for (page, wanted) in [
            ("<a href=\"/x\">t</a>", "<a href=\"/p/x\">t</a>"),
            (
                "<img class='b' src='/x?y=1'>",
                "<img class='b' src='/p/x?y=1'>",
            ),
            ("<form ACTION=\"/\">", "<form ACTION=\"/p/\">"),
            ("<a href=\"x\">=\"/y\"</a>", "<a href=\"x\">=\"/y\"</a>"),
            ("<a href=\"//host/x\">", "<a href=\"//host/x\">"),
            ("<a href=\"/p/x\">", "<a href=\"/p/x\">"),
            ("<a title=\"/x\" href=/x>", "<a title=\"/x\" href=/x>"),
            (
                "<a title=\"a>b\" href=\"/x\">",
                "<a title=\"a>b\" href=\"/p/x\">",
            ),
            ("a < b = \"é", "a < b = \"é"),
            ("<a href=\"/é", "<a href=\"/p/é"),
            ("<", "<"),
            ("", ""),
        ] {
            assert_eq!(rewrite(page, "/p"), wanted, "{page}");
        }
    }
}
