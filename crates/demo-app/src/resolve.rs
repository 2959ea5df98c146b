//! Finds addresses the way the C library does, from `/etc/hosts` and `/etc/resolv.conf`.
//!
//! A statically linked C library cannot load its resolver modules, so this asks the name servers
//! itself: UDP, IPv4 addresses, search list and `ndots` honoured.

use crate::errors::invalid;
use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

const DNS_PORT: u16 = 53;
const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;
const RECURSION_DESIRED: u16 = 0x0100;
const HEADER: usize = 12;
const NX_DOMAIN: u8 = 3;
/// As many name servers as resolv.conf(5) allows.
const MAX_SERVERS: usize = 3;
/// Largest label and name of RFC 1035.
const MAX_LABEL: usize = 63;
const MAX_NAME: usize = 253;

/// What `/etc/resolv.conf` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Name servers, with port.
    pub servers: Vec<SocketAddr>,
    /// Suffixes to try.
    pub search: Vec<String>,
    /// Names with at least this many dots are first tried as they are.
    pub ndots: usize,
    /// Time for one question to one server.
    pub timeout: Duration,
    /// Rounds over all servers.
    pub attempts: usize,
}

impl Settings {
    /// Reads the text of a `resolv.conf`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut settings = Self {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        for line in text.lines() {
            let mut words = line
                .split(['#', ';'])
                .next()
                .unwrap_or("")
                .split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    settings
                        .servers
                        .extend(address.map(|ip| SocketAddr::new(ip, DNS_PORT)));
                }
                Some("search" | "domain") => settings.search = words.map(Into::into).collect(),
                Some("options") => words.for_each(|word| settings.option(word)),
                _ => {}
            }
        }
        settings.servers.truncate(MAX_SERVERS);
        settings
    }

    fn option(&mut self, word: &str) {
        let Some((name, value)) = word.split_once(':') else {
            return;
        };
        let Ok(value) = value.parse::<u32>() else {
            return;
        };
        match name {
            "ndots" => self.ndots = value.min(15) as usize,
            "timeout" => self.timeout = Duration::from_secs(u64::from(value.clamp(1, 30))),
            "attempts" => self.attempts = value.clamp(1, 5) as usize,
            _ => {}
        }
    }

    /// The full names to ask for, in order.
    #[must_use]
    pub fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(absolute) = host.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let searched = self
            .search
            .iter()
            .map(|suffix| format!("{host}.{}", suffix.trim_end_matches('.')));
        let mut names: Vec<String> = searched.collect();
        let place = if host.matches('.').count() >= self.ndots {
            0
        } else {
            names.len()
        };
        names.insert(place, host.to_owned());
        names
    }
}

/// Addresses a `hosts` file gives for a name.
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or(""));
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words
                .any(|name| name.eq_ignore_ascii_case(host))
                .then_some(address)
        })
        .collect()
}

/// Finds the addresses of a host, IPv4 first.
///
/// # Errors
/// When no source knows the name, or no name server answers.
pub fn lookup(host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    // Files that are absent are empty: a container may have neither.
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let mut known = in_hosts(&hosts, host);
    if known.is_empty() && host == "localhost" {
        known.push(Ipv4Addr::LOCALHOST.into());
    }
    if !known.is_empty() {
        known.sort_by_key(IpAddr::is_ipv6);
        return Ok(known);
    }
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    ask(&Settings::parse(&text), host)
}

/// Asks the name servers of `settings` for a host.
///
/// # Errors
/// `NotFound` when they answer that there is no such name, `TimedOut` when none answers.
pub fn ask(settings: &Settings, host: &str) -> io::Result<Vec<IpAddr>> {
    let mut failure = not_found(host);
    for name in settings.candidates(host) {
        match ask_all(settings, &name) {
            Ok(found) if !found.is_empty() => {
                return Ok(found.into_iter().map(Into::into).collect());
            }
            Ok(_) => {}
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn not_found(host: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("{host}: Name or service not known"),
    )
}

fn ask_all(settings: &Settings, name: &str) -> io::Result<Vec<Ipv4Addr>> {
    let mut failure = not_found(name);
    for _ in 0..settings.attempts {
        for server in &settings.servers {
            match ask_one(*server, name, settings.timeout) {
                Ok(found) => return Ok(found),
                Err(error) => failure = error,
            }
        }
    }
    Err(failure)
}

fn ask_one(server: SocketAddr, name: &str, timeout: Duration) -> io::Result<Vec<Ipv4Addr>> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let moment = u16::try_from(crate::time::now().subsec_micros() & 0xffff).unwrap_or(0);
    let id = NEXT.fetch_add(1, Ordering::Relaxed) ^ moment;
    let question = question(id, name)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(server)?;
    socket.send(&question)?;
    let end = Instant::now() + timeout;
    let mut buffer = [0; 4096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let text = format!("{name}: Temporary failure in name resolution");
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut buffer) {
            // Late answers to earlier questions carry another number.
            Ok(size) if number(&buffer[..size], 0) == Some(id) => return answers(&buffer[..size]),
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) => {}
            Err(error) => return Err(error),
        }
    }
}

