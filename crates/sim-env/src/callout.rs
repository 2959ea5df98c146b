//! Programs outside as a script: who is asked what, and what is answered when.
//!
//! Must not know what the bodies mean. Upstream counterpart: the test servers of
//! `k8s.io/apiserver/pkg/admission/plugin/webhook/testing`.

use env::{BoxFuture, Callout, CalloutAnswer, CalloutRequest, World};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

/// What a script makes of one request.
#[derive(Clone, Debug)]
pub struct Scripted {
    /// Virtual time until the answer is there.
    pub delay: Duration,
    /// The answer, or why there is none.
    pub answer: Result<CalloutAnswer, String>,
}

impl Scripted {
    /// Answers 200 with a body at once.
    pub fn body(body: impl Into<Vec<u8>>) -> Self {
        Self::status(200, body)
    }

    /// Answers a status code with a body at once.
    pub fn status(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self {
            delay: Duration::ZERO,
            answer: Ok(CalloutAnswer { status, body }),
        }
    }

    /// Fails at once.
    pub fn failure(why: &str) -> Self {
        Self {
            delay: Duration::ZERO,
            answer: Err(why.to_owned()),
        }
    }

    /// The same after some time.
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

type Script = Arc<dyn Fn(&CalloutRequest) -> Scripted + Send + Sync>;

/// Calls out that are answered by scripts, found by the URL without its query.
pub struct SimCallout {
    world: World,
    scripts: Mutex<BTreeMap<String, Script>>,
    asked: Mutex<Vec<CalloutRequest>>,
}

impl SimCallout {
    /// Nobody answers at first: connections are refused.
    pub fn new(world: World) -> Arc<Self> {
        Arc::new(Self {
            world,
            scripts: Mutex::default(),
            asked: Mutex::default(),
        })
    }

    /// Answers requests to `url` (without query) by `script` from now on.
    pub fn serve(
        &self,
        url: &str,
        script: impl Fn(&CalloutRequest) -> Scripted + Send + Sync + 'static,
    ) {
        let mut scripts = self.scripts.lock().expect("no holder panics");
        scripts.insert(url.to_owned(), Arc::new(script));
    }

    /// The requests made since this was last asked, in order.
    pub fn take_asked(&self) -> Vec<CalloutRequest> {
        std::mem::take(&mut self.asked.lock().expect("no holder panics"))
    }

    fn script(&self, url: &str) -> Option<Script> {
        let plain = url.split('?').next().unwrap_or_default();
        let scripts = self.scripts.lock().expect("no holder panics");
        scripts.get(plain).cloned()
    }
}

/// `host:port` of a URL, 443 where it names no port.
fn authority(url: &str) -> String {
    let host = url
        .trim_start_matches("https://")
        .split(['/', '?'])
        .next()
        .unwrap_or_default();
    match host.contains(':') {
        true => host.to_owned(),
        false => format!("{host}:443"),
    }
}

impl Callout for SimCallout {
    fn post(&self, request: CalloutRequest) -> BoxFuture<'_, Result<CalloutAnswer, String>> {
        Box::pin(async move {
            let script = self.script(&request.url);
            let scripted = match script {
                Some(script) => script(&request),
                None => Scripted::failure(&format!(
                    "dial tcp {}: connect: connection refused",
                    authority(&request.url)
                )),
            };
            self.asked.lock().expect("no holder panics").push(request);
            if !scripted.delay.is_zero() {
                self.world.sleep(scripted.delay).await;
            }
            scripted.answer
        })
    }
}
