//! What two trees differ in, as lines: for refusals that say what must not change.
//!
//! Upstream counterpart: `apimachinery/pkg/util/diff`.

use machinery::Value;

/// Lines shown before and after what differs.
const CONTEXT: usize = 3;
/// Lines that are compared with each other at most, one side times the other; where more differ,
/// all of them are shown as one change.
const COMPARED_MAX: usize = 1 << 20;

/// Unified diff between two values of a built-in type (`core.v1.PodSpec`), or between the same
/// part of both, a line a field.
pub(crate) fn unified(old: &Value, new: &Value, of: &str, part: Option<&str>) -> String {
    let lines = |value| crate::internal::lines(value, of, part);
    hunks(&script(&lines(old), &lines(new)))
}

/// A line that both have (blank), or only the old (`-`) or the new one (`+`).
type Edit<'a> = (char, &'a str);

/// Leads from one text to the other.
fn script<'a>(old: &'a [String], new: &'a [String]) -> Vec<Edit<'a>> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old.iter().rev().zip(new.iter().rev());
    let most = old.len().min(new.len()) - head;
    let tail = tail.take(most).take_while(|(a, b)| a == b).count();
    let kept = |line: &'a String| (' ', line.as_str());
    let mut edits: Vec<Edit> = old[..head].iter().map(kept).collect();
    let (end, other_end) = (old.len() - tail, new.len() - tail);
    middle(&old[head..end], &new[head..other_end], &mut edits);
    edits.extend(old[end..].iter().map(kept));
    edits
}

/// Keeps the longest run of lines that both have.
fn middle<'a>(old: &'a [String], new: &'a [String], edits: &mut Vec<Edit<'a>>) {
    if old.len() * new.len() > COMPARED_MAX {
        edits.extend(old.iter().map(|line| ('-', line.as_str())));
        edits.extend(new.iter().map(|line| ('+', line.as_str())));
        return;
    }
    let width = new.len() + 1;
    // How many lines both still have in common from here on.
    let mut common = vec![0_u32; (old.len() + 1) * width];
    for at in (0..old.len()).rev() {
        for to in (0..new.len()).rev() {
            common[at * width + to] = match old[at] == new[to] {
                true => common[(at + 1) * width + to + 1] + 1,
                false => common[(at + 1) * width + to].max(common[at * width + to + 1]),
            };
        }
    }
    let (mut at, mut to) = (0, 0);
    while at < old.len() || to < new.len() {
        let both = at < old.len() && to < new.len();
        if both && old[at] == new[to] {
            edits.push((' ', &old[at]));
            (at, to) = (at + 1, to + 1);
        } else if to == new.len()
            || at < old.len() && common[(at + 1) * width + to] >= common[at * width + to + 1]
        {
            edits.push(('-', &old[at]));
            at += 1;
        } else {
            edits.push(('+', &new[to]));
            to += 1;
        }
    }
}

/// What differs, with what is around.
fn hunks(edits: &[Edit]) -> String {
    let changed = |at: &usize| edits[*at].0 != ' ';
    let mut text = String::new();
    let mut next = (0..edits.len()).find(changed);
    while let Some(first) = next {
        let start = first.saturating_sub(CONTEXT);
        let mut last = first;
        while let Some(more) = (last + 1..edits.len().min(last + 2 * CONTEXT + 2)).find(changed) {
            last = more;
        }
        let end = edits.len().min(last + 1 + CONTEXT);
        write_hunk(edits, start..end, &mut text);
        next = (end..edits.len()).find(changed);
    }
    text
}

fn write_hunk(edits: &[Edit], hunk: std::ops::Range<usize>, text: &mut String) {
    let count = |edits: &[Edit], other: char| {
        let own = edits.iter().filter(|(sign, _)| *sign != other);
        own.count()
    };
    let (before, inside) = (&edits[..hunk.start], &edits[hunk]);
    *text += &format!(
        "@@ -{},{} +{},{} @@\n",
        count(before, '+') + 1,
        count(inside, '+'),
        count(before, '-') + 1,
        count(inside, '-')
    );
    for (sign, line) in inside {
        text.push(*sign);
        *text += line;
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn shows_what_differs_and_what_is_around() {
        let (old, new) = (
            json!({"key": "a", "value": "b"}),
            json!({"key": "a", "value": "c"}),
        );
        let wanted = "@@ -1,7 +1,7 @@\n {\n  \"Key\": \"a\",\n  \"Operator\": \"\",\n- \"Value\": \"b\",\n+ \"Value\": \"c\",\n  \"Effect\": \"\",\n  \"TolerationSeconds\": null\n }\n";
        assert_eq!(unified(&old, &new, "core.v1.Toleration", None), wanted);
    }

    #[test]
    fn changes_far_apart_are_shown_apart() {
        let lines = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
        let (old, new) = (lines("abcdefghijklmn"), lines("aBcdefghijklMn"));
        let shown = hunks(&script(&old, &new));
        let wanted =
            "@@ -1,5 +1,5 @@\n a\n-b\n+B\n c\n d\n e\n@@ -10,5 +10,5 @@\n j\n k\n l\n-m\n+M\n n\n";
        assert_eq!(shown, wanted);
    }
}
