//! The server: connections in, requests through the door, answers out.

use crate::{
    Nodes,
    answer::{self, HttpResponse, failure, whole},
    body,
    discovery::Documents,
    health,
    identity::{self, Presented, StaticTokens},
    level::{self, Nowhere},
    limits::{self, ACCEPT_REST, HANDSHAKE_MAX},
    measured,
    metrics::{Asked, Metrics, Served},
    options::Query,
    pace::Paces,
    path::{self, ResourcePath},
    pki::LiveTls,
    printed::{Printed, SWEEP_PERIOD},
    stream, watch,
    wire::Wire,
    zpages,
};
use auth::{AUTHENTICATED, Attributes, User};
use codec::Choice;
use env::Time;
use hyper::{HeaderMap, Method, Request, body::Incoming, header, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use kinds::{Kind, SubKind};
use machinery::{GroupVersionResource, Object, SmolStr, Status};
use registry::{Answer, Body, Call, Door, Reply, Table, Verb, Waited};
use std::{collections::BTreeMap, convert::Infallible, io, sync::Arc};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Prometheus' text form.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
/// Sets of keys (RFC 7517).
const KEYS_TYPE: &str = "application/jwk-set+json";

const PLAIN_TYPE: &str = "text/plain; charset=utf-8";

/// What the server serves with.
pub struct ApiServerConfig {
    /// The door.
    pub door: Door,
    /// Ways into pods.
    pub nodes: Arc<dyn Nodes>,
    /// Tokens with a fixed meaning.
    pub tokens: StaticTokens,
    /// TLS.
    pub tls: Arc<LiveTls>,
    /// What it was started with, for people.
    pub flags: BTreeMap<String, String>,
}

/// The HTTP front of a door. Cheap to clone.
#[derive(Clone)]
pub struct ApiServer(Arc<Inner>);

pub(crate) struct Inner {
    pub door: Door,
    pub nodes: Arc<dyn Nodes>,
    tokens: StaticTokens,
    tls: TlsAcceptor,
    trust: Arc<LiveTls>,
    documents: Documents,
    pub metrics: Arc<Metrics>,
    pub printed: Arc<Printed>,
    pub paces: Paces,
    flags: BTreeMap<String, String>,
    started: Time,
}

impl Inner {
    /// `/metrics`.
    fn metered(&self) -> String {
        let snapshot = self.door.snapshot();
        let size = |(name, of): (&SmolStr, &Table)| (name.to_string(), of.len());
        let objects: Vec<_> = snapshot.tables.iter().map(size).collect();
        let mut text = self.metrics.text(snapshot.revision, &objects);
        measured::show(self.door.measures(), self.door.now(), &mut text);
        text
    }
}

/// A request taken apart.
pub(crate) struct Parts {
    pub user: Arc<User>,
    pub method: Method,
    pub headers: HeaderMap,
    pub query: Query,
    pub place: ResourcePath,
    /// Where its steps tell how long webhooks took.
    pub waited: Waited,
}

impl Parts {
    fn header(&self, name: header::HeaderName) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

impl ApiServer {
    /// A server that is not listening yet.
    pub fn new(config: ApiServerConfig) -> Self {
        Self(Arc::new(Inner {
            started: config.door.now(),
            flags: config.flags,
            door: config.door,
            nodes: config.nodes,
            tokens: config.tokens,
            tls: TlsAcceptor::from(config.tls.config()),
            trust: config.tls,
            documents: Documents::default(),
            metrics: Arc::default(),
            printed: Arc::default(),
            paces: Paces::default(),
        }))
    }

    /// Serves connections of a listener until it is dropped.
    pub async fn serve(&self, listener: TcpListener) {
        tokio::select! {
            () = self.accept(listener) => {}
            () = sweep(&self.0.printed) => {}
        }
    }

    async fn accept(&self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = self.clone();
                    tokio::spawn(async move { server.connection(stream).await });
                }
                Err(_) => tokio::time::sleep(ACCEPT_REST).await,
            }
        }
    }

    /// One connection from handshake to end. Failures concern the client alone.
    async fn connection(&self, stream: TcpStream) {
        // Latency matters more than packets: watch events are small.
        let _ = stream.set_nodelay(true);
        // On the heap while it runs: a handshake takes more room than what comes after it.
        let handshake = tokio::time::timeout(HANDSHAKE_MAX, self.0.tls.accept(stream));
        let Ok(Ok(stream)) = Box::pin(handshake).await else {
            return self.0.metrics.handshake_failed();
        };
        let chain = stream.get_ref().1.peer_certificates();
        let now = self.0.door.now();
        let certificate = chain.map(|chain| Presented::of(chain, &self.0.trust, now));
        let certificate = certificate.map(Arc::new);
        let service = service_fn(|request| {
            let (server, certificate) = (self.clone(), certificate.clone());
            // On the heap for as long as it runs: a connection keeps room for its service's future
            // to its end, and a watch or an idle client has no use for it.
            Box::pin(async move {
                Ok::<_, Infallible>(server.answer(request, certificate.as_deref()).await)
            })
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits::HEADER_MAX)
            .max_buf_size(limits::BUFFERED_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits::STREAMS_MAX)
            .keep_alive_interval(limits::PING_AFTER)
            .keep_alive_timeout(limits::PING_MAX);
        // The connection's end is nobody's failure but its client's.
        Wire::new(stream)
            .serve(|wire| builder.serve_connection_with_upgrades(TokioIo::new(wire), service))
            .await;
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        certificate: Option<&Presented>,
    ) -> HttpResponse {
        let head = request.method() == Method::HEAD;
        let accepts_gzip = request
            .headers()
            .get(header::ACCEPT_ENCODING)
            .is_some_and(|value| value.to_str().is_ok_and(|text| text.contains("gzip")));
        let response = match self.route(request, certificate).await {
            Ok(response) => response,
            Err(status) => failure(&status),
        };
        let response = if accepts_gzip {
            answer::compressed(response)
        } else {
            response
        };
        if head {
            answer::without_body(response)
        } else {
            response
        }
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        certificate: Option<&Presented>,
    ) -> Result<HttpResponse, Status> {
        let inner = &self.0;
        let user = identity::of_request(&inner.door, &inner.tokens, certificate, &request)?;
        if user.in_group(AUTHENTICATED) {
            inner.metrics.user(&user.name);
        }
        let path = request.uri().path().to_owned();
        let query = Query(path::query(request.uri().query().unwrap_or_default()));
        let Some(place) = path::parse(&path) else {
            return self.special(&user, &path, &query, &request);
        };
        if Documents::knows(&path) {
            return self.special(&user, &path, &query, &request);
        }
        let parts = Parts {
            user,
            method: request.method().clone(),
            headers: request.headers().clone(),
            query,
            place,
            waited: Waited::default(),
        };
        self.resource(parts, request).await
    }

    /// Paths that are no resources: documents, health, version, metrics, keys.
    fn special(
        &self,
        user: &User,
        path: &str,
        query: &Query,
        request: &Request<Incoming>,
    ) -> Result<HttpResponse, Status> {
        let inner = &self.0;
        let verb = request.method().as_str().to_lowercase();
        let asked = Attributes {
            verb: verb.into(),
            path: path.into(),
            ..Attributes::default()
        };
        inner.door.require(user, &asked)?;
        let words: Vec<&str> = path.trim_matches('/').split('/').collect();
        if level::is_strange(&inner.door.catalogue(), &words) {
            return Ok(page_not_found());
        }
        if let Some(document) =
            inner
                .documents
                .respond(&inner.door.catalogue(), path, request.headers())
        {
            return document;
        }
        let json = |value| {
            Ok(whole(
                200,
                "application/json",
                codec::encode_json_value(value),
            ))
        };
        let accept = request.headers().get(header::ACCEPT);
        let accept = accept.map_or("", |value| value.to_str().unwrap_or_default());
        match words.as_slice() {
            ["version"] => json(&health::version()),
            ["openid", "v1", "jwks"] => keys(&inner.door, accept),
            [".well-known", "openid-configuration"] => {
                let document = openid(inner.door.tokens().issuer());
                Ok(public("application/json", &document))
            }
            ["metrics"] => Ok(whole(200, METRICS_TYPE, inner.metered())),
            ["metrics", "slis"] => {
                let text = health::indicators(inner.door.stopped().as_deref());
                Ok(whole(200, METRICS_TYPE, text))
            }
            [endpoint @ ("healthz" | "livez" | "readyz"), rest @ ..] => {
                let served = inner.metrics.begin_endpoint(&format!("/{endpoint}"));
                let failed = inner.door.stopped();
                let check = rest.first().copied();
                let verbose = query.flag("verbose");
                let found = health::health(endpoint, check, verbose, failed.as_deref());
                let response = match found {
                    Some((code, text)) => whole(code, PLAIN_TYPE, text),
                    None => page_not_found(),
                };
                Ok(answer::counted(response, served))
            }
            ["statusz"] if !path.ends_with('/') => {
                zpages::status(accept, inner.started, inner.door.now())
            }
            ["flagz"] if !path.ends_with('/') => zpages::flags(accept, &inner.flags),
            [""] => json(&root_paths(&inner.door)),
            _ => Ok(page_not_found()),
        }
    }

    async fn resource(
        &self,
        mut parts: Parts,
        request: Request<Incoming>,
    ) -> Result<HttpResponse, Status> {
        let place = &parts.place;
        let catalogue = self.0.door.catalogue();
        let found = catalogue.resource(&place.gv.group, &place.gv.version, &place.resource);
        let Some(kind) = found.cloned() else {
            // Who may not ask is not told what there is.
            self.require(&parts, verb(&parts)?)?;
            return nowhere(level::unknown(&catalogue, &place.gv.group));
        };
        let streams = kind
            .subresource(&place.subresource)
            .is_some_and(|sub| sub.kind == SubKind::Connect);
        let served = self.begin(&parts, &kind, streams)?;
        parts.waited = served.waiting();
        let answered = if streams {
            stream::respond(&self.0, parts, request).await
        } else {
            let limit = limits::of(&parts.query);
            let work = self.through_the_door(parts, kind, request);
            match limit {
                Ok(limit) => limits::within(limit, work).await,
                Err(status) => Err(status),
            }
        };
        let response = answered.unwrap_or_else(|status| failure(&status));
        Ok(answer::counted(response, served))
    }

    /// Starts counting a request.
    fn begin(&self, parts: &Parts, kind: &Kind, streams: bool) -> Result<Served, Status> {
        let content_type = parts.header(header::CONTENT_TYPE);
        let asked = Asked {
            kind,
            subresource: &parts.place.subresource,
            namespace: &parts.place.namespace,
            name: &parts.place.name,
            verb: if streams { Verb::Connect } else { verb(parts)? },
            applies: content_type.starts_with("application/apply-patch"),
            dry_run: parts.query.get("dryRun") == "All",
        };
        Ok(self.0.metrics.begin(&asked))
    }

    async fn through_the_door(
        &self,
        parts: Parts,
        kind: Arc<Kind>,
        request: Request<Incoming>,
    ) -> Result<HttpResponse, Status> {
        let verb = verb(&parts)?;
        if let Err(refusal) = level::check(&parts.place, &kind, verb) {
            self.require(&parts, verb)?;
            return nowhere(refusal);
        }
        let call = self.call(&parts, &kind, request).await?;
        let (verb, subresource) = (call.verb, parts.place.subresource.as_str());
        let choice = match verb {
            Verb::Get
            | Verb::List
            | Verb::Watch
            | Verb::Create
            | Verb::Update
            | Verb::Patch
            | Verb::Delete
            | Verb::DeleteCollection
            | Verb::Connect => codec::negotiate(
                parts.header(header::ACCEPT),
                &answer::offer(&kind, subresource),
            )?,
        };
        let mut warnings: Vec<String> = kind
            .deprecation
            .iter()
            .map(|text| text.to_string())
            .collect();
        let reply = self.0.door.call(call).await;
        let mut reply = reply.map_err(|status| status.warned(&mut warnings))?;
        warnings.append(&mut reply.warnings);
        // Subresources answer with objects of their own under the revision of another.
        let stored = verb == Verb::Get && parts.place.subresource.is_empty();
        let response = self.encode(reply, choice, &parts.query, stored)?;
        Ok(answer::with_warnings(response, &warnings))
    }

    /// Refuses who may not do this at all, before anything is said about what is there.
    fn require(&self, parts: &Parts, verb: Verb) -> Result<(), Status> {
        let place = parts.place.clone();
        let asked = Attributes {
            verb: verb.name().into(),
            group: place.gv.group,
            version: place.gv.version,
            resource: place.resource,
            subresource: place.subresource,
            namespace: place.namespace,
            name: place.name,
            ..Attributes::default()
        };
        self.0.door.require(&parts.user, &asked)
    }

    async fn call(
        &self,
        parts: &Parts,
        kind: &Arc<Kind>,
        request: Request<Incoming>,
    ) -> Result<Call, Status> {
        let place = &parts.place;
        let resource = GroupVersionResource {
            group: place.gv.group.clone(),
            version: place.gv.version.clone(),
            resource: place.resource.clone(),
        };
        let verb = verb(parts)?;
        let mut call = Call::new(
            parts.user.clone(),
            verb,
            resource,
            &place.namespace,
            &place.name,
        )
        .on(&place.subresource);
        call.options = parts
            .query
            .options(parts.header(header::USER_AGENT), verb)?;
        call.options.waited = parts.waited.clone();
        if matches!(verb, Verb::List | Verb::DeleteCollection) {
            parts.query.timeout_seconds()?;
        }
        let content_type = parts.header(header::CONTENT_TYPE).to_owned();
        call.body = match verb {
            Verb::Create | Verb::Update => {
                let bytes = body::collect(request.into_body()).await?;
                let sub = kind.subresource(&place.subresource);
                let wanted = sub.map_or(&kind.gvk.kind, |sub| &sub.gvk.kind);
                body::recognized(&bytes, &content_type, &self.0.door.catalogue(), wanted)?
            }
            Verb::Delete | Verb::DeleteCollection => {
                let bytes = body::collect(request.into_body()).await?;
                body::options(&bytes, &content_type, &self.0.door.catalogue())?
            }
            Verb::Patch => {
                let bytes = body::collect(request.into_body()).await?;
                let patch = body::patch(&bytes, &content_type, kind)?;
                let applies = matches!(
                    patch,
                    Body::Patch {
                        kind: registry::PatchKind::Apply,
                        ..
                    }
                );
                if applies && !parts.query.names_manager() {
                    call.options.field_manager = Default::default();
                }
                patch
            }
            _ => Body::None,
        };
        if matches!(verb, Verb::Delete | Verb::DeleteCollection) {
            settle_deletion(&mut call, &parts.query)?;
        }
        Ok(call)
    }

    /// `stored` tells whether an object answered is the stored one.
    fn encode(
        &self,
        reply: Reply,
        choice: Choice,
        query: &Query,
        stored: bool,
    ) -> Result<HttpResponse, Status> {
        let inner = &self.0;
        let now = inner.door.now().0;
        let code = answer::code(&reply);
        let shared = &inner.printed;
        match reply.answer {
            Answer::Object(kind, object) => {
                let kept = stored.then_some(shared.as_ref());
                answer::object(code, choice, (&kind, &object), kept, query, now)
            }
            Answer::Value(value) => Ok(answer::value(code, choice, &value)),
            Answer::List(list) => answer::list(choice, list, shared, query, now),
            Answer::Watch(stream) => watch::respond(stream, choice, query, inner),
        }
    }
}

