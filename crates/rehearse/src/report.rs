//! The report of a rehearsal: its timeline, its outcomes, its hash.
//!
//! Holds nothing of the real world, so that equal runs have equal reports.

use crate::{Outcome, expect::show, timeline::Entry};
use machinery::{Value, json};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

/// What came out of a rehearsal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Name of the scenario.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Seed it ran with.
    pub seed: u64,
    /// Virtual time it took.
    pub duration: Duration,
    /// What happened.
    pub timeline: Vec<Entry>,
    /// Which expectations held.
    pub outcomes: Vec<Outcome>,
    /// Number of committed changes.
    pub changes: u64,
    /// SHA-256 over every committed change with its virtual time.
    pub hash: String,
}

impl Report {
    /// Whether every expectation held.
    pub fn passed(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.held)
    }

    /// Prints it for people.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "Rehearsal {} (seed {})", self.name, self.seed)?;
        if !self.description.is_empty() {
            writeln!(out, "{}", self.description.trim_end())?;
        }
        writeln!(out)?;
        let width = self
            .timeline
            .iter()
            .map(|entry| entry.subject.len())
            .max()
            .unwrap_or(0);
        for entry in &self.timeline {
            let subject = &entry.subject;
            writeln!(
                out,
                "{:>12}  {subject:width$}  {}",
                show(entry.at),
                entry.text
            )?;
        }
        writeln!(out)?;
        for outcome in &self.outcomes {
            let word = if outcome.held { "held  " } else { "FAILED" };
            writeln!(out, "{word}  {} ({})", outcome.name, outcome.text)?;
        }
        let held = self.outcomes.iter().filter(|outcome| outcome.held).count();
        writeln!(
            out,
            "\n{held} of {} expectations held; {} simulated, {} changes, hash {}",
            self.outcomes.len(),
            show(self.duration),
            self.changes,
            self.hash
        )
    }

    /// The same as a tree.
    pub fn to_value(&self) -> Value {
        let entry = |entry: &Entry| json!({"at": seconds(entry.at), "subject": &entry.subject, "text": &entry.text});
        let outcome = |outcome: &Outcome| json!({"name": &outcome.name, "held": outcome.held, "text": &outcome.text});
        let timeline: Vec<Value> = self.timeline.iter().map(entry).collect();
        let outcomes: Vec<Value> = self.outcomes.iter().map(outcome).collect();
        json!({
            "apiVersion": crate::scenario::API_VERSION, "kind": "RehearsalReport",
            "metadata": {"name": &self.name},
            "seed": self.seed.to_string(), "duration": seconds(self.duration),
            "passed": self.passed(), "expectations": outcomes, "timeline": timeline,
            "changes": self.changes as i64, "hash": &self.hash,
        })
    }

    /// The same as JSON text.
    pub fn to_json(&self) -> String {
        String::from_utf8(codec::encode_json_value(&self.to_value())).expect("JSON is UTF-8")
    }

    /// How many lines of the timeline end with a text, by text: for tests.
    pub fn counts(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for entry in &self.timeline {
            *counts.entry(entry.text.as_str()).or_default() += 1;
        }
        counts
    }
}

fn seconds(offset: Duration) -> Value {
    Value::Float(offset.as_micros() as f64 / 1e6)
}
