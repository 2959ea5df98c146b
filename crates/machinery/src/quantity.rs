//! Resource quantities: `500m`, `1Gi`, `1e3`, kept exactly and printed canonically.
//!
//! Upstream counterpart: `k8s.io/apimachinery/pkg/api/resource`.

use std::{cmp::Ordering, fmt, ops, str::FromStr};

/// Nano-units per unit: the finest a quantity can be; finer values round up.
const NANO: i128 = 1_000_000_000;

/// Which family of suffixes a quantity prints with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Powers of 1000: n u m, none, k M G T P E.
    #[default]
    DecimalSi,
    /// Powers of 1024: Ki Mi Gi Ti Pi Ei.
    BinarySi,
    /// e3, e6.
    DecimalExponent,
}

/// A fixed-point number with a suffix family. Compares by amount.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// The text is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantityError;

impl fmt::Display for QuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    }
}
impl std::error::Error for QuantityError {}

impl Quantity {
    /// Zero.
    pub const ZERO: Quantity = Quantity {
        nanos: 0,
        format: Format::DecimalSi,
    };

    /// A whole number of units.
    pub const fn from_units(units: i64, format: Format) -> Self {
        Self {
            nanos: units as i128 * NANO,
            format,
        }
    }

    /// A whole number of thousandths.
    pub const fn from_milli(milli: i64) -> Self {
        Self {
            nanos: milli as i128 * (NANO / 1000),
            format: Format::DecimalSi,
        }
    }

    /// Units, rounded up.
    pub fn units(self) -> i64 {
        ceil_div(self.nanos, NANO)
    }

    /// Thousandths, rounded up.
    pub fn milli(self) -> i64 {
        ceil_div(self.nanos, NANO / 1000)
    }

    /// Amount as a float, for ratios.
    pub fn as_f64(self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    /// Suffix family.
    pub fn format(self) -> Format {
        self.format
    }

    /// Whether it is zero.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }
}

fn ceil_div(number: i128, divisor: i128) -> i64 {
    let quotient = number.div_euclid(divisor) + i128::from(number.rem_euclid(divisor) != 0);
    quotient.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}
impl Eq for Quantity {}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}
impl ops::Add for Quantity {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let format = if self.nanos == 0 {
            other.format
        } else {
            self.format
        };
        Self {
            nanos: self.nanos.saturating_add(other.nanos),
            format,
        }
    }
}
impl ops::AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
impl ops::Sub for Quantity {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        let format = if self.nanos == 0 {
            other.format
        } else {
            self.format
        };
        Self {
            nanos: self.nanos.saturating_sub(other.nanos),
            format,
        }
    }
}
impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::ZERO, ops::Add::add)
    }
}

/// A suffix as (mantissa multiplier, decimal exponent, family).
fn suffix(text: &str) -> Option<(i128, i32, Format)> {
    use Format::{BinarySi, DecimalExponent, DecimalSi};
    Some(match text {
        "n" => (1, -9, DecimalSi),
        "u" => (1, -6, DecimalSi),
        "m" => (1, -3, DecimalSi),
        "" => (1, 0, DecimalSi),
        "k" => (1, 3, DecimalSi),
        "M" => (1, 6, DecimalSi),
        "G" => (1, 9, DecimalSi),
        "T" => (1, 12, DecimalSi),
        "P" => (1, 15, DecimalSi),
        "E" => (1, 18, DecimalSi),
        "Ki" => (1 << 10, 0, BinarySi),
        "Mi" => (1 << 20, 0, BinarySi),
        "Gi" => (1 << 30, 0, BinarySi),
        "Ti" => (1 << 40, 0, BinarySi),
        "Pi" => (1 << 50, 0, BinarySi),
        "Ei" => (1 << 60, 0, BinarySi),
        _ => {
            let exponent = text.strip_prefix(['e', 'E'])?;
            (
                1,
                exponent
                    .strip_prefix('+')
                    .unwrap_or(exponent)
                    .parse()
                    .ok()?,
                DecimalExponent,
            )
        }
    })
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, tail) = unsigned.split_at(end);
        let (multiplier, exponent, format) = suffix(tail).ok_or(QuantityError)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return Err(QuantityError);
        }
        let nanos = scale(whole, fraction, multiplier, exponent);
        Ok(Self {
            nanos: if text.starts_with('-') { -nanos } else { nanos },
            format,
        })
    }
}