/// A deletion's options are those of its body. Only where it has none, the query tells them.
fn settle_deletion(call: &mut Call, query: &Query) -> Result<(), Status> {
    if matches!(call.body, Body::None) {
        call.body = query.delete_options()?.map_or(Body::None, Body::object);
    }
    if let Body::Object { value, .. } = &call.body {
        call.options.dry_run = !value["dryRun"].items().is_empty();
    }
    Ok(())
}

/// Lets printed objects go that nobody reads any more.
async fn sweep(printed: &Printed) {
    loop {
        tokio::time::sleep(SWEEP_PERIOD).await;
        printed.sweep();
    }
}

/// The answer to a path that leads nowhere.
fn nowhere(why: Nowhere) -> Result<HttpResponse, Status> {
    match why {
        Nowhere::Page => Ok(page_not_found()),
        Nowhere::Refused(status) => Err(status),
    }
}

/// The answer to paths outside every group.
fn page_not_found() -> HttpResponse {
    whole(404, PLAIN_TYPE, "404 page not found\n")
}

/// The verb of a request, by method, name and the watch parameter.
fn verb(parts: &Parts) -> Result<Verb, Status> {
    let named = !parts.place.name.is_empty();
    let watches = parts.place.watch || parts.query.flag("watch");
    Ok(match (&parts.method, named) {
        (&Method::GET | &Method::HEAD, _) if watches && parts.place.subresource.is_empty() => {
            Verb::Watch
        }
        (&Method::GET | &Method::HEAD, true) => Verb::Get,
        (&Method::GET | &Method::HEAD, false) => Verb::List,
        (&Method::POST, _) => Verb::Create,
        (&Method::PUT, _) => Verb::Update,
        (&Method::PATCH, _) => Verb::Patch,
        (&Method::DELETE, true) => Verb::Delete,
        (&Method::DELETE, false) => Verb::DeleteCollection,
        _ => return Err(Status::method_not_allowed()),
    })
}

