//! Small languages: selectors, quantities, regular expressions, field paths, times.

use crate::Target;
use machinery::{FieldSelector, LabelSelector, Quantity};
use schema::FieldSet;

fn with_text(bytes: &[u8], check: impl FnOnce(&str)) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        check(text);
    }
}

/// `labelSelector=`.
pub const LABEL_SELECTOR: Target = Target {
    name: "label-selector",
    run: |bytes| {
        with_text(bytes, |text| {
            if let Ok(selector) = LabelSelector::parse(text) {
                // Asked about nothing and about everything, it answers.
                selector.matches(|_| None);
                selector.matches(|_| Some("1"));
            }
        });
    },
    seeds: &[
        b"a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1,m<2",
        b"app.kubernetes.io/name==web",
        b"",
    ],
};

/// `fieldSelector=`.
pub const FIELD_SELECTOR: Target = Target {
    name: "field-selector",
    run: |bytes| {
        with_text(bytes, |text| {
            if let Ok(selector) = FieldSelector::parse(text) {
                assert_eq!(selector.is_everything(), selector.terms.is_empty());
            }
        });
    },
    seeds: &[
        b"metadata.name=a,status.phase!=Running",
        b"spec.nodeName==x\\,y\\=z",
    ],
};

/// Quantities of resources.
pub const QUANTITY: Target = Target {
    name: "quantity",
    run: |bytes| {
        with_text(bytes, |text| {
            let Ok(quantity) = text.parse::<Quantity>() else {
                return;
            };
            let canonical = quantity.to_string();
            let again: Quantity = canonical.parse().expect("the canonical form is read");
            assert_eq!(again, quantity, "{text} {canonical}");
            assert_eq!(again.to_string(), canonical);
        });
    },
    seeds: &[
        b"1500m",
        b"1.5Gi",
        b"-12e6",
        b"0.000001",
        b"9Ei",
        b"100k",
        b"1n",
    ],
};

/// Regular expressions of schemas.
pub const PATTERN: Target = Target {
    name: "pattern",
    run: |bytes| {
        with_text(bytes, |text| {
            if let Ok(pattern) = schema::compile_pattern(text) {
                pattern.is_match("a-1.b_2/\u{20ac}");
            }
        });
    },
    seeds: &[
        br"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]+)*$",
        br"^(\d+|[^/\s\w]+|[[:alpha:]&&~]|[]a-])$",
        br"(?i)^(a|b){1,5}\b$",
    ],
};

/// `fieldsV1` of managed fields.
pub const FIELD_PATHS: Target = Target {
    name: "field-paths",
    run: |bytes| {
        let Ok(decoded) = codec::decode_json(bytes, codec::Limits::default()) else {
            return;
        };
        let set = FieldSet::parse(&decoded.value);
        let printed = set.to_value();
        assert_eq!(FieldSet::parse(&printed), set);
        assert_eq!(FieldSet::parse(&printed).to_value(), printed);
        let mut nothing = set.clone();
        nothing.subtract(&set);
        assert!(nothing.is_empty(), "{:?}", nothing.paths());
        let mut same = set.clone();
        same.union(&set);
        assert_eq!(same, set);
    },
    seeds: &[
        br#"{"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{}}},"f:finalizers":{"v:\"x\"":{}},"f:l":{"i:3":{}}}}"#,
        br#"{"f:a":{},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{}}"#,
    ],
};

/// Times of the API.
pub const TIME: Target = Target {
    name: "time",
    run: |bytes| {
        with_text(bytes, |text| {
            if let Some(micros) = machinery::parse_time(text) {
                let printed = machinery::format_micro_time(micros);
                assert_eq!(
                    machinery::parse_time(&printed),
                    Some(micros),
                    "{text} {printed}"
                );
            }
        });
    },
    seeds: &[
        b"2026-02-28T23:59:60Z",
        b"2024-02-29T00:00:00.123456+05:30",
        b"1970-01-01T00:00:00Z",
    ],
};
