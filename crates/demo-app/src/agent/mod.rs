//! The agent: an HTTP service that does small, repeatable work and keeps its memory in Redis.
//!
//! A stand-in for the image of a real agent: it never talks to a model. Everything around the work
//! is real: settings, probes, metrics, token budget, retries, circuit breaker, orderly end.

mod breaker;
mod config;
mod metrics;
mod work;

pub use config::Config;

use crate::{
    http::server::{Request, Response, Server},
    redis::client::Client,
    signals, time,
};
use breaker::Breaker;
use metrics::Metrics;
use serde_json::{Value, json};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// What it says of itself.
pub const STAND_IN: &str =
    "xebec/demo agent: a stand-in for the production agent image; it calls no model";
/// Time for one step with Redis.
const REDIS_TIMEOUT: Duration = Duration::from_secs(1);
/// Wait before a second try, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Longest wait for requests under way at the end.
const DRAIN: Duration = Duration::from_secs(20);

/// The agent, without its socket.
pub struct Agent {
    config: Config,
    metrics: Metrics,
    breaker: Breaker,
    stopping: AtomicBool,
}

impl Agent {
    /// An agent with these settings.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let breaker = Breaker::new(config.breaker_threshold, config.breaker_reset);
        Self {
            config,
            metrics: Metrics::default(),
            breaker,
            stopping: AtomicBool::new(false),
        }
    }

    /// Answers a request.
    pub fn answer(&self, request: &Request) -> Response {
        let began = Instant::now();
        let response = match (request.path.as_str(), request.method.as_str()) {
            ("/health", _) => self.health(),
            ("/ready", _) => self.ready(),
            ("/startup", _) => Response::json(200, &json!({"status": "started"})),
            ("/metrics", _) => return self.scrape(),
            ("/agent", "GET" | "POST") => self.work(request),
            ("/agent", _) => Response::json(405, &json!({"error": "use GET or POST"})),
            ("/", _) => Response::json(
                200,
                &json!({"service": "agent", "about": STAND_IN, "try": "/agent?task=hello"}),
            ),
            (path, _) => Response::json(404, &json!({"error": format!("no such path: {path}")})),
        };
        let took = began.elapsed();
        if request.path == "/agent" {
            self.metrics.request(response.status, took);
        }
        let level = if request.path == "/agent" || response.status >= 500 {
            "INFO"
        } else {
            "DEBUG"
        };
        self.log(
            level,
            "request",
            &json!({"method": &request.method, "path": &request.path,
            "status": response.status, "milliseconds": took.as_millis() as u64}),
        );
        response
    }

    fn health(&self) -> Response {
        Response::json(
            200,
            &json!({"status": "ok", "about": STAND_IN, "pod": self.config.pod, "circuit": self.breaker.state(Instant::now())}),
        )
    }

    fn ready(&self) -> Response {
        if self.stopping.load(Ordering::Acquire) {
            return Response::json(503, &json!({"status": "stopping"}));
        }
        match self
            .connect()
            .and_then(|mut redis| redis.command(&["PING"]))
        {
            Ok(_) => Response::json(200, &json!({"status": "ready", "redis": "up"})),
            Err(error) => Response::json(
                503,
                &json!({"status": "not ready", "redis": error.to_string()}),
            ),
        }
    }

    fn scrape(&self) -> Response {
        let up = self
            .connect()
            .and_then(|mut redis| redis.command(&["PING"]))
            .is_ok();
        let open = self.breaker.state(Instant::now()) == "open";
        Response {
            status: 200,
            kind: "text/plain; version=0.0.4",
            body: self.metrics.text(up, open),
        }
    }

    fn connect(&self) -> io::Result<Client> {
        let (host, port) = (&self.config.redis_host, self.config.redis_port);
        Client::connect(
            host,
            port,
            self.config.redis_password.as_deref(),
            REDIS_TIMEOUT,
        )
    }

    fn work(&self, request: &Request) -> Response {
        let body = String::from_utf8_lossy(&request.body);
        let task = request
            .query
            .get("task")
            .map_or(body.as_ref(), String::as_str);
        if task.trim().is_empty() {
            return Response::json(400, &json!({"error": "no task: give ?task=… or a body"}));
        }
        let (tokens, budget) = (work::tokens(task), self.config.token_budget);
        if tokens > budget {
            let text =
                format!("the task needs {tokens} tokens, the budget of a request is {budget}");
            return Response::json(
                413,
                &json!({"error": text, "tokens": tokens, "budget": budget}),
            );
        }
        if !self.breaker.allows(Instant::now()) {
            return Response::json(
                503,
                &json!({"error": "circuit breaker open: Redis failed too often", "circuit": "open"}),
            );
        }
        let began = Instant::now();
        let result = self.with_retries(|redis| work::remember(redis, task));
        self.breaker.record(result.is_ok(), Instant::now());
        self.metrics.tokens(tokens);
        match result {
            Ok(memory) => Response::json(200, &self.outcome(task, tokens, &memory, began)),
            Err(error) => {
                self.log(
                    "ERROR",
                    "redis failed",
                    &json!({"error": error.to_string()}),
                );
                Response::json(
                    503,
                    &json!({"error": format!("Redis: {error}"), "circuit": self.breaker.state(Instant::now())}),
                )
            }
        }
    }

    fn outcome(&self, task: &str, tokens: u64, memory: &work::Memory, began: Instant) -> Value {
        let config = &self.config;
        json!({
            "pod": config.pod, "node": config.node, "environment": config.environment, "log_level": config.log_level,
            "task": task, "answer": work::think(task), "tokens": tokens, "token_budget": config.token_budget,
            "max_retries": config.max_retries, "circuit_breaker_threshold": config.breaker_threshold,
            "counter": memory.counter, "previous_task": memory.previous, "times_seen": memory.seen,
            "milliseconds": began.elapsed().as_millis() as u64, "stand_in": true,
        })
    }

    /// Tries once and `MAX_RETRIES` times more, each time on a new connection.
    fn with_retries<T>(&self, step: impl Fn(&mut Client) -> io::Result<T>) -> io::Result<T> {
        let mut pause = FIRST_PAUSE;
        let mut left = self.config.max_retries;
        loop {
            let result = self.connect().and_then(|mut redis| step(&mut redis));
            let Err(error) = result else { return result };
            self.metrics.redis_failure();
            if left == 0 {
                return Err(error);
            }
            left -= 1;
            thread::sleep(pause);
            pause *= 2;
        }
    }

    fn log(&self, level: &str, message: &str, fields: &Value) {
        if config::rank(level) < config::rank(&self.config.log_level) {
            return;
        }
        let mut line = json!({"time": time::stamp(), "level": level, "message": message, "pod": self.config.pod});
        if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
            line.extend(fields.clone());
        }
        println!("{line}");
    }
}

