//! Error texts as people know them from a shell.

use std::{fmt::Display, io, path::Path};

/// The text of an error without Rust's mention of the number.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Puts the file's name in front of an error.
pub fn at<P: AsRef<Path> + ?Sized>(path: &P) -> impl FnOnce(io::Error) -> io::Error {
    let name = path.as_ref().display().to_string();
    move |error| io::Error::new(error.kind(), format!("{name}: {}", plain(&error)))
}

/// A mistake of the caller.
pub fn usage(text: impl Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text.to_string())
}

/// Data that does not follow its format.
pub fn invalid(text: impl Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_string())
}
