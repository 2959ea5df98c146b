//! Calls out over real connections: TLS with a CA of the caller's, HTTP/1.1, connections kept
//! for the next call.
//!
//! Must not know what is posted. Upstream counterpart: `k8s.io/apiserver/pkg/util/webhook`
//! (`client.go`), which pins HTTP/1.1 as well so that calls spread over backends.

mod connect;
mod texts;
mod trust;

use bytes::Bytes;
use connect::Target;
use env::{BoxFuture, Callout, CalloutAnswer, CalloutRequest, PodDialer};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{Request, Response, body::Incoming, client::conn::http1::SendRequest, header};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio_rustls::rustls::ClientConfig;

/// An unused connection is closed after this time (Go's default transport).
const IDLE_MAX: Duration = Duration::from_secs(90);
/// Unused connections kept to one place (upstream's `MaxIdleConnsPerHost`).
const IDLE_PER_PLACE: usize = 25;
/// Different sets of CA certificates whose parsed form is kept (upstream's client cache).
const CONFIGS_MAX: usize = 200;
/// Who the programs outside see (upstream's name, which some of them look for).
const USER_AGENT: &str = "kube-apiserver-admission";

type Sender = SendRequest<Full<Bytes>>;

/// Connections that may serve each other's requests.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    ca: Arc<[u8]>,
    server_name: String,
    address: String,
}

struct Idle {
    sender: Sender,
    since: Instant,
}

/// Posts over TLS to addresses and into pods.
pub struct RealCallout {
    dialer: Arc<dyn PodDialer>,
    configs: Mutex<BTreeMap<Arc<[u8]>, Arc<ClientConfig>>>,
    idle: Mutex<BTreeMap<Place, Vec<Idle>>>,
}

impl RealCallout {
    /// Reaches pods through `dialer`, everything else over the machine's own network.
    pub fn new(dialer: Arc<dyn PodDialer>) -> Arc<Self> {
        Arc::new(Self {
            dialer,
            configs: Mutex::default(),
            idle: Mutex::default(),
        })
    }

    fn config(&self, ca: &Arc<[u8]>) -> Result<Arc<ClientConfig>, String> {
        let mut configs = self.configs.lock().expect("no holder panics");
        if let Some(known) = configs.get(ca) {
            return Ok(known.clone());
        }
        let made = Arc::new(trust::config(ca)?);
        if configs.len() >= CONFIGS_MAX {
            configs.pop_first();
        }
        configs.insert(ca.clone(), made.clone());
        Ok(made)
    }

    /// An unused connection to a place, if one is still open.
    fn reuse(&self, place: &Place) -> Option<Sender> {
        let mut all = self.idle.lock().expect("no holder panics");
        all.retain(|_, idle| {
            idle.retain(|one| one.since.elapsed() < IDLE_MAX && !one.sender.is_closed());
            !idle.is_empty()
        });
        let idle = all.get_mut(place)?;
        let at = idle.iter().rposition(|one| one.sender.is_ready())?;
        Some(idle.swap_remove(at).sender)
    }

    fn keep(&self, place: Place, sender: Sender) {
        let mut all = self.idle.lock().expect("no holder panics");
        let idle = all.entry(place).or_default();
        if idle.len() < IDLE_PER_PLACE {
            let since = Instant::now();
            idle.push(Idle { sender, since });
        }
    }

    async fn send(&self, request: CalloutRequest) -> Result<CalloutAnswer, String> {
        let target = Target::parse(&request.url)?;
        let place = Place {
            ca: request.ca.clone(),
            server_name: request.server_name.clone(),
            address: target.address(&request.to),
        };
        while let Some(mut sender) = self.reuse(&place) {
            match sender.send_request(target.post(&request)?).await {
                Ok(response) => return self.answer(response, place, sender, &request).await,
                // The other side had closed it meanwhile and has seen nothing.
                Err(why) if why.is_canceled() => {}
                Err(why) => return Err(texts::http(&why)),
            }
        }
        let config = self.config(&request.ca)?;
        let mut sender = connect::open(&*self.dialer, config, &target, &request).await?;
        let post = target.post(&request)?;
        let response = sender.send_request(post).await;
        let response = response.map_err(|why| texts::http(&why))?;
        self.answer(response, place, sender, &request).await
    }

    async fn answer(
        &self,
        response: Response<Incoming>,
        place: Place,
        sender: Sender,
        request: &CalloutRequest,
    ) -> Result<CalloutAnswer, String> {
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), request.answer_max);
        let body =
            body.collect()
                .await
                .map_err(|why| match why.downcast_ref::<LengthLimitError>() {
                    Some(_) => format!("the answer is longer than {} bytes", request.answer_max),
                    None => texts::broken(&*why),
                })?;
        self.keep(place, sender);
        Ok(CalloutAnswer {
            status,
            body: body.to_bytes().into(),
        })
    }
}

impl Callout for RealCallout {
    fn post(&self, request: CalloutRequest) -> BoxFuture<'_, Result<CalloutAnswer, String>> {
        Box::pin(self.send(request))
    }
}

impl Target {
    /// The request line and headers of a call.
    fn post(&self, request: &CalloutRequest) -> Result<Request<Full<Bytes>>, String> {
        Request::post(&self.path)
            .header(header::HOST, &self.authority)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .body(Full::from(request.body.clone()))
            .map_err(|why| why.to_string())
    }
}
