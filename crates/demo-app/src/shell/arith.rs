//! Whole-number arithmetic of `$((…))`: `+ - * / %`, comparison, parentheses, variables.

use super::run::Shell;

struct Sum<'a> {
    rest: &'a str,
    shell: &'a Shell,
}

/// The value of an expression, or what is wrong with it.
pub fn value(shell: &Shell, text: &str) -> Result<i64, String> {
    let mut sum = Sum { rest: text, shell };
    let value = sum.compare()?;
    match sum.rest.trim() {
        "" => Ok(value),
        rest => Err(format!("arithmetic syntax error near \"{rest}\"")),
    }
}

impl Sum<'_> {
    fn eat(&mut self, operators: &[&'static str]) -> Option<&'static str> {
        self.rest = self.rest.trim_start();
        let found = operators
            .iter()
            .find(|operator| self.rest.starts_with(**operator))?;
        self.rest = &self.rest[found.len()..];
        Some(found)
    }

    fn compare(&mut self) -> Result<i64, String> {
        let left = self.add()?;
        let Some(operator) = self.eat(&["<=", ">=", "==", "!=", "<", ">"]) else {
            return Ok(left);
        };
        let right = self.add()?;
        Ok(i64::from(match operator {
            "<=" => left <= right,
            ">=" => left >= right,
            "==" => left == right,
            "!=" => left != right,
            "<" => left < right,
            _ => left > right,
        }))
    }

    fn add(&mut self) -> Result<i64, String> {
        let mut left = self.multiply()?;
        while let Some(operator) = self.eat(&["+", "-"]) {
            let right = self.multiply()?;
            left = if operator == "+" {
                left.wrapping_add(right)
            } else {
                left.wrapping_sub(right)
            };
        }
        Ok(left)
    }

    fn multiply(&mut self) -> Result<i64, String> {
        let mut left = self.atom()?;
        while let Some(operator) = self.eat(&["*", "/", "%"]) {
            let right = self.atom()?;
            left = match (operator, right) {
                ("*", _) => left.wrapping_mul(right),
                (_, 0) => return Err("division by zero".to_owned()),
                ("/", _) => left.wrapping_div(right),
                _ => left.wrapping_rem(right),
            };
        }
        Ok(left)
    }

    fn atom(&mut self) -> Result<i64, String> {
        if self.eat(&["("]).is_some() {
            let value = self.compare()?;
            return self
                .eat(&[")"])
                .map(|_| value)
                .ok_or_else(|| "missing ')'".to_owned());
        }
        if self.eat(&["-"]).is_some() {
            return Ok(self.atom()?.wrapping_neg());
        }
        let rest = self.rest.trim_start().trim_start_matches('$');
        let size = rest
            .find(|next: char| !next.is_ascii_alphanumeric() && next != '_')
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(size);
        self.rest = after;
        let text = match word.starts_with(|first: char| first.is_ascii_digit()) {
            true => word.to_owned(),
            false if word.is_empty() => {
                return Err(format!("arithmetic syntax error near \"{after}\""));
            }
            false => self
                .shell
                .variable(word)
                .filter(|value| !value.is_empty())
                .unwrap_or_else(|| "0".to_owned()),
        };
        text.trim()
            .parse()
            .map_err(|_| format!("\"{text}\" is not a number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let mut shell = Shell::new();
        shell.set("i", "4");
        for (text, expected) in [
            ("i+1", Some(5)),
            ("$i * (2 - 5)", Some(-12)),
            ("7 % 4 == 3", Some(1)),
            ("unset", Some(0)),
            ("1/0", None),
            ("1 +", None),
            ("2 2", None),
        ] {
            assert_eq!(value(&shell, text).ok(), expected, "{text}");
        }
    }
}
