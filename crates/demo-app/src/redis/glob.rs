//! Matching with `*`, `?`, `[a-z]` and backslash, over bytes.

/// Whether `text` matches `pattern` as a whole.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, read));
            at += 1;
        } else if let Some(size) = one(&pattern[at..], text[read]) {
            at += size;
            read += 1;
        } else if let Some((place, taken)) = star {
            // The last star takes one byte more; earlier stars need no second look.
            star = Some((place, taken + 1));
            (at, read) = (place + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Length of the pattern's first element if it takes `byte`.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [b'[', rest @ ..] => {
            let end = rest.iter().skip(1).position(|next| *next == b']')? + 1;
            class(&rest[..end], byte).then_some(end + 2)
        }
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

fn class(set: &[u8], byte: u8) -> bool {
    let (negated, mut set) = match set {
        [b'^', rest @ ..] => (true, rest),
        set => (false, set),
    };
    let mut found = false;
    while let [first, rest @ ..] = set {
        if let [b'-', last, after @ ..] = rest {
            found |= (*first..=*last).contains(&byte);
            set = after;
        } else {
            found |= *first == byte;
            set = rest;
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn table() {
        let cases = [
            ("*", "", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("agent:?", "agent:1", true),
            ("agent:?", "agent:12", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("[", "[", false),
            ("**a", "aaa", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }
}
