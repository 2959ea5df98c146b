//! etcd on the same disk, in the same run: durable puts per second.
//!
//! Runs Debian's `etcd-server` in a folder of its own on free ports of loopback, driven over its
//! JSON gateway, and ends it by its id. Knows nothing of the cluster.

use crate::{loads::pod, report::Report};
use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Puts by each number of clients.
const PUTS: usize = 3_000;
const CLIENTS: [usize; 3] = [1, 16, 64];
/// How long etcd may take to answer first.
const READY: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
const PACKAGE: &str = "etcd-server";

/// Puts of values as large as a stored pod.
pub fn measure(report: &Report) {
    let Some(etcd) = Etcd::start() else {
        eprintln!("no {PACKAGE} here, and apt gives none: its rows are left out");
        return;
    };
    for clients in CLIENTS {
        let since = Instant::now();
        thread::scope(|scope| {
            for client in 0..clients {
                let etcd = &etcd;
                scope.spawn(move || {
                    let mut wire = etcd.connect().expect("etcd takes connections");
                    for at in (client..PUTS).step_by(clients) {
                        put(&mut wire, &format!("/pods/{clients}-{at}"), &pod(at)).expect("a put");
                    }
                });
            }
        });
        let rate = PUTS as f64 / since.elapsed().as_secs_f64();
        report.plain(&format!("etcd put, {clients} client(s): rate"), rate, "/s");
    }
}

/// A process of etcd and its folder.
struct Etcd {
    process: Child,
    folder: PathBuf,
    port: u16,
}

impl Etcd {
    /// `None` where there is no etcd.
    fn start() -> Option<Self> {
        let folder = std::env::temp_dir().join(format!("bench-etcd-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for etcd");
        let program = program(&folder)?;
        let (port, peers) = (free_port(), free_port());
        let (client, peer) = (
            format!("http://127.0.0.1:{port}"),
            format!("http://127.0.0.1:{peers}"),
        );
        let process = Command::new(program)
            .args(["--name", "bench", "--data-dir"])
            .arg(folder.join("data"))
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args(["--initial-cluster", &format!("bench={peer}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let etcd = Self {
            process,
            folder,
            port,
        };
        let since = Instant::now();
        loop {
            let answered = etcd
                .connect()
                .and_then(|mut wire| put(&mut wire, "/ready", "yes"));
            match answered {
                Ok(()) => return Some(etcd),
                Err(why) => assert!(since.elapsed() < READY, "etcd does not answer: {why}"),
            }
            thread::sleep(POLL);
        }
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_nodelay(true)?;
        Ok(BufReader::new(stream))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // Already gone is as good; so is a folder left in the temporary directory.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The installed program, or the one in Debian's package, unpacked into the folder: installing
/// it would start a service.
fn program(folder: &Path) -> Option<PathBuf> {
    let installed = PathBuf::from("/usr/bin/etcd");
    if installed.exists() {
        return Some(installed);
    }
    let quiet = |program: &str, words: &[&str]| {
        let mut command = Command::new(program);
        command
            .args(words)
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !quiet("apt-get", &["download", PACKAGE]) {
        return None;
    }
    let mut files = fs::read_dir(folder).ok()?.flatten().map(|file| file.path());
    let package = files.find(|path| path.extension().is_some_and(|end| end == "deb"))?;
    quiet("dpkg-deb", &["-x", package.to_str()?, "."]).then(|| folder.join("usr/bin/etcd"))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    listener
        .local_addr()
        .expect("a bound socket has an address")
        .port()
}

/// One put over the JSON gateway.
fn put(wire: &mut BufReader<TcpStream>, key: &str, value: &str) -> io::Result<()> {
    let body = format!(r#"{{"key":"{}","value":"{}"}}"#, base64(key), base64(value));
    let length = body.len();
    let request = format!(
        "POST /v3/kv/put HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    wire.get_mut().write_all(request.as_bytes())?;
    let mut line = String::new();
    wire.read_line(&mut line)?;
    if line.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(format!("not a success: {line:?}")));
    }
    let mut left = 0;
    loop {
        line.clear();
        wire.read_line(&mut line)?;
        match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                left = value.trim().parse().map_err(io::Error::other)?;
            }
            Some(_) => {}
            None => break,
        }
    }
    io::copy(&mut wire.take(left), &mut io::sink()).map(drop)
}

fn base64(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in text.as_bytes().chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = char::from(LETTERS[(bits >> (18 - 6 * at) & 63) as usize]);
            out.push(if at <= three.len() { letter } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_pads() {
        for (text, wanted) in [
            ("", ""),
            ("a", "YQ=="),
            ("ab", "YWI="),
            ("abc", "YWJj"),
            ("abcd", "YWJjZA=="),
        ] {
            assert_eq!(super::base64(text), wanted);
        }
    }
}
