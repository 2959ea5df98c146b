//! The programs as people run them: real processes, real sockets on the loopback.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(10);

fn program(name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo-app"));
    command.arg(name).env_clear();
    command
}

fn run(name: &str, args: &[&str]) -> Output {
    program(name).args(args).output().unwrap()
}

fn shell(script: &str) -> (String, i32) {
    let output = run("sh", &["-c", script]);
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (text, output.status.code().unwrap())
}

/// A directory that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("demo-app-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A service that is ended with the test.
struct Service(Child);

impl Service {
    fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    fn logged(&mut self, text: &str) {
        let mut lines = BufReader::new(self.0.stdout.as_mut().unwrap()).lines();
        assert!(
            lines.any(|line| line.unwrap().contains(text)),
            "never logged {text}"
        );
        let mut rest = self.0.stdout.take().unwrap();
        thread::spawn(move || rest.read_to_end(&mut Vec::new()));
    }

    fn ends(&mut self) -> i32 {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code().unwrap();
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("still running");
    }

    fn terminate(&mut self) -> i32 {
        assert!(run("kill", &[&self.0.id().to_string()]).status.success());
        self.ends()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Most have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

fn redis(scratch: &Scratch, port: &str) -> Service {
    let mut service = Service::start(program("redis-server").args([
        "--port",
        port,
        "--requirepass",
        "secret",
        "--dir",
        scratch.path(),
    ]));
    service.logged("Ready to accept connections");
    service
}

fn cli(port: &str, words: &str) -> String {
    let output = program("redis-cli")
        .args(["-p", port])
        .args(words.split(' '))
        .env("REDISCLI_AUTH", "secret")
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned()
}

fn curl(args: &[&str]) -> (String, String) {
    let output = run("curl", &[&["-s", "-w", "\n%{http_code}"], args].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, code) = text.rsplit_once('\n').unwrap();
    (body.to_owned(), code.to_owned())
}

#[test]
fn scripts() {
    let cases = [
        ("echo a'b c'\"d  e\" f", "ab cd  e f\n", 0),
        ("false || echo x && echo y; exit 3", "x\ny\n", 3),
        ("false && echo x", "", 1),
        (
            "A=1; A=$((A + 2*3)); echo \"$A\" ${A} ${B:-none} ${#A}",
            "7 7 none 1\n",
            0,
        ),
        ("X=\"a  b\"; echo $X \"$X\"", "a b a  b\n", 0),
        (
            "for i in 1 2 3; do if [ $i -eq 2 ]; then continue; fi; echo $i; done",
            "1\n3\n",
            0,
        ),
        (
            "i=0; while true; do i=$((i+1)); [ $i = 3 ] && break; done; echo $i",
            "3\n",
            0,
        ),
        ("until true; do echo never; done", "", 0),
        (
            "if false; then echo a; elif true; then echo b; else echo c; fi",
            "b\n",
            0,
        ),
        ("echo $(echo in; echo ner) | cat", "in ner\n", 0),
        ("printf '%s-%s\\n' a b | wc -l", "1\n", 0),
        ("echo PONG | grep -q PONG", "", 0),
        (
            "nonesuch 2>&1 | wc -w; nonesuch 2>&1; echo $?",
            "4\nsh: nonesuch: not found\n127\n",
            0,
        ),
        ("set -e; false; echo never", "", 1),
        (
            "set -e; false || true; if false; then :; fi; echo here",
            "here\n",
            0,
        ),
        ("! false && echo $? # comment", "0\n", 0),
        ("sh -c 'kill -9 $$'; echo $?", "137\n", 0),
        ("sh -c 'echo $0 $1 $#' name one", "name one 1\n", 0),
        ("V=1 env | grep V=", "V=1\n", 0),
        ("exec echo replaced; echo never", "replaced\n", 0),
        ("{ echo a; echo b; } && echo c", "a\nb\nc\n", 0),
        (
            "echo 'open",
            "sh: syntax error: unexpected end of file\n",
            2,
        ),
        (
            "echo a; ; done",
            "sh: syntax error: unexpected \"done\"\n",
            2,
        ),
        (
            "cat <<E",
            "sh: \"<<\" is not supported by this small shell\n",
            2,
        ),
        ("${X:?missing}; echo never", "sh: X: missing\n", 2),
    ];
    for (script, text, code) in cases {
        let (found, status) = shell(script);
        let found = found.lines().collect::<Vec<_>>().join("\n");
        assert_eq!(
            (found.as_str(), status),
            (text.trim_end(), code),
            "{script}"
        );
    }
}

#[test]
fn standard_input_is_a_script_too() {
    let mut child = program("sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"x=5\nif true; then\n echo $x\nfi\ncat\nrest of input\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "5\nrest of input\n"
    );
}

#[test]
fn files_and_archives() {
    let scratch = Scratch::new("files");
    let dir = scratch.path();
    let script = format!(
        "cd {dir} && mkdir -p a/b && echo one > a/x && echo two >> a/x && cp -r a c && mv c/x c/b/y && rm -rf a/b && touch z && \
         ls && tar cf out.tar c && tar tf out.tar && mkdir in && tar -xmf out.tar -C in && cat in/c/b/y && \
         cat out.tar | tar --no-same-permissions --no-same-owner -xmf - -C in && test -d in/c && [ ! -e nope ] && head -n 1 < a/x"
    );
    let (text, code) = shell(&script);
    assert_eq!(
        (text.as_str(), code),
        (
            "a\nc\nz\nc\nc/b\nc/b/y\none\ntwo\none\n"
                .replace("c\nc/b\n", "c/\nc/b/\n")
                .as_str(),
            0
        )
    );
    let output = run("cat", &["/no/such"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "cat: /no/such: No such file or directory\n"
    );
}

#[test]
fn the_store_keeps_what_it_is_given() {
    let (scratch, port) = (Scratch::new("redis"), free_port());
    let mut server = redis(&scratch, &port);
    let open = run("redis-cli", &["-p", &port, "ping"]);
    assert_eq!(
        String::from_utf8_lossy(&open.stdout),
        "NOAUTH Authentication required.\n"
    );
    for (words, expected) in [
        ("ping", "PONG"),
        ("set key value", "OK"),
        ("incr n", "1"),
        ("rpush l a b", "2"),
        ("config get dbfilename", "dbfilename\ndump.rdb"),
        ("config get requirepass", ""),
        ("bgsave", "Background saving started"),
        ("save", "OK"),
        ("nonesuch", "ERR unknown command 'nonesuch'"),
    ] {
        assert_eq!(cli(&port, words), expected, "{words}");
    }
    assert!(
        fs::read(scratch.0.join("dump.rdb"))
            .unwrap()
            .starts_with(b"REDIS")
    );
    assert_eq!(cli(&port, "incr n"), "2");
    assert_eq!(server.terminate(), 0);
    let mut server = redis(&scratch, &port);
    assert_eq!(
        (cli(&port, "get n"), cli(&port, "lrange l 0 -1")),
        ("2".into(), "a\nb".into())
    );
    cli(&port, "set n 9");
    cli(&port, "shutdown nosave");
    assert_eq!(server.ends(), 0);
    let mut server = redis(&scratch, &port);
    assert_eq!(cli(&port, "get n"), "2");
    cli(&port, "set n 9");
    cli(&port, "shutdown save");
    assert_eq!(server.ends(), 0);
    fs::write(scratch.0.join("dump.rdb"), b"REDIS0009\xfe").unwrap();
    let broken = run("redis-server", &["--port", &port, "--dir", scratch.path()]);
    assert_eq!(broken.status.code(), Some(1));
}

fn agent(redis_port: &str, port: &str) -> Service {
    let mut service = Service::start(program("agent").envs([
        ("PORT", port),
        ("REDIS_HOST", "localhost"),
        ("REDIS_PORT", redis_port),
        ("REDIS_PASSWORD", "secret"),
        ("MAX_RETRIES", "1"),
        ("CIRCUIT_BREAKER_THRESHOLD", "2"),
        ("CIRCUIT_BREAKER_RESET_SECONDS", "1"),
        ("TOKEN_BUDGET_PER_REQUEST", "10"),
        ("SHUTDOWN_DELAY_SECONDS", "0"),
        ("POD_NAME", "pod-1"),
    ]));
    service.logged("stand-in");
    service
}

#[test]
fn the_agent_works_with_the_store() {
    let (scratch, redis_port, port) = (Scratch::new("agent"), free_port(), free_port());
    let url = |path: &str| format!("localhost:{port}{path}");
    let mut server = redis(&scratch, &redis_port);
    let mut agent = agent(&redis_port, &port);
    for path in ["/health", "/ready", "/startup"] {
        assert_eq!(curl(&[&url(path)]).1, "200", "{path}");
    }
    let (first, _) = curl(&[&url("/agent?task=plan+a+trip")]);
    let (second, _) = curl(&["-X", "POST", "-d", "plan a trip", &url("/agent")]);
    let (first, second): (serde_json::Value, serde_json::Value) = (
        serde_json::from_str(&first).unwrap(),
        serde_json::from_str(&second).unwrap(),
    );
    assert_eq!(
        (&first["counter"], &second["counter"], &second["times_seen"]),
        (&1.into(), &2.into(), &1.into())
    );
    assert_eq!(
        (&first["answer"], &second["previous_task"], &first["pod"]),
        (&second["answer"], &"plan a trip".into(), &"pod-1".into())
    );
    for (path, code) in [
        ("/agent", "400"),
        ("/nope", "404"),
        (
            "/agent?task=this+is+far+more+than+forty+bytes+of+text",
            "413",
        ),
    ] {
        assert_eq!(curl(&[&url(path)]).1, code, "{path}");
    }
    let (metrics, _) = curl(&[&url("/metrics")]);
    assert!(
        metrics.contains("agent_requests_total{code=\"200\"} 2\n")
            && metrics.contains("agent_redis_up 1\n"),
        "{metrics}"
    );
    server.terminate();
    assert_eq!(
        (
            curl(&[&url("/health")]).1.as_str(),
            curl(&[&url("/ready")]).1.as_str()
        ),
        ("200", "503")
    );
    let failures: Vec<String> = (0..3).map(|_| curl(&[&url("/agent?task=x")]).0).collect();
    assert!(
        failures[1].contains("Redis") && failures[2].contains("circuit breaker open"),
        "{failures:?}"
    );
    let _server = redis(&scratch, &redis_port);
    thread::sleep(Duration::from_millis(1_100));
    assert!(curl(&[&url("/agent?task=x")]).0.contains("\"counter\":3"));
    let open = run("nc", &["-zv", "localhost", &port]);
    assert!(open.status.success() && String::from_utf8_lossy(&open.stderr).contains("open"));
    assert_eq!(agent.terminate(), 0);
    assert_eq!(
        run("nc", &["-z", "localhost", &port]).status.code(),
        Some(1)
    );
}
