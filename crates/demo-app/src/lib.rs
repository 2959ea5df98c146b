//! The application inside the built-in image `xebec/demo`: a stand-in for an AI agent, a small
//! Redis-protocol store, and the few commands that probes and people run in a container.
//!
//! Knows nothing of clusters: it is an ordinary program that reads its environment, speaks TCP and
//! stops on SIGTERM. Upstream counterpart: none; think of `agnhost` and BusyBox.

pub mod agent;
mod applets;
mod errors;
pub mod http;
pub mod redis;
pub mod resolve;
pub mod shell;
mod signals;
mod time;

use std::io;

/// A program of the image: gets its arguments without its name, returns its exit code.
type Applet = fn(&[String]) -> io::Result<i32>;

/// Exit code for a program the image does not have, as shells give it.
pub const NOT_FOUND: i32 = 127;

const TABLE: [(&str, Applet); 44] = [
    ("[", shell::bracket_applet),
    ("agent", agent::run),
    ("bash", shell::applet),
    ("cat", applets::text::cat),
    ("cp", applets::files::cp),
    ("curl", applets::net::curl),
    ("date", applets::system::date),
    ("echo", applets::text::echo),
    ("env", applets::system::env),
    ("false", applets::system::fails),
    ("grep", applets::text::grep),
    ("head", applets::text::head),
    ("hostname", applets::system::hostname),
    ("id", applets::system::id),
    ("kill", applets::system::kill),
    ("ln", applets::files::ln),
    ("ls", applets::files::ls),
    ("mkdir", applets::files::mkdir),
    ("mv", applets::files::mv),
    ("nc", applets::net::nc),
    ("nslookup", applets::net::nslookup),
    ("printenv", applets::system::printenv),
    ("printf", applets::text::printf),
    ("ps", applets::system::ps),
    ("pwd", applets::files::pwd),
    ("readlink", applets::files::readlink),
    ("redis-cli", redis::cli::run),
    ("redis-server", redis::server::run),
    ("rm", applets::files::rm),
    ("rmdir", applets::files::rmdir),
    ("seq", applets::text::seq),
    ("sh", shell::applet),
    ("sleep", applets::system::sleep),
    ("stat", applets::files::stat),
    ("tail", applets::text::tail),
    ("tar", applets::archive::tar),
    ("tee", applets::text::tee),
    ("test", shell::test_applet),
    ("touch", applets::files::touch),
    ("true", applets::system::succeeds),
    ("uname", applets::system::uname),
    ("wc", applets::text::wc),
    ("wget", applets::net::wget),
    ("whoami", applets::system::whoami),
];

/// Names under which the binary is linked in the image.
pub const APPLETS: &[&str] = &names();

const fn names() -> [&'static str; TABLE.len()] {
    let mut names = [""; TABLE.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = TABLE[at].0;
        at += 1;
    }
    names
}

/// Runs the program `name` with its arguments (its name not among them); returns its exit code.
#[must_use]
pub fn main(name: &str, args: &[String]) -> i32 {
    let Some((_, applet)) = TABLE.iter().find(|(known, _)| *known == name) else {
        eprintln!("{name}: not found");
        return NOT_FOUND;
    };
    match applet(args) {
        Ok(code) => code,
        // A reader that went away is no failure worth a message: `yes | head` ends so.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => 1,
        Err(error) => {
            eprintln!("{name}: {}", errors::plain(&error));
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_answer() {
        assert!(APPLETS.is_sorted());
        for (name, code) in [("true", 0), ("false", 1), ("no-such-program", NOT_FOUND)] {
            assert_eq!(main(name, &[]), code, "{name}");
        }
    }
}