fn question(id: u16, name: &str) -> io::Result<Vec<u8>> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(not_found(name));
    }
    let mut packet = Vec::with_capacity(HEADER + name.len() + 6);
    for part in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
        packet.extend(part.to_be_bytes());
    }
    for label in name.split('.') {
        let size = u8::try_from(label.len()).unwrap_or(u8::MAX);
        if label.is_empty() || label.len() > MAX_LABEL {
            return Err(not_found(name));
        }
        packet.push(size);
        packet.extend(label.as_bytes());
    }
    packet.push(0);
    packet.extend(TYPE_A.to_be_bytes());
    packet.extend(CLASS_IN.to_be_bytes());
    Ok(packet)
}

fn number(packet: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]))
}

/// Where the name that begins at `at` ends. A pointer ends a name.
fn after_name(packet: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let size = usize::from(*packet.get(at)?);
        match size {
            0 => return Some(at + 1),
            size if size & 0xc0 == 0xc0 => return Some(at + 2),
            size => at += size + 1,
        }
    }
}

fn answers(packet: &[u8]) -> io::Result<Vec<Ipv4Addr>> {
    let code = packet.get(3).map_or(0, |flags| flags & 0x0f);
    match code {
        0 => addresses(packet).ok_or_else(|| invalid("a name server sent a broken answer")),
        NX_DOMAIN => Ok(Vec::new()),
        code => Err(io::Error::other(format!(
            "a name server answered with code {code}"
        ))),
    }
}

fn addresses(packet: &[u8]) -> Option<Vec<Ipv4Addr>> {
    let mut at = HEADER;
    for _ in 0..number(packet, 4)? {
        at = after_name(packet, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..number(packet, 6)? {
        at = after_name(packet, at)?;
        let kind = number(packet, at)?;
        let size = usize::from(number(packet, at + 8)?);
        let data = packet.get(at + 10..at + 10 + size)?;
        if kind == TYPE_A
            && let Ok(octets) = <[u8; 4]>::try_from(data)
        {
            found.push(octets.into());
        }
        at += 10 + size;
    }
    Some(found)
}

/// Opens a connection to the first address of a host that takes it.
///
/// # Errors
/// Of the look-up, or of the last address tried.
pub fn connect(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let mut failure = not_found(host);
    for address in lookup(host)? {
        match TcpStream::connect_timeout(&SocketAddr::new(address, port), timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const CONF: &str = "search a.svc.cluster.local svc.cluster.local # x\nnameserver 10.0.0.2\n\
                        options ndots:5 timeout:2 attempts:3 edns0\n";

    #[test]
    fn settings_and_candidates() {
        let settings = Settings::parse(CONF);
        assert_eq!(settings.servers, ["10.0.0.2:53".parse().unwrap()]);
        assert_eq!((settings.ndots, settings.attempts), (5, 3));
        let cases: [(&str, &[&str]); 3] = [
            (
                "redis",
                &[
                    "redis.a.svc.cluster.local",
                    "redis.svc.cluster.local",
                    "redis",
                ],
            ),
            (
                "a.b.c.d.e.f",
                &[
                    "a.b.c.d.e.f",
                    "a.b.c.d.e.f.a.svc.cluster.local",
                    "a.b.c.d.e.f.svc.cluster.local",
                ],
            ),
            ("x.y.", &["x.y"]),
        ];
        for (host, expected) in cases {
            assert_eq!(settings.candidates(host), expected, "{host}");
        }
    }

    #[test]
    fn hosts_file() {
        let text = "127.0.0.1 localhost\n::1 localhost ip6\n10.1.2.3 pod.x pod # y\n";
        assert_eq!(
            in_hosts(text, "POD"),
            ["10.1.2.3".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(in_hosts(text, "localhost").len(), 2);
        assert!(in_hosts(text, "y").is_empty());
    }

    /// A name server that knows one name, behind a CNAME.
    fn server() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((size, from)) = socket.recv_from(&mut buffer) {
                let mut answer = buffer[..size].to_vec();
                answer[2] |= 0x80;
                if answer.windows(7).any(|part| part == b"\x05redis\x03") {
                    answer[7] = 2;
                    answer.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x05\0\x02\xc0\x0c");
                    answer.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04\x0a\x64\x00\x07");
                } else {
                    answer[3] |= NX_DOMAIN;
                }
                socket.send_to(&answer, from).unwrap();
            }
        });
        address
    }

    #[test]
    fn asks_through_the_search_list() {
        let mut settings = Settings::parse("search no.x svc.x\noptions ndots:5");
        settings.servers = vec![server()];
        assert_eq!(
            ask(&settings, "redis").unwrap(),
            ["10.100.0.7".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(
            ask(&settings, "other").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert!(ask(&settings, &"a".repeat(64)).is_err());
        for broken in [&b"ab"[..], b"\0\0\0\0\0\x01\0\x01\0\0\0\0\x3f"] {
            assert!(answers(broken).is_err());
        }
    }
}