/// The keys of tokens, in their own form or none.
fn keys(door: &Door, accept: &str) -> Result<HttpResponse, Status> {
    if codec::negotiate_among(accept, &[(KEYS_TYPE, None)]).is_none() {
        let why = format!("406: Not Acceptable\n\nAvailable representations: {KEYS_TYPE}");
        return Err(Status::new(machinery::Reason::NotAcceptable, why));
    }
    Ok(public(KEYS_TYPE, &door.tokens().jwks()))
}

/// A document about the keys of tokens; whoever may read it may keep it for a while.
fn public(content_type: &str, document: &machinery::Value) -> HttpResponse {
    let mut response = whole(200, content_type, codec::encode_json_value(document));
    let kept = hyper::header::HeaderValue::from_static("public, max-age=3600");
    response
        .headers_mut()
        .insert(hyper::header::CACHE_CONTROL, kept);
    response
}

fn openid(issuer: &str) -> machinery::Value {
    machinery::json!({
        "issuer": issuer, "jwks_uri": format!("{issuer}/openid/v1/jwks"), "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
    })
}

fn root_paths(door: &Door) -> machinery::Value {
    let catalogue = door.catalogue();
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/api/v1",
        "/apis",
        "/apis/",
        "/flagz",
        "/healthz",
        "/livez",
        "/metrics",
        "/metrics/slis",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        "/openid/v1/jwks",
        "/readyz",
        "/statusz",
        "/version",
    ]
    .map(str::to_owned)
    .into();
    for group in catalogue
        .groups()
        .iter()
        .filter(|group| !group.name.is_empty())
    {
        paths.push(format!("/apis/{}", group.name));
        paths.extend(
            group
                .versions
                .iter()
                .map(|version| format!("/apis/{}/{version}", group.name)),
        );
    }
    paths.extend(health::paths());
    paths.sort();
    machinery::json!({"paths": paths})
}

