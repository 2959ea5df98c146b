//! Where the streams of a command lead.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    process::{Command, Stdio},
};

/// Where a command's three streams lead.
#[derive(Default)]
pub struct Streams(pub [Option<File>; 3]);

impl Streams {
    /// A copy of what descriptor `number` leads to.
    pub fn copy(&self, number: &str) -> io::Result<File> {
        let owned = match number {
            "1" => match &self.0[1] {
                Some(file) => return file.try_clone(),
                None => io::stdout().as_fd().try_clone_to_owned()?,
            },
            "2" => match &self.0[2] {
                Some(file) => return file.try_clone(),
                None => io::stderr().as_fd().try_clone_to_owned()?,
            },
            other => return Err(io::Error::other(format!("{other}: bad file descriptor"))),
        };
        Ok(File::from(owned))
    }

    /// Sets a program's streams.
    pub fn give(self, command: &mut Command) {
        let [input, output, errors] = self
            .0
            .map(|file| file.map_or_else(Stdio::inherit, Stdio::from));
        command.stdin(input).stdout(output).stderr(errors);
    }

    /// Writes text where the output leads; returns an exit code.
    pub fn print(&self, text: &str) -> i32 {
        let result = match &self.0[1] {
            Some(file) => (&*file).write_all(text.as_bytes()),
            None => io::stdout()
                .write_all(text.as_bytes())
                .and_then(|()| io::stdout().flush()),
        };
        i32::from(result.is_err())
    }
}
