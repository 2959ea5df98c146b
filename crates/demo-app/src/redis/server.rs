//! The server: settings, connections (a thread each), saving and stopping.

use super::{
    db::Db,
    rdb,
    resp::{Reply, read_request},
    session::{Next, Session},
};
use crate::{
    errors::{at, usage},
    signals,
    time::{format, now, now_millis},
};
use std::{
    collections::BTreeMap,
    env,
    io::{self, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

/// Most connections at once, as Redis' default allows by far.
const MAX_CLIENTS: usize = 1_000;

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Port to listen on, all addresses.
    pub port: u16,
    /// What `AUTH` must give; nobody needs to if absent.
    pub password: Option<String>,
    /// Directory of the dump file.
    pub dir: PathBuf,
    /// Name of the dump file.
    pub file: String,
}

impl Config {
    /// Reads `--name value` arguments over the environment's `REDIS_PASSWORD`.
    ///
    /// # Errors
    /// For an argument that is none of Redis', or a value that does not fit.
    pub fn parse(args: &[String]) -> io::Result<Self> {
        let mut config = Self {
            port: super::PORT,
            password: env::var("REDIS_PASSWORD").ok(),
            dir: PathBuf::from("."),
            file: "dump.rdb".to_owned(),
        };
        for pair in args.chunks(2) {
            let [name, value] = pair else {
                return Err(usage(format!("'{}' needs a value", pair[0])));
            };
            match name.as_str() {
                "--port" => {
                    config.port = value
                        .parse()
                        .map_err(|_| usage(format!("bad port '{value}'")))?
                }
                "--requirepass" => config.password = Some(value.clone()),
                "--dir" => config.dir = value.into(),
                "--dbfilename" => config.file.clone_from(value),
                "--bind" | "--protected-mode" | "--loglevel" | "--save" => {}
                "--appendonly" if value == "no" => {}
                "--appendonly" => return Err(usage("this stand-in keeps no append-only file")),
                other => {
                    return Err(usage(format!(
                        "Bad directive or wrong number of arguments: '{other}'"
                    )));
                }
            }
        }
        config.password = config.password.filter(|password| !password.is_empty());
        Ok(config)
    }

    /// What `CONFIG GET` may show: never the password itself.
    pub(super) fn settings(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("port", self.port.to_string()),
            ("dir", self.dir.display().to_string()),
            ("dbfilename", self.file.clone()),
            ("appendonly", "no".to_owned()),
            ("maxclients", MAX_CLIENTS.to_string()),
        ])
    }
}

/// What all connections share.
pub struct Shared {
    pub(super) config: Config,
    db: Mutex<Db>,
    saving: Mutex<()>,
    in_background: AtomicBool,
    last_save: AtomicI64,
    clients: AtomicUsize,
    served: AtomicU64,
    stop: mpsc::Sender<()>,
}

impl Shared {
    pub(super) fn db(&self) -> MutexGuard<'_, Db> {
        // A panic in one command leaves maps that are still whole.
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the dump file.
    pub(super) fn save(&self) -> io::Result<()> {
        let turn = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let copy = {
            let mut db = self.db();
            db.sweep(now_millis());
            db.clone()
        };
        let path = self.config.dir.join(&self.config.file);
        rdb::save(&path, &copy).map_err(at(&path))?;
        drop(turn);
        let seconds = i64::try_from(now().as_secs()).unwrap_or(i64::MAX);
        self.last_save.store(seconds, Ordering::Relaxed);
        self.log("DB saved on disk");
        Ok(())
    }

    pub(super) fn save_in_background(self: &Arc<Self>) -> Reply {
        if self.in_background.swap(true, Ordering::AcqRel) {
            return Reply::Error("ERR Background save already in progress".to_owned());
        }
        let shared = Arc::clone(self);
        thread::spawn(move || {
            if let Err(error) = shared.save() {
                shared.log(&format!("Background saving error: {error}"));
            }
            shared.in_background.store(false, Ordering::Release);
        });
        Reply::Simple("Background saving started".to_owned())
    }

    pub(super) fn last_save(&self) -> i64 {
        self.last_save.load(Ordering::Relaxed)
    }

