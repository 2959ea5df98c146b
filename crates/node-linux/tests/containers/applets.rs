//! What the test image can do.

use std::{
    fs,
    io::{self, BufRead, Read, Write},
    net::{TcpListener, TcpStream},
    process::ExitCode,
    thread,
    time::Duration,
};

/// Runs one applet: its name, then its arguments.
pub fn run(arguments: &[String]) -> ExitCode {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["exit", code] => return ExitCode::from(code.parse::<u8>().expect("a number")),
        ["print", text @ ..] => println!("{}", text.join(" ")),
        ["both"] => {
            println!("to stdout");
            eprintln!("to stderr");
        }
        ["sleep"] => loop {
            thread::sleep(Duration::from_secs(3600));
        },
        ["ticks"] => ticks(),
        ["env"] => std::env::vars().for_each(|(name, value)| println!("{name}={value}")),
        ["cat", path] => match fs::read(path) {
            Ok(bytes) => io::stdout().write_all(&bytes).expect("stdout"),
            Err(error) => return fail(&error),
        },
        ["exists", path] if fs::exists(path).unwrap_or(false) => {}
        ["link", path] => println!("{}", fs::read_link(path).expect("a link").display()),
        ["write", path, text] => match fs::write(path, text) {
            Ok(()) => println!("written"),
            Err(error) => return fail(&error),
        },
        ["threads"] => {
            let thread = thread::spawn(|| println!("from a thread"));
            thread.join().expect("a thread");
        }
        ["unshare"] => {
            // SAFETY: integer.
            let result = unsafe { libc::unshare(libc::CLONE_NEWUSER) };
            println!("{result} {}", io::Error::last_os_error());
        }
        ["eat"] => eat(),
        ["echo"] => {
            for line in io::stdin().lock().lines() {
                println!("got {}", line.expect("a line"));
            }
        }
        ["term"] => handle_signal(),
        ["fork"] => return fork(),
        ["serve", port] => serve(port),
        ["ask", address] => return ask(address),
        ["open-device"] => return open_device(),
        _ => return fail(&format!("unknown applet {words:?}")),
    }
    ExitCode::SUCCESS
}

fn fail(error: &impl std::fmt::Display) -> ExitCode {
    println!("{error}");
    ExitCode::FAILURE
}

fn ticks() {
    for number in 0.. {
        println!("tick {number}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Touches memory until the kernel has enough.
fn eat() {
    let mut held = Vec::new();
    loop {
        held.push(vec![1u8; 1 << 20]);
        assert!(held.len() < 1 << 12, "nobody stops me");
    }
}

extern "C" fn leave(_signal: i32) {
    // SAFETY: _exit is async-signal-safe.
    unsafe { libc::_exit(42) }
}

fn handle_signal() {
    // SAFETY: the handler only calls _exit.
    unsafe {
        libc::signal(
            libc::SIGTERM,
            leave as extern "C" fn(i32) as libc::sighandler_t,
        )
    };
    println!("ready");
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

/// Leaves children behind, for whoever cleans up.
fn fork() -> ExitCode {
    let me = std::env::current_exe().expect("own path");
    for _ in 0..3 {
        let child = std::process::Command::new(&me)
            .args(["applet", "sleep"])
            .spawn();
        if let Err(error) = child {
            return fail(&error);
        }
    }
    println!("forked");
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

fn serve(port: &str) {
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).expect("a free port");
    println!("serving");
    for stream in listener.incoming() {
        let mut stream = stream.expect("a connection");
        let mut head = [0; 1024];
        let count = stream.read(&mut head).unwrap_or(0);
        let good = head[..count].starts_with(b"GET /good");
        let status = if good { "200 OK" } else { "503 No" };
        // A client may have gone; there will be others.
        let _ = stream
            .write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nhi").as_bytes());
    }
}

/// Prints the first line of the answer.
fn ask(address: &str) -> ExitCode {
    let answer = TcpStream::connect(address).and_then(|mut stream| {
        stream.write_all(b"GET /good HTTP/1.0\r\n\r\n")?;
        let mut line = String::new();
        io::BufReader::new(stream)
            .read_line(&mut line)
            .map(|_| line)
    });
    match answer {
        Ok(line) => println!("{}", line.trim_end()),
        Err(error) => return fail(&error),
    }
    ExitCode::SUCCESS
}

/// A device node made by the container must not open a host's device.
fn open_device() -> ExitCode {
    let path = c"/tmp/null";
    // SAFETY: constant string; node for the null device.
    let made = unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(1, 3)) };
    match fs::read("/tmp/null") {
        Ok(_) => fail(&"opened"),
        Err(error) => {
            println!("mknod {made}, open {:?}", error.kind());
            ExitCode::SUCCESS
        }
    }
}
