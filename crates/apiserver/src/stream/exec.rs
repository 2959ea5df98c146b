//! Commands in containers: exec and attach over WebSocket channels or SPDY streams.
//!
//! Upstream counterpart: `kubelet/pkg/cri/streaming/remotecommand`.

use super::{
    CREATION_MAX, Target,
    channels::{Framing, Receiver, Sender, channels},
    container, upgrade,
};
use crate::{
    answer::HttpResponse,
    options::Query,
    server::{Inner, Parts},
    spdy::{SpdyConnection, SpdyReader, SpdyWriter},
};
use env::{Output, RuntimeResult, Session, StreamOptions, TerminalSize};
use hyper::{Request, body::Incoming};
use machinery::{Object, Status, json};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Half close: the byte after it names the channel (v5).
const CLOSE: u8 = 255;

/// WebSocket subprotocols in order of preference.
const PROTOCOLS: [&str; 5] = [
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
];
/// Protocols over SPDY in order of preference.
const SPDY_PROTOCOLS: [&str; 4] = [
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
];

/// What is to be run where.
struct Job {
    inner: Arc<Inner>,
    target: Target,
    /// `None` attaches.
    command: Option<Vec<String>>,
    options: StreamOptions,
}

impl Job {
    async fn start(&self) -> RuntimeResult<Arc<dyn Session>> {
        let place = self.target.place();
        match &self.command {
            Some(command) => self.inner.nodes.exec(place, command, self.options).await,
            None => self.inner.nodes.attach(place, self.options).await,
        }
    }

    /// An attachment ends well however its container ends: the pod's status has the code.
    fn end(&self, end: Output) -> Output {
        match end {
            Output::Exit(_) if self.command.is_none() => Output::Exit(0),
            end => end,
        }
    }
}

/// Answers `pods/NAME/exec` and `pods/NAME/attach`.
pub fn remote_command(
    inner: &Arc<Inner>,
    parts: &Parts,
    pod: &Object,
    request: Request<Incoming>,
) -> Result<HttpResponse, Status> {
    let query = &parts.query;
    let exec = parts.place.subresource == "exec";
    let job = Job {
        inner: inner.clone(),
        target: Target::new(pod, container(pod, query)?)?,
        command: exec.then(|| query.all("command")),
        options: options(query)?,
    };
    if job.command.as_ref().is_some_and(Vec::is_empty) {
        return Err(Status::bad_request(
            "you must specify at least 1 command for the container",
        ));
    }
    match upgrade::wanted(request.headers()) {
        upgrade::Wanted::WebSocket => {
            upgrade::websocket(request, &PROTOCOLS, |socket, protocol| {
                over_channels(job, socket, protocol)
            })
        }
        upgrade::Wanted::Spdy => upgrade::spdy(request, &SPDY_PROTOCOLS, |transport, protocol| {
            over_spdy(job, transport, protocol)
        }),
        upgrade::Wanted::Nothing => Err(upgrade::required()),
    }
}

fn options(query: &Query) -> Result<StreamOptions, Status> {
    let tty = query.flag("tty");
    let options = StreamOptions {
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        // A terminal has one output.
        stderr: query.flag("stderr") && !tty,
        tty,
    };
    if !(options.stdin || options.stdout || options.stderr) {
        return Err(Status::bad_request(
            "you must specify at least 1 of stdin, stdout, stderr",
        ));
    }
    Ok(options)
}

async fn over_channels(job: Job, socket: upgrade::Socket, protocol: &'static str) {
    let (mut sender, mut receiver) = channels(socket, Framing::of(protocol));
    let first = match job.options {
        StreamOptions { stdout: true, .. } => STDOUT,
        StreamOptions { stderr: true, .. } => STDERR,
        _ => ERROR,
    };
    // Tells the client that the streams exist, before the command says anything.
    sender.send(first, &[]).await;
    match job.start().await {
        Ok(session) => {
            let input = feed(&*session, &mut receiver);
            let output = drain(&*session, &mut sender);
            let end = tokio::select! {
                biased;
                end = output => end,
                () = input => None,
            };
            if let Some(end) = end {
                send_end(&mut sender, protocol, &job.end(end)).await;
            }
        }
        Err(why) => send_end(&mut sender, protocol, &Output::Failed(why.message)).await,
    }
    sender.close(receiver).await;
}