    pub(super) fn info(&self) -> String {
        let keys = self.db().entries.len();
        let mut text = String::from(
            "# Server\r\nredis_version:7.0.0-xebec-stand-in\r\nredis_mode:standalone\r\n",
        );
        text += &format!(
            "process_id:{}\r\ntcp_port:{}\r\n",
            process::id(),
            self.config.port
        );
        text += &format!(
            "\r\n# Clients\r\nconnected_clients:{}\r\n",
            self.clients.load(Ordering::Relaxed)
        );
        let saving = u8::from(self.in_background.load(Ordering::Relaxed));
        text += &format!(
            "\r\n# Persistence\r\nrdb_bgsave_in_progress:{saving}\r\nrdb_last_save_time:{}\r\n",
            self.last_save()
        );
        text += &format!(
            "\r\n# Stats\r\ntotal_commands_processed:{}\r\n",
            self.served.load(Ordering::Relaxed)
        );
        text += "\r\n# Replication\r\nrole:master\r\nconnected_slaves:0\r\n";
        text + &format!("\r\n# Keyspace\r\ndb0:keys={keys}\r\n")
    }

    pub(super) fn log(&self, text: &str) {
        let time = now();
        let stamp = format(time, "%d %b %Y %T");
        println!(
            "{}:M {stamp}.{:03} * {text}",
            process::id(),
            time.subsec_millis()
        );
    }
}

/// A server that listens.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    stopped: mpsc::Receiver<()>,
}

impl Server {
    /// Loads the dump and begins to serve.
    ///
    /// # Errors
    /// When the dump cannot be read or the port not be had.
    pub fn start(config: Config) -> io::Result<Self> {
        let path = config.dir.join(&config.file);
        let db = rdb::load(&path).map_err(at(&path))?;
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, config.port))?;
        let address = listener.local_addr()?;
        let (stop, stopped) = mpsc::channel();
        let shared = Arc::new(Shared {
            config,
            db: Mutex::new(db),
            saving: Mutex::new(()),
            in_background: AtomicBool::new(false),
            last_save: AtomicI64::new(i64::try_from(now().as_secs()).unwrap_or(0)),
            clients: AtomicUsize::new(0),
            served: AtomicU64::new(0),
            stop,
        });
        let keys = shared.db().entries.len();
        shared.log(&format!("xebec/demo redis-server: a stand-in for Redis, speaks RESP2. Loaded {keys} keys from {}", path.display()));
        shared.log("Ready to accept connections tcp");
        let accepting = Arc::clone(&shared);
        thread::Builder::new()
            .name("accept".into())
            .spawn(move || accept(&listener, &accepting))?;
        Ok(Self {
            shared,
            address,
            stopped,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for `SHUTDOWN` or a signal; a signal saves first.
    ///
    /// # Errors
    /// When the last save fails.
    pub fn wait(self) -> io::Result<()> {
        let saved = Arc::new(Mutex::new(None));
        let (shared, result) = (Arc::clone(&self.shared), Arc::clone(&saved));
        signals::on_stop(move || {
            shared.log("Received SIGTERM scheduling shutdown...");
            let outcome = shared.save();
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
            // The receiver lives until the process ends.
            let _ = shared.stop.send(());
        })?;
        // An error would mean that all senders are gone, and we hold one.
        let _ = self.stopped.recv();
        self.shared
            .log("xebec/demo redis-server is now ready to exit, bye bye...");
        let outcome = saved.lock().unwrap_or_else(PoisonError::into_inner).take();
        outcome.unwrap_or(Ok(()))
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        if shared.clients.fetch_add(1, Ordering::AcqRel) >= MAX_CLIENTS {
            // The client learns it from the closed connection if not from this line.
            let _ = stream.write_all(b"-ERR max number of clients reached\r\n");
            shared.clients.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // A client that goes away in the middle of a request is an everyday thing.
            let _ = converse(&stream, &shared);
            shared.clients.fetch_sub(1, Ordering::AcqRel);
        });
    }
}

fn converse(stream: &TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut session = Session::new(Arc::clone(shared));
    loop {
        let words = match read_request(&mut reader) {
            Ok(Some(words)) if words.is_empty() => continue,
            Ok(Some(words)) => words,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return send(stream, &Reply::Error(format!("ERR {error}")));
            }
            Err(error) => return Err(error),
        };
        shared.served.fetch_add(1, Ordering::Relaxed);
        match session.answer(&words) {
            Next::Go(reply) => send(stream, &reply)?,
            Next::Close(reply) => return send(stream, &reply),
            Next::Shutdown => {
                // The receiver lives until the process ends.
                let _ = shared.stop.send(());
                return Ok(());
            }
        }
    }
}

fn send(mut stream: &TcpStream, reply: &Reply) -> io::Result<()> {
    let mut bytes = Vec::new();
    reply.write(&mut bytes)?;
    stream.write_all(&bytes)
}

/// The program `redis-server`.
///
/// # Errors
/// When it cannot start, or cannot save at its end.
pub fn run(args: &[String]) -> io::Result<i32> {
    Server::start(Config::parse(args)?)?.wait()?;
    Ok(0)
}