/// The pod a stream goes to, authorized on its subresource as the HTTP method's verb. Who may
/// only read may not run or reach anything: a stream opened by `GET` needs `create` as well.
pub(crate) fn connect(inner: &Inner, parts: &Parts) -> Result<Arc<Object>, Status> {
    let place = &parts.place;
    let resource = GroupVersionResource {
        group: place.gv.group.clone(),
        version: place.gv.version.clone(),
        resource: place.resource.clone(),
    };
    let reads = matches!(place.subresource.as_str(), "log" | "proxy");
    let verbs: &[Verb] = match parts.method == Method::GET {
        true if reads => &[Verb::Get],
        true => &[Verb::Get, Verb::Connect],
        false => &[Verb::Connect],
    };
    let connect = |verb: &Verb| {
        let (user, resource) = (parts.user.clone(), resource.clone());
        let call = Call::new(user, *verb, resource, &place.namespace, &place.name);
        inner.door.connect(&call.on(&place.subresource))
    };
    let (last, before) = verbs.split_last().expect("each method has a verb");
    for verb in before {
        // Whether there is such a pod is for those to know who may do all of it.
        connect(verb)
            .map(drop)
            .or_else(|why| if why.is_not_found() { Ok(()) } else { Err(why) })?;
    }
    connect(last)
}

/// Binds a listener, with a sentence for the common failure.
pub async fn listen(address: std::net::SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|why| match why.kind() {
            io::ErrorKind::AddrInUse => io::Error::new(
                why.kind(),
                format!(
                    "port {} is in use: choose another with --port, or 0 for a free one",
                    address.port()
                ),
            ),
            _ => io::Error::new(why.kind(), format!("cannot listen on {address}: {why}")),
        })
}
