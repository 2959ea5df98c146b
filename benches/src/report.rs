//! The table: what, target, measured, ratio.
//!
//! Knows numbers and their units, not where they come from.

/// Prints rows as they come, so that a run that ends early has said what it knew.
pub struct Report;

impl Report {
    /// Prints the head.
    pub fn open() -> Self {
        println!("| what | target | measured | measured / target |\n|---|---|---|---|");
        Self
    }

    /// A number that should be at most `target`.
    pub fn most(&self, what: &str, target: f64, measured: f64, unit: &str) {
        let ratio = measured / target;
        println!(
            "| {what} | < {target} {unit} | {} {unit} | {ratio:.2} |",
            digits(measured)
        );
    }

    /// A number without a target.
    pub fn plain(&self, what: &str, measured: f64, unit: &str) {
        println!("| {what} | | {} {unit} | |", digits(measured));
    }
}

/// Three digits that matter.
fn digits(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        size if size >= 1.0 => format!("{number:.2}"),
        _ => format!("{number:.3}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_keep_three_digits() {
        for (number, wanted) in [
            (0.0712, "0.071"),
            (1.234, "1.23"),
            (65.04, "65.0"),
            (4711.6, "4712"),
        ] {
            assert_eq!(super::digits(number), wanted);
        }
    }
}
