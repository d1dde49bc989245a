//! One request to an upstream server, with its redirects, on ureq.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

#[cfg(feature = "tls")]
use ureq::unversioned::transport::{Connector, RustlsConnector};
use ureq::{
    Agent, Body, Error,
    config::Config as AgentConfig,
    http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header},
};

#[cfg(feature = "tls")]
use crate::https;
use crate::{
    config::{Allow, Config, parse_url},
    error::{Reason, Refusal, StartError},
};

use super::{
    fetch::{Fetch, Target},
    patience::{self, PatientConnector},
    resolver::CachingResolver,
};

/// The most redirects that a request follows.
const REDIRECTS_MAX: usize = 5;
/// The buffer of one connection in each direction.
const BUFFER_BYTES: usize = 16 * 1024;
/// How long an idle connection is kept. Shorter than servers keep it (Node's: 5 s), because a request that crosses the
/// server's close is lost.
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// The longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How much of an unwanted body is read so that the connection can be kept.
const DRAIN_BYTES_MAX: u64 = 64 * 1024;
/// A longer `content-type` is not passed on.
const CONTENT_TYPE_BYTES_MAX: usize = 256;

/// Sends requests, for all workers.
#[derive(Debug)]
pub(super) struct HttpClient {
    agent: Agent,
    allow: Arc<Allow>,
    timeout: Duration,
    response_bytes_max: u64,
}

/// The answer of an upstream server.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: Option<String>,
    /// Empty unless the sender wants a reply.
    pub(super) body: Vec<u8>,
}

/// The outcome of one HTTP request: the answer, or the next request.
enum Step {
    Answered(Answer),
    Redirected(Target),
}

impl HttpClient {
    /// # Errors
    /// [`StartError::Config`]: there is a prefix with `https`, and the system has no certificate authorities.
    pub(super) fn new(config: &Config, allow: Arc<Allow>) -> Result<Self, StartError> {
        let agent_config = Agent::config_builder()
            .proxy(None) // it would take one from the environment
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_response_header_size(HEAD_BYTES_MAX)
            .input_buffer_size(BUFFER_BYTES)
            .output_buffer_size(BUFFER_BYTES)
            .max_idle_connections(config.upstream_workers)
            .max_idle_connections_per_host(config.upstream_workers)
            .max_idle_age(KEEP_ALIVE)
            .user_agent(concat!("lhttp/", env!("CARGO_PKG_VERSION")));
        #[cfg(feature = "tls")]
        let agent_config = if allow.is_any_secure() {
            agent_config.tls_config(https::config("upstream-allow").map_err(StartError::Config)?)
        } else {
            agent_config
        };
        let agent_config: AgentConfig = agent_config.build();
        let connector = PatientConnector::default();
        #[cfg(feature = "tls")]
        let connector = connector.chain(RustlsConnector::default());
        let agent = Agent::with_parts(agent_config, connector, CachingResolver::default());
        let response_bytes_max = config.upstream_response_bytes_max as u64;
        Ok(Self { agent, allow, timeout: config.upstream_timeout, response_bytes_max })
    }

    /// Sends a request, follows its redirects, and gives the answer.
    ///
    /// # Errors
    /// `upstream-failed`, `upstream-timeout`.
    pub(super) fn run(&self, fetch: &Fetch) -> Result<Answer, Refusal> {
        patience::begin(self.timeout);
        let mut step = self.step(fetch, fetch.target.clone())?;
        for _ in 0..REDIRECTS_MAX {
            match step {
                Step::Answered(answer) => return Ok(answer),
                Step::Redirected(target) => step = self.step(fetch, target)?,
            }
        }
        match step {
            Step::Answered(answer) => Ok(answer),
            Step::Redirected(_) => Err(failed(format!("the upstream redirects more than {REDIRECTS_MAX} times"))),
        }
    }

    /// Breaks off all requests and lets no new one begin.
    pub(super) fn shut_down(&self) {
        self.agent.clone().shutdown();
    }

    fn step(&self, fetch: &Fetch, target: Target) -> Result<Step, Refusal> {
        let response = self.send(fetch, &target).map_err(|error| self.failure(&error))?;
        match self.redirected(&target, &response)? {
            Some(target) => {
                drain(response);
                Ok(Step::Redirected(target))
            }
            None => self.answer(fetch, response).map(Step::Answered),
        }
    }

