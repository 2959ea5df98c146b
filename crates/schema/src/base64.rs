//! Checks of base64 text (standard alphabet, padded), without decoding it.

/// Position of the first byte that standard base64 cannot have there; `None` for good text.
/// Line breaks are skipped, as Go's decoder does.
pub fn base64_error(text: &str) -> Option<usize> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    let mut digits = text
        .bytes()
        .enumerate()
        .filter(|(_, byte)| !matches!(byte, b'\r' | b'\n'));
    let mut count = 0;
    while let Some((position, byte)) = digits.next() {
        if known(byte) {
            count += 1;
            continue;
        }
        let padding = 1 + usize::from(count % 4 == 2);
        let complete = byte == b'='
            && count % 4 >= 2
            && digits
                .by_ref()
                .take(padding - 1)
                .all(|(_, byte)| byte == b'=');
        let missing = count % 4 == 2 && !text.trim_end().ends_with("==");
        return match digits.next() {
            _ if !complete || missing => Some(position),
            Some((after, _)) => Some(after),
            None => None,
        };
    }
    (count % 4 != 0).then(|| text.len() - text.len() % 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_bad_byte() {
        for (text, wanted) in [
            ("", None),
            ("YWJj", None),
            ("YWI=", None),
            ("YQ==\n", None),
            ("YW\nJj", None),
            ("YQ=", Some(2)),
            ("YQ", Some(0)),
            ("====", Some(0)),
            ("YW?j", Some(2)),
            ("YWI=x", Some(4)),
        ] {
            assert_eq!(base64_error(text), wanted, "{text:?}");
        }
    }
}