/// Client to container. Completes when the client has gone.
async fn feed(session: &dyn Session, receiver: &mut Receiver) {
    while let Some((channel, data)) = receiver.next().await {
        // Input that fails comes too late: the command has ended or closed it.
        match channel {
            STDIN if !data.is_empty() => _ = session.write(&data).await,
            RESIZE => session.resize(terminal_size(&data)),
            CLOSE if data[..] == [STDIN] => _ = session.write(&[]).await,
            _ => {}
        }
    }
}

/// Container to client, up to the end of the command; `None` when the client has gone before.
async fn drain(session: &dyn Session, sender: &mut Sender) -> Option<Output> {
    loop {
        let sent = match session.read().await {
            Output::Stdout(bytes) => sender.send(STDOUT, &bytes).await,
            Output::Stderr(bytes) => sender.send(STDERR, &bytes).await,
            end => return Some(end),
        };
        if !sent {
            return None;
        }
    }
}

async fn send_end(sender: &mut Sender, protocol: &str, end: &Output) {
    let text = end_text(protocol, end);
    if !text.is_empty() {
        sender.send(ERROR, &text).await;
    }
}

/// What the error stream says about an end: a Status since v4, a sentence on failure before.
fn end_text(protocol: &str, end: &Output) -> Vec<u8> {
    let success = matches!(end, Output::Exit(0));
    let status = match end {
        Output::Exit(0) => json!({"metadata": {}, "status": "Success"}),
        Output::Exit(code) => json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Output::Failed(why) => Status::internal(why).to_value(),
        Output::Stdout(_) | Output::Stderr(_) => return Vec::new(),
    };
    if protocol.starts_with("v4.") || protocol.starts_with("v5.") {
        return codec::encode_json_value(&status);
    }
    if success {
        return Vec::new();
    }
    status["message"].str().as_bytes().to_vec()
}

fn terminal_size(data: &[u8]) -> TerminalSize {
    let decoded = codec::decode_json(data, codec::Limits::default())
        .map(|decoded| decoded.value)
        .unwrap_or_default();
    let side = |key: &str| {
        decoded[key]
            .as_i64()
            .and_then(|size| u16::try_from(size).ok())
            .unwrap_or_default()
    };
    TerminalSize {
        width: side("Width"),
        height: side("Height"),
    }
}

/// The streams of a command over SPDY.
#[derive(Default)]
struct Streams {
    stdin: Option<SpdyReader>,
    resize: Option<SpdyReader>,
    outputs: Outputs,
    /// What the client opened and nothing is sent on; it ends with the rest.
    silent: Vec<SpdyWriter>,
}

/// Where a command's output goes.
#[derive(Default)]
struct Outputs {
    stdout: Option<SpdyWriter>,
    stderr: Option<SpdyWriter>,
    error: Option<SpdyWriter>,
}

/// Whether clients of a protocol open a stream for the terminal's size.
fn resizes(protocol: &str) -> bool {
    protocol.starts_with("v3.") || protocol.starts_with("v4.")
}

async fn over_spdy(
    job: Job,
    transport: impl AsyncRead + AsyncWrite + Send + 'static,
    protocol: &'static str,
) {
    let mut connection = SpdyConnection::start(transport);
    let StreamOptions {
        stdin,
        stdout,
        stderr,
        tty,
    } = job.options;
    let expected = [true, stdin, stdout, stderr, tty && resizes(protocol)]
        .iter()
        .filter(|wanted| **wanted)
        .count();
    let collected = tokio::time::timeout(CREATION_MAX, collect(&mut connection, expected)).await;
    let Ok(Some(mut streams)) = collected else {
        return connection.finish().await;
    };
    let end = match job.start().await {
        Ok(session) => run_spdy(&session, &mut streams, &mut connection)
            .await
            .map(|end| job.end(end)),
        Err(why) => Some(Output::Failed(why.message)),
    };
    let Streams {
        outputs, silent, ..
    } = streams;
    if let (Some(end), Some(error)) = (&end, &outputs.error) {
        error.write(&end_text(protocol, end)).await;
    }
    let writers = [outputs.stdout, outputs.stderr, outputs.error];
    for writer in writers.into_iter().flatten().chain(silent) {
        writer.finish().await;
    }
    connection.finish().await;
}