    /// Of the message's own headers only `content-type` is sent, so that no client can pretend to be another.
    fn send(&self, fetch: &Fetch, target: &Target) -> Result<Response<Body>, Error> {
        let mut head = Request::builder()
            .method(target.method.clone())
            .uri(target.uri.clone())
            .header("x-forwarded-for", forwarded_for(fetch.peer))
            .header("x-lhttp-connection", fetch.connection().to_string())
            .header("x-lhttp-command", &*fetch.command);
        if let Some(content_type) = &fetch.content_type {
            head = head.header("x-lhttp-content-type", &**content_type);
        }
        if matches!(target.method, Method::GET | Method::HEAD) {
            return self.agent.run(head.body(())?);
        }
        self.agent.run(head.header(header::CONTENT_TYPE, "application/lhttp").body(&*fetch.body)?)
    }

    /// The target of a redirect (RFC 9110 §15.4); none if the response is no redirect.
    fn redirected(&self, target: &Target, response: &Response<Body>) -> Result<Option<Target>, Refusal> {
        let status = response.status().as_u16();
        let Some(location) = response.headers().get(header::LOCATION) else { return Ok(None) };
        if !matches!(status, 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        let location = std::str::from_utf8(location.as_bytes()).ok();
        let url = location.and_then(|location| target.url.join(location).ok());
        let url = url.and_then(|url| parse_url(url.as_str()));
        let out = || failed("the upstream redirects to what --upstream-allow does not allow");
        let url = url.ok_or_else(out)?;
        let uri = Uri::try_from(url.as_str()).map_err(|_| out())?;
        // As browsers do: a redirected POST becomes a GET, unless the status says otherwise.
        let method = match (status, &target.method) {
            (301 | 302, &Method::POST) => Method::GET,
            (303, method) if *method != Method::HEAD => Method::GET,
            (_, method) => method.clone(),
        };
        let server = self.allow.server(method.as_str(), &url).map_err(|_| out())?;
        Ok(Some(Target { method, url, uri, server }))
    }

    fn answer(&self, fetch: &Fetch, mut response: Response<Body>) -> Result<Answer, Refusal> {
        let (status, content_type) = (response.status(), content_type(response.headers()));
        let body = if fetch.wants_reply {
            let body = response.body_mut().with_config().limit(self.response_bytes_max).read_to_vec();
            body.map_err(|error| self.failure(&error))?
        } else {
            drain(response);
            Vec::new()
        };
        Ok(Answer { status, content_type, body })
    }

    /// The error that the sender gets.
    fn failure(&self, error: &Error) -> Refusal {
        match error {
            Error::Timeout(_) => self.timed_out(),
            Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => self.timed_out(),
            Error::Io(error) => failed(format!("the upstream cannot be reached or broke off: {error}")),
            Error::Other(error) => failed(format!("the upstream cannot be reached: {error}")),
            Error::BodyExceedsLimit(limit) => {
                failed(format!("the upstream's answer has more than {limit} bytes, see --upstream-response-max"))
            }
            error => failed(format!("the upstream cannot be reached or its answer is broken: {error}")),
        }
    }

    fn timed_out(&self) -> Refusal {
        let time = humantime::format_duration(self.timeout);
        Refusal::because(Reason::UpstreamTimeout, format!("the upstream did not answer within {time}"))
    }
}

/// The value of `X-Forwarded-For`. A peer without an address has come over a unix socket.
fn forwarded_for(peer: IpAddr) -> String {
    if peer.is_unspecified() { "unix:".to_owned() } else { peer.to_string() }
}

/// The error `upstream-failed`. The sentence becomes one line, whatever an upstream has put into it.
pub(super) fn failed(sentence: impl Into<String>) -> Refusal {
    let sentence = sentence.into().replace(|c: char| c.is_control(), " ");
    Refusal::because(Reason::UpstreamFailed, sentence)
}

/// Reads an unwanted body. An incomplete one is no error: the head has said what matters.
fn drain(mut response: Response<Body>) {
    let _ = io::copy(&mut response.body_mut().with_config().limit(DRAIN_BYTES_MAX).reader(), &mut io::sink());
}

/// The `content-type` of an answer, if it is valid in the head of an LHTTP message.
fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    (value.len() <= CONTENT_TYPE_BYTES_MAX).then(|| value.to_owned())
}