/// The program `agent`.
///
/// # Errors
/// When a setting is wrong or the port cannot be had.
pub fn run(_: &[String]) -> io::Result<i32> {
    let config = Config::from_env(|name| std::env::var(name).ok())?;
    let (port, delay) = (config.port, config.stop_delay);
    let agent = Arc::new(Agent::new(config));
    let (send, stopped) = mpsc::channel();
    signals::on_stop(move || drop(send))?;
    let handler = Arc::clone(&agent);
    let server = Server::start(port, Arc::new(move |request| handler.answer(request)))?;
    let config = &agent.config;
    agent.log("INFO", "started", &json!({"about": STAND_IN, "port": server.port(), "environment": config.environment,
        "redis": format!("{}:{}", config.redis_host, config.redis_port), "api_key_set": config.has_api_key}));
    // Nothing is ever sent: the channel closes when the signal comes.
    let _: Result<(), _> = stopped.recv();
    agent.stopping.store(true, Ordering::Release);
    agent.log(
        "INFO",
        "stopping",
        &json!({"seconds_until_closed": delay.as_secs()}),
    );
    // Endpoints learn of the end later than this process: keep answering for a moment.
    thread::sleep(delay);
    server.stop(DRAIN);
    agent.log("INFO", "stopped", &json!({}));
    Ok(0)
}
