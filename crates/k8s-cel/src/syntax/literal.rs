//! Numbers and quoted texts.
//!
//! Upstream counterpart: cel-go's `parser/unescape.go`.

use super::{Literal, lexer::Word};

/// A quoted text at the start of `rest` and its length; nothing if there is none.
pub fn quoted(rest: &str) -> Result<Option<(Literal, usize)>, String> {
    let prefix: String = rest
        .chars()
        .take_while(|letter| "rRbB".contains(*letter))
        .take(2)
        .collect();
    let body = &rest[prefix.len()..];
    let Some(quote) = body.chars().next().filter(|quote| "\"'".contains(*quote)) else {
        return Ok(None);
    };
    let lower = prefix.to_ascii_lowercase();
    if !["", "r", "b", "rb", "br"].contains(&lower.as_str()) {
        return Ok(None);
    }
    let (raw, bytes) = (lower.contains('r'), lower.contains('b'));
    let triple: String = std::iter::repeat_n(quote, 3).collect();
    let single = quote.to_string();
    let fence = if body.starts_with(&triple) {
        &triple
    } else {
        &single
    };
    let inner = &body[fence.len()..];
    let length = end_of(inner, fence, raw).ok_or_else(|| {
        let shown: String = rest.chars().take(40).collect();
        format!("Syntax error: token recognition error at: '{shown}'")
    })?;
    let mut text = inner[..length].replace("\r\n", "\n").into_bytes();
    if !raw {
        text = unescape(&inner[..length], bytes)?;
    }
    let literal = if bytes {
        Literal::Bytes(text)
    } else {
        let text = String::from_utf8(text).map_err(|_| "invalid text".to_owned())?;
        Literal::String(text.into())
    };
    Ok(Some((literal, prefix.len() + 2 * fence.len() + length)))
}

/// Length of the text before the closing fence.
fn end_of(inner: &str, fence: &str, raw: bool) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = &inner[at..];
        if rest.starts_with(fence) {
            return Some(at);
        }
        let letter = rest.chars().next()?;
        if fence.len() == 1 && (letter == '\n' || letter == '\r') {
            return None;
        }
        at += letter.len_utf8();
        if letter == '\\' && !raw {
            at += inner[at..].chars().next()?.len_utf8();
        }
    }
}

fn unescape(text: &str, bytes: bool) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter == '\\' {
            escape(&mut letters, bytes, &mut out)?;
        } else {
            out.extend(letter.encode_utf8(&mut [0; 4]).bytes());
        }
    }
    Ok(out)
}

fn escape(letters: &mut std::str::Chars, bytes: bool, out: &mut Vec<u8>) -> Result<(), String> {
    let bad = || "invalid escape sequence".to_owned();
    let kind = letters.next().ok_or_else(bad)?;
    let (digits, radix) = match kind {
        'a' => return done(out, 7),
        'b' => return done(out, 8),
        'f' => return done(out, 12),
        'n' => return done(out, b'\n'),
        'r' => return done(out, b'\r'),
        't' => return done(out, b'\t'),
        'v' => return done(out, 11),
        '\\' | '\'' | '"' | '`' | '?' => return done(out, kind as u8),
        'x' | 'X' => (2, 16),
        'u' if !bytes => (4, 16),
        'U' if !bytes => (8, 16),
        '0'..='3' => (2, 8),
        _ => return Err(bad()),
    };
    let mut number = if radix == 8 {
        kind.to_digit(8).unwrap_or_default()
    } else {
        0
    };
    for _ in 0..digits {
        let digit = letters
            .next()
            .and_then(|letter| letter.to_digit(radix))
            .ok_or_else(bad)?;
        number = number * radix + digit;
    }
    if bytes {
        out.push(number as u8);
    } else {
        let letter = char::from_u32(number).ok_or("invalid unicode code point")?;
        out.extend(letter.encode_utf8(&mut [0; 4]).bytes());
    }
    Ok(())
}

fn done(out: &mut Vec<u8>, byte: u8) -> Result<(), String> {
    out.push(byte);
    Ok(())
}

/// A number at the start of `rest` and its length.
pub fn number(rest: &str) -> Result<(Word, usize), String> {
    let bytes = rest.as_bytes();
    let digits = |from: usize| {
        bytes[from..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    if rest.starts_with("0x") || rest.starts_with("0X") {
        let hex = bytes[2..]
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        return whole(rest, 2 + hex);
    }
    let mut end = digits(0);
    let mut float = false;
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        end += 1 + digits(end + 1);
        float = true;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits((end + 1 + sign).min(bytes.len()));
        if exponent > 0 {
            end += 1 + sign + exponent;
            float = true;
        }
    }
    if float {
        let number = rest[..end].parse().map_err(|_| "invalid double literal")?;
        return Ok((Word::Literal(Literal::Double(number)), end));
    }
    whole(rest, end)
}

fn whole(rest: &str, end: usize) -> Result<(Word, usize), String> {
    if matches!(rest.as_bytes().get(end), Some(b'u' | b'U')) {
        let number = parse_whole(&rest[..end]).ok_or("invalid uint literal")?;
        let number = u64::try_from(number).map_err(|_| "invalid uint literal")?;
        return Ok((Word::Literal(Literal::Uint(number)), end + 1));
    }
    Ok((Word::Int(rest[..end].into()), end))
}

/// The number that decimal or hexadecimal digits write.
pub fn parse_whole(text: &str) -> Option<i128> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => i128::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
