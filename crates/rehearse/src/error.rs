//! Why a rehearsal could not be held (its expectations failing is a result, not an error).

use std::{fmt, path::PathBuf};

/// Why a rehearsal could not be held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A file could not be read.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The scenario does not say what to do.
    Scenario(String),
    /// A manifest or a step was refused.
    Refused {
        /// What was asked.
        what: String,
        /// The answer.
        why: String,
    },
    /// The platform did not start.
    Platform(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, why } => write!(f, "{}: {why}", path.display()),
            Self::Scenario(why) => write!(f, "{why}"),
            Self::Refused { what, why } => write!(f, "{what} was refused: {why}"),
            Self::Platform(why) => write!(f, "the platform did not start: {why}"),
        }
    }
}

impl std::error::Error for Error {}