/// Digits times multiplier times ten to the exponent, in nanos, rounded up, saturating.
fn scale(whole: &str, fraction: &str, multiplier: i128, exponent: i32) -> i128 {
    const LIMIT: i128 = i64::MAX as i128 * NANO;
    let digit = |sum: i128, byte: u8| sum.saturating_mul(10).saturating_add((byte - b'0').into());
    // More fraction digits than nanos of an exabyte can matter are beyond any use.
    let fraction = fraction.get(..fraction.len().min(18)).unwrap_or_default();
    let mantissa = whole
        .bytes()
        .chain(fraction.bytes())
        .fold(0, digit)
        .saturating_mul(multiplier);
    let power = exponent
        .saturating_add(9)
        .saturating_sub(fraction.len() as i32);
    if power >= 0 {
        let factor = 10i128
            .checked_pow(power.unsigned_abs())
            .unwrap_or(i128::MAX);
        return mantissa.saturating_mul(factor).min(LIMIT);
    }
    let divisor = 10i128
        .checked_pow(power.unsigned_abs())
        .unwrap_or(i128::MAX);
    (mantissa / divisor + i128::from(mantissa % divisor != 0)).min(LIMIT)
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.nanos.unsigned_abs();
        let sign = if self.nanos < 0 { "-" } else { "" };
        if magnitude == 0 {
            return f.write_str("0");
        }
        if self.format == Format::BinarySi
            && magnitude.is_multiple_of(NANO as u128)
            && magnitude >= 1024 * NANO as u128
        {
            let (number, suffix) = binary(magnitude / NANO as u128);
            return write!(f, "{sign}{number}{suffix}");
        }
        let (number, power) = decimal(magnitude);
        match self.format {
            Format::DecimalExponent if power != 0 => write!(f, "{sign}{number}e{power}"),
            _ => write!(f, "{sign}{number}{}", decimal_suffix(power)),
        }
    }
}

fn binary(units: u128) -> (u128, &'static str) {
    let power = (units.trailing_zeros() / 10).min(6);
    (
        units >> (10 * power),
        ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power as usize],
    )
}

/// The shortest mantissa with an exponent that is a multiple of three.
fn decimal(mut nanos: u128) -> (u128, i32) {
    let mut power = -9;
    while nanos.is_multiple_of(1000) && power < 18 {
        nanos /= 1000;
        power += 3;
    }
    (nanos, power)
}

fn decimal_suffix(power: i32) -> &'static str {
    ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][((power + 9) / 3) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms() {
        for (given, printed) in [
            ("0", "0"),
            ("1", "1"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1500m", "1500m"),
            ("1.5", "1500m"),
            ("100m", "100m"),
            ("1Gi", "1Gi"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1000", "1k"),
            ("1000Ki", "1000Ki"),
            ("2048", "2048"),
            ("1e3", "1e3"),
            ("12E6", "12e6"),
            ("-5", "-5"),
            ("+1", "1"),
            ("0.1n", "1n"),
            ("3Ei", "3Ei"),
            ("128974848", "128974848"),
            (".5", "500m"),
            ("5.", "5"),
            ("512", "512"),
            ("0.5Ki", "512"),
            ("1u", "1u"),
            ("10G", "10G"),
        ] {
            let quantity: Quantity = given.parse().unwrap();
            assert_eq!(quantity.to_string(), printed, "{given}");
            assert_eq!(
                quantity.to_string().parse::<Quantity>(),
                Ok(quantity),
                "{given}"
            );
        }
        for bad in ["", ".", "x", "1x", "1 ", "--1", "1.2.3", "1ki", "e3", "1e"] {
            assert_eq!(bad.parse::<Quantity>(), Err(QuantityError), "{bad}");
        }
    }

    #[test]
    fn rounds_up_and_compares() {
        let quantity: Quantity = "1500m".parse().unwrap();
        assert_eq!((quantity.units(), quantity.milli()), (2, 1500));
        assert!(quantity < "2".parse().unwrap() && quantity == "1.5".parse().unwrap());
        assert_eq!((quantity + quantity).to_string(), "3");
    }
}
