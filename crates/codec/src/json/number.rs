//! Numbers as Go's `encoding/json` prints them.

use std::io::Write;

/// Below and from these magnitudes on Go switches to an exponent.
const PLAIN: std::ops::Range<f64> = 1e-6..1e21;

/// Appends a float; NaN and infinities, which JSON cannot say, become null.
pub(crate) fn write_float(out: &mut Vec<u8>, number: f64) {
    let printed = if !number.is_finite() {
        out.write_all(b"null")
    } else if number == 0.0 || PLAIN.contains(&number.abs()) {
        write!(out, "{number}")
    } else {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').expect("asked for an exponent");
        let plus = if exponent.starts_with('-') { "" } else { "+" };
        write!(out, "{digits}e{plus}{exponent}")
    };
    printed.expect("a Vec takes any bytes");
}

/// Appends a whole number.
pub(crate) fn write_int(out: &mut Vec<u8>, number: i64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_go_does() {
        for (number, wanted) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-7"),
            (-2.5, "-2.5"),
            (f64::NAN, "null"),
        ] {
            let mut out = Vec::new();
            write_float(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), wanted);
        }
        for number in [0, 7, -1, 10, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            write_int(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }
}
