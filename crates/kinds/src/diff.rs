//! What two trees differ in, as lines: for refusals that say what must not change.
//!
//! Upstream counterpart: `apimachinery/pkg/util/diff`.

use machinery::Value;

/// Lines shown before and after what differs.
const CONTEXT: usize = 3;

/// One hunk of unified diff between two trees written as indented JSON.
pub(crate) fn unified(old: &Value, new: &Value) -> String {
    let (old, new) = (lines(old), lines(new));
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail = old.iter().rev().zip(new.iter().rev());
    let most = old.len().min(new.len()) - head;
    let tail = tail.take(most).take_while(|(a, b)| a == b).count();
    let (start, end) = (head.saturating_sub(CONTEXT), tail.saturating_sub(CONTEXT));
    let (from, to) = (old.len() - end, new.len() - end);
    let mut text = format!(
        "@@ -{},{} +{},{} @@\n",
        start + 1,
        from - start,
        start + 1,
        to - start
    );
    let mut add = |sign: char, lines: &[String]| {
        for line in lines {
            text.push(sign);
            text += line;
            text.push('\n');
        }
    };
    add(' ', &old[start..head]);
    add('-', &old[head..old.len() - tail]);
    add('+', &new[head..new.len() - tail]);
    add(' ', &old[old.len() - tail..from]);
    text
}

fn lines(value: &Value) -> Vec<String> {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.lines()
        .map(|line| line.replacen("  ", " ", line.len() / 2))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn shows_what_differs_and_what_is_around() {
        let (old, new) = (
            json!({"a": 1, "b": 2, "c": 3}),
            json!({"a": 1, "b": 4, "c": 3}),
        );
        let wanted = "@@ -1,5 +1,5 @@\n {\n  \"a\": 1,\n- \"b\": 2,\n+ \"b\": 4,\n  \"c\": 3\n }\n";
        assert_eq!(unified(&old, &new), wanted);
    }
}
