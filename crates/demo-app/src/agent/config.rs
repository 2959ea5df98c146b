//! Settings of the agent, from the environment.

use crate::errors::usage;
use std::{io, str::FromStr, time::Duration};

/// Settings of the agent.
#[derive(Clone, Debug)]
pub struct Config {
    /// `PORT`.
    pub port: u16,
    /// `POD_NAME`, else `HOSTNAME`.
    pub pod: String,
    /// `NODE_NAME`.
    pub node: String,
    /// `LOG_LEVEL`: DEBUG, INFO, WARNING or ERROR.
    pub log_level: String,
    /// `ENVIRONMENT`.
    pub environment: String,
    /// `MAX_RETRIES`: tries after the first.
    pub max_retries: u32,
    /// `CIRCUIT_BREAKER_THRESHOLD`: failures in a row that open the circuit.
    pub breaker_threshold: u32,
    /// `CIRCUIT_BREAKER_RESET_SECONDS`: time until one request may try again.
    pub breaker_reset: Duration,
    /// `TOKEN_BUDGET_PER_REQUEST`.
    pub token_budget: u64,
    /// `REDIS_HOST`.
    pub redis_host: String,
    /// `REDIS_PORT`.
    pub redis_port: u16,
    /// `REDIS_PASSWORD`.
    pub redis_password: Option<String>,
    /// Whether `ANTHROPIC_API_KEY` is set; the key itself is not kept.
    pub has_api_key: bool,
    /// `SHUTDOWN_DELAY_SECONDS`: how long to answer after being told to stop.
    pub stop_delay: Duration,
}

/// Order of log levels; unknown ones count as INFO.
pub fn rank(level: &str) -> u8 {
    match level {
        "DEBUG" => 0,
        "WARN" | "WARNING" => 2,
        "ERROR" | "CRITICAL" => 3,
        _ => 1,
    }
}

impl Config {
    /// Reads the settings by name.
    ///
    /// # Errors
    /// Names the setting whose value does not fit.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> io::Result<Self> {
        let text = |name: &str, default: &str| get(name).unwrap_or_else(|| default.to_owned());
        Ok(Self {
            port: number(&get, "PORT", 8000)?,
            pod: get("POD_NAME").unwrap_or_else(|| text("HOSTNAME", "local")),
            node: text("NODE_NAME", ""),
            log_level: text("LOG_LEVEL", "INFO").to_uppercase(),
            environment: text("ENVIRONMENT", "development"),
            max_retries: number(&get, "MAX_RETRIES", 3)?,
            breaker_threshold: number(&get, "CIRCUIT_BREAKER_THRESHOLD", 5)?,
            breaker_reset: Duration::from_secs(number(&get, "CIRCUIT_BREAKER_RESET_SECONDS", 10)?),
            token_budget: number(&get, "TOKEN_BUDGET_PER_REQUEST", 10_000)?,
            redis_host: text("REDIS_HOST", "redis-service"),
            redis_port: number(&get, "REDIS_PORT", 6379)?,
            redis_password: get("REDIS_PASSWORD").filter(|password| !password.is_empty()),
            has_api_key: get("ANTHROPIC_API_KEY").is_some_and(|key| !key.is_empty()),
            stop_delay: Duration::from_secs(number(&get, "SHUTDOWN_DELAY_SECONDS", 3)?),
        })
    }
}

fn number<T: FromStr>(
    get: &impl Fn(&str) -> Option<String>,
    name: &str,
    default: T,
) -> io::Result<T> {
    match get(name) {
        None => Ok(default),
        Some(text) => text
            .trim()
            .parse()
            .map_err(|_| usage(format!("{name}: '{text}' is not a number that fits"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_refuses() {
        let config = Config::from_env(|name| (name == "MAX_RETRIES").then(|| "7".into())).unwrap();
        assert_eq!(
            (config.max_retries, config.port, config.token_budget),
            (7, 8000, 10_000)
        );
        for (name, value) in [
            ("PORT", "70000"),
            ("MAX_RETRIES", "-1"),
            ("TOKEN_BUDGET_PER_REQUEST", "many"),
        ] {
            let error =
                Config::from_env(|asked| (asked == name).then(|| value.into())).unwrap_err();
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }
}
