//! Behaviour as scripts: commands in, a transcript out, the whole platform in virtual time.
//!
//! A script is its own expected transcript: lines that begin with `> ` are commands, those
//! that begin with `| ` their YAML input, `#` comments, and everything else is output, which
//! playing the script writes anew. Upstream counterpart: `test/cmd`, Go's `script_test`.

mod commands;
mod show;

pub use commands::Session;

/// Plays a script; the transcript it should be.
pub fn play(script: &str) -> String {
    let mut session = Session::start();
    let mut transcript = String::new();
    let mut lines = script.lines().peekable();
    while let Some(line) = lines.next() {
        let kept = line.starts_with('#') || line.is_empty();
        let Some(command) = line.strip_prefix("> ") else {
            if kept {
                transcript.push_str(&format!("{line}\n"));
            }
            continue;
        };
        transcript.push_str(&format!("{line}\n"));
        let mut input = String::new();
        while let Some(text) = lines.next_if(|line| line.starts_with('|')) {
            transcript.push_str(&format!("{text}\n"));
            let text = text.strip_prefix("| ").unwrap_or_default();
            input.push_str(&format!("{text}\n"));
        }
        match session.run(command, &input) {
            Ok(output) => transcript.push_str(&output),
            Err(why) => transcript.push_str(&format!("error: {why}\n")),
        }
    }
    transcript
}