async fn collect(connection: &mut SpdyConnection, expected: usize) -> Option<Streams> {
    let mut streams = Streams::default();
    for _ in 0..expected {
        let stream = connection.accept().await?;
        match stream.header("streamtype").to_owned().as_str() {
            "error" => streams.outputs.error = Some(stream.writer),
            "stdout" => streams.outputs.stdout = Some(stream.writer),
            "stderr" => streams.outputs.stderr = Some(stream.writer),
            "stdin" => {
                streams.stdin = Some(stream.reader);
                streams.silent.push(stream.writer);
            }
            "resize" => {
                streams.resize = Some(stream.reader);
                streams.silent.push(stream.writer);
            }
            // A stream that nobody knows has no place in this protocol.
            _ => return None,
        }
    }
    Some(streams)
}

/// Carries bytes both ways. `None` when the client has gone before the end.
async fn run_spdy(
    session: &Arc<dyn Session>,
    streams: &mut Streams,
    connection: &mut SpdyConnection,
) -> Option<Output> {
    let Streams {
        stdin,
        resize,
        outputs,
        ..
    } = streams;
    let input = async {
        if let Some(stdin) = stdin {
            while let Some(bytes) = stdin.read().await {
                // Input that fails comes too late: the command has ended or closed it.
                let _ = session.write(&bytes).await;
            }
            let _ = session.write(&[]).await;
        }
        std::future::pending::<()>().await;
    };
    let sizes = async {
        if let Some(resize) = resize {
            while let Some(bytes) = resize.read().await {
                // Sizes are JSON objects in a row; only the last matters.
                let last = bytes
                    .split(|byte| *byte == b'\n')
                    .rfind(|part| !part.is_empty());
                session.resize(terminal_size(last.unwrap_or_default()));
            }
        }
        std::future::pending::<()>().await;
    };
    let gone = async { while connection.accept().await.is_some() {} };
    tokio::select! {
        end = drain_spdy(&**session, outputs) => end,
        () = input => None,
        () = sizes => None,
        () = gone => None,
    }
}

async fn drain_spdy(session: &dyn Session, outputs: &Outputs) -> Option<Output> {
    loop {
        let (writer, bytes) = match session.read().await {
            Output::Stdout(bytes) => (&outputs.stdout, bytes),
            Output::Stderr(bytes) => (&outputs.stderr, bytes),
            end => return Some(end),
        };
        if let Some(writer) = writer
            && !writer.write(&bytes).await
        {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_speak_the_clients_protocol() {
        let text =
            |protocol: &str, end: Output| String::from_utf8(end_text(protocol, &end)).unwrap();
        let sentence = "command terminated with non-zero exit code: exit status 7";
        assert!(text("v5.channel.k8s.io", Output::Exit(7)).contains(r#""reason":"ExitCode""#));
        assert!(text("v4.base64.channel.k8s.io", Output::Exit(0)).contains("Success"));
        assert_eq!(text("channel.k8s.io", Output::Exit(7)), sentence);
        assert_eq!(text("", Output::Exit(0)), "");
        let failed = text("v2.channel.k8s.io", Output::Failed("no shell".into()));
        assert_eq!(failed, "Internal error occurred: no shell");
    }

    #[test]
    fn sizes_are_json() {
        let size = terminal_size(br#"{"Width":80,"Height":24}"#);
        assert_eq!((size.width, size.height), (80, 24));
        assert_eq!(terminal_size(b"nonsense"), TerminalSize::default());
    }
}
