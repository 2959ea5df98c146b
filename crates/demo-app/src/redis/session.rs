//! One client's conversation with the server: authentication and the commands on the server itself.

use super::{
    commands::{self, COMMANDS, wrong_count},
    db::Bytes,
    glob,
    resp::Reply,
    server::Shared,
};
use crate::time::now_millis;
use std::sync::Arc;

/// What to do after an answer.
pub enum Next {
    /// Say it and go on.
    Go(Reply),
    /// Say it and hang up.
    Close(Reply),
    /// Say nothing: the server ends, its data saved or not.
    Shutdown,
}

/// The state of one connection.
pub struct Session {
    shared: Arc<Shared>,
    trusted: bool,
}

impl Session {
    /// A new connection; trusted if the server has no password.
    pub fn new(shared: Arc<Shared>) -> Self {
        let trusted = shared.config.password.is_none();
        Self { shared, trusted }
    }

    /// Answers a request of at least one word.
    pub fn answer(&mut self, words: &[Bytes]) -> Next {
        let name = String::from_utf8_lossy(&words[0]).to_ascii_lowercase();
        match name.as_str() {
            "auth" => Next::Go(self.authenticate(words)),
            "quit" => Next::Close(Reply::ok()),
            "hello" => Next::Go(Reply::Error(
                "NOPROTO unsupported protocol version".to_owned(),
            )),
            _ if !self.trusted => {
                Next::Go(Reply::Error("NOAUTH Authentication required.".to_owned()))
            }
            "shutdown" => self.shutdown(words),
            name => Next::Go(self.serve(name, words)),
        }
    }

    fn authenticate(&mut self, words: &[Bytes]) -> Reply {
        let Some(password) = &self.shared.config.password else {
            let text = "ERR AUTH <password> called without any password configured for the default user. \
                        Are you sure your configuration is correct?";
            return Reply::Error(text.to_owned());
        };
        let (user, given) = match words {
            [_, given] => (&b"default"[..], given),
            [_, user, given] => (user.as_slice(), given),
            _ => return wrong_count("auth"),
        };
        self.trusted = user == b"default" && given == password.as_bytes();
        match self.trusted {
            true => Reply::ok(),
            false => {
                let text = "WRONGPASS invalid username-password pair or user is disabled.";
                Reply::Error(text.to_owned())
            }
        }
    }

    fn shutdown(&self, words: &[Bytes]) -> Next {
        let save = match words
            .get(1)
            .map(|word| word.to_ascii_uppercase())
            .as_deref()
        {
            None | Some(b"SAVE") => true,
            Some(b"NOSAVE") => false,
            Some(_) => return Next::Go(Reply::Error("ERR syntax error".to_owned())),
        };
        if save && let Err(error) = self.shared.save() {
            self.shared
                .log(&format!("Error trying to save the DB, can't exit: {error}"));
            let text = "ERR Errors trying to SHUTDOWN. Check logs.";
            return Next::Go(Reply::Error(text.to_owned()));
        }
        Next::Shutdown
    }

    fn serve(&self, name: &str, words: &[Bytes]) -> Reply {
        match (name, words) {
            ("ping", [_]) => Reply::Simple("PONG".to_owned()),
            ("ping" | "echo", [_, text]) => Reply::Bulk(text.clone()),
            ("ping" | "echo" | "select", _) if words.len() != 2 => wrong_count(name),
            ("select", [_, index]) if index == b"0" => Reply::ok(),
            ("select", _) => Reply::Error("ERR DB index is out of range".to_owned()),
            ("client", _) => Reply::ok(),
            ("command", [_]) => Reply::Array(COMMANDS.iter().map(described).collect()),
            ("command", [_, what, ..]) if what.eq_ignore_ascii_case(b"count") => {
                Reply::count(COMMANDS.len())
            }
            ("command", _) => Reply::Array(Vec::new()),
            ("config", [_, what, pattern]) if what.eq_ignore_ascii_case(b"get") => {
                self.settings(pattern)
            }
            ("config", _) => {
                Reply::Error("ERR only CONFIG GET is supported by this stand-in".to_owned())
            }
            ("info", _) => Reply::bulk(self.shared.info()),
            ("save", _) => saved(self.shared.save()),
            ("bgsave", _) => self.shared.save_in_background(),
            ("lastsave", _) => Reply::Int(self.shared.last_save()),
            _ => self.on_data(words),
        }
    }

    fn on_data(&self, words: &[Bytes]) -> Reply {
        let mut db = self.shared.db();
        commands::run(&mut db, now_millis(), words).unwrap_or_else(|| {
            let name = String::from_utf8_lossy(&words[0]);
            Reply::Error(format!("ERR unknown command '{}'", name.escape_debug()))
        })
    }

    fn settings(&self, pattern: &[u8]) -> Reply {
        let pattern = pattern.to_ascii_lowercase();
        let settings = self.shared.config.settings().into_iter();
        let found = settings.filter(|(name, _)| glob::matches(&pattern, name.as_bytes()));
        let flat = found.flat_map(|(name, value)| [Reply::bulk(name), Reply::bulk(value)]);
        Reply::Array(flat.collect())
    }
}

fn described(command: &commands::Command) -> Reply {
    let least = i64::try_from(command.least).unwrap_or(i64::MAX);
    Reply::Array(vec![Reply::bulk(command.name), Reply::Int(-least)])
}

fn saved(result: std::io::Result<()>) -> Reply {
    match result {
        Ok(()) => Reply::ok(),
        Err(error) => Reply::Error(format!("ERR {error}")),
    }
}
