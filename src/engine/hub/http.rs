//! HTTP input: the handshake, `/publish` and `/healthz` (PROTOCOL.md §3).

use crate::{
    engine::{
        hub::{Application, Hub},
        router::work::REQUEST_UNITS,
        session::{self, Framing, Incoming, Phase, Request},
        slot::Slot,
    },
    error::{HttpFault, Refusal},
    protocol::{
        handshake,
        http::{
            self, Body, CONTINUE, ChunkedBody, HeaderSlots, Persistence, RequestHead, TEXT, bearer_token, parse_head,
            write_fault, write_response, write_response_head,
        },
    },
};

const JSON: &str = "application/json";
const SPEAKS: HttpFault = HttpFault::new(426, "this port speaks LHTTP over WebSocket, and HTTP at POST /publish\n");
const NOT_FOUND: HttpFault = HttpFault::new(404, "there is only /publish and /healthz here, and WebSocket anywhere\n");
const NEEDS_LENGTH: HttpFault = HttpFault::new(411, "POST /publish needs a Content-Length or chunks\n");
const TOO_BIG: HttpFault = HttpFault::new(413, "the message is over the limit\n");
const NEEDS_KEY: HttpFault = HttpFault::new(401, "POST /publish needs Authorization: Bearer KEY\n");
const WRONG_KEY: HttpFault = HttpFault::new(403, "this is not the key\n");
const FILTERED: HttpFault =
    HttpFault::new(403, "this server has filters, which POST /publish does not pass: it needs a publish key\n");
const DRAINING: HttpFault = HttpFault::new(503, "draining");

/// How the handling of a head ended.
pub(super) enum Handled {
    /// The request was answered; its body, if any, was within this many bytes behind the head.
    Answered(usize),
    /// Its body is still to come.
    NeedsBody(session::Body),
    /// It has to wait for these links; nothing of it was used.
    MustWait(u64),
}

impl Hub {
    /// Takes requests from `bytes` until one upgrades, and gives how many bytes were used.
    pub(super) fn receive_http(&mut self, app: &mut dyn Application, slot: Slot, bytes: &[u8]) -> usize {
        let mut used = 0;
        while self.sessions[slot].phase == Phase::Http && self.sessions.may_read(slot) {
            let Some(Incoming::Http(request)) = self.sessions[slot].incoming.as_deref_mut() else { break };
            // The first request begins with the connection.
            let begins = request.is_reused && request.partial.is_empty() && request.body.is_none();
            let has_whole_body = matches!(&request.body, Some(session::Body { framing: Framing::Length(0), .. }));
            if (used == bytes.len() && !has_whole_body) || self.router.must_stop() {
                break;
            }
            if begins {
                self.sessions[slot].heard = self.sessions.now();
            }
            self.router.work.add(REQUEST_UNITS);
            match self.receive_request(app, slot, &bytes[used..]) {
                Ok(more) => used += more,
                Err((fault, extra)) => {
                    self.answer_fault(app, slot, fault, extra);
                    return bytes.len();
                }
            }
        }
        if self.sessions[slot].phase == Phase::Http { used } else { used.min(bytes.len()) }
    }

    /// Takes as much of one request as there is.
    fn receive_request(&mut self, app: &mut dyn Application, slot: Slot, bytes: &[u8]) -> Result<usize, Faulty> {
        let request = self.request(slot);
        if let Some(body) = request.body.take() {
            return self.receive_body(app, slot, body, bytes);
        }
        let mut kept = std::mem::take(&mut request.partial);
        let mut progress = std::mem::take(&mut request.progress);
        let head_bytes_max = self.limits.http_head_bytes_max;
        let before = kept.len();
        if before > 0 {
            kept.extend_from_slice(&bytes[..bytes.len().min(head_bytes_max.saturating_sub(before))]);
        }
        let mut slots = HeaderSlots::new();
        let window = if before > 0 { &kept[..] } else { bytes };
        let is_due = progress.is_due(window, head_bytes_max);
        let parsed = if is_due { parse_head(window, head_bytes_max, &mut slots).map_err(plain)? } else { None };
        let Some((mut head, head_bytes)) = parsed else {
            if before == 0 {
                kept = bytes.to_vec();
            }
            let request = self.request(slot);
            (request.partial, request.progress) = (kept, progress);
            return Ok(bytes.len());
        };
        if self.sessions[slot].is_reserved() {
            self.check_reserved(&head)?;
            head.persistence = Persistence::Close;
        }
        let used = head_bytes - before;
        match self.handle(app, slot, &head, &bytes[used..])? {
            Handled::Answered(body_bytes) => Ok(used + body_bytes),
            Handled::NeedsBody(body) => {
                self.request(slot).body = Some(body);
                Ok(used)
            }
            Handled::MustWait(links) => {
                let mut unused = kept[..before].to_vec();
                unused.extend_from_slice(bytes);
                self.pause_with(slot, &unused, links);
                Ok(bytes.len())
            }
        }
    }

    fn handle(
        &mut self,
        app: &mut dyn Application,
        slot: Slot,
        head: &RequestHead<'_, '_>,
        rest: &[u8],
    ) -> Result<Handled, Faulty> {
        if let Some(pages) = self.pages.clone() {
            return self.serve_page(app, slot, head, &pages);
        }
        if head.path == "/publish" && head.method == "POST" && !handshake::is_upgrade(head) {
            return self.handle_publish(app, slot, head, rest);
        }
        self.stats.requests += 1;
        if handshake::is_upgrade(head) {
            self.upgrade(app, slot, head)?;
            return Ok(Handled::Answered(0));
        }
        let fault = match (head.path, head.method) {
            ("/healthz", "GET" | "HEAD") if self.is_draining => return Err((DRAINING, &[("Retry-After", "1")])),
            ("/healthz", "GET" | "HEAD") => HttpFault::new(200, "ok"),
            ("/healthz", _) => return Err((HttpFault::new(405, "ask with GET\n"), &[("Allow", "GET, HEAD")])),
            ("/publish", _) => return Err((HttpFault::new(405, "publish with POST\n"), &[("Allow", "POST")])),
            ("/", "GET" | "HEAD") => SPEAKS,
            _ => NOT_FOUND,
        };
        let extra = if fault.status == 426 { handshake::UPGRADE_REQUIRED } else { &[] };
        if has_body(head) {
            return Err((fault, extra));
        }
        self.respond(app, slot, head, (fault.status, extra, TEXT, fault.sentence.as_bytes()));
        Ok(Handled::Answered(0))
    }

    /// Answers a request that has no body: status, headers, content type, content.
    pub(super) fn respond(
        &mut self,
        app: &mut dyn Application,
        slot: Slot,
        head: &RequestHead<'_, '_>,
        (status, extra, content_type, body): (u16, &[(&str, &str)], &str, &[u8]),
    ) {
        let persistence = head.persistence;
        if head.method == "HEAD" {
            self.push_http(slot, |turn| {
                write_response_head(turn, status, extra, content_type, body.len(), persistence)
            });
        } else {
            self.push_http(slot, |turn| write_response(turn, status, extra, content_type, body, persistence));
        }
        self.answered(app, slot, persistence);
    }

    fn handle_publish(
        &mut self,
        app: &mut dyn Application,
        slot: Slot,
        head: &RequestHead<'_, '_>,
        rest: &[u8],
    ) -> Result<Handled, Faulty> {
        if let Body::Length(len) = head.body
            && let Some(body) = usize::try_from(len).ok().and_then(|len| rest.get(..len))
        {
            let links = self.links_needed(app, body);
            if links != 0 {
                return Ok(Handled::MustWait(links));
            }
        }
        self.stats.requests += 1;
        self.check_key(head)?;
        if self.is_draining {
            return Err(plain(DRAINING));
        }
        let framing = match head.body {
            Body::None => return Err(plain(NEEDS_LENGTH)),
            Body::Length(len) if len > self.limits.message_bytes_max as u64 => return Err(plain(TOO_BIG)),
            Body::Length(len) if len as usize <= rest.len() => {
                let len = len as usize;
                self.publish_body(app, slot, &rest[..len], head.persistence);
                return Ok(Handled::Answered(len));
            }
            Body::Length(len) => Framing::Length(len as usize),
            Body::Chunked => Framing::Chunked(ChunkedBody::default()),
        };
        if head.expect_continue && rest.is_empty() {
            self.push_http(slot, |turn| turn.extend_from_slice(CONTINUE));
        }
        Ok(Handled::NeedsBody(session::Body { framing, bytes: Vec::new(), persistence: head.persistence }))
    }

    fn receive_body(
        &mut self,
        app: &mut dyn Application,
        slot: Slot,
        mut body: session::Body,
        bytes: &[u8],
    ) -> Result<usize, Faulty> {
        let (used, is_whole) = match &mut body.framing {
            Framing::Length(missing) => {
                let used = bytes.len().min(*missing);
                body.bytes.extend_from_slice(&bytes[..used]);
                *missing -= used;
                (used, *missing == 0)
            }
            Framing::Chunked(chunks) => {
                chunks.decode(bytes, &mut body.bytes, self.limits.message_bytes_max).map_err(plain)?
            }
        };
        if !is_whole {
            self.request(slot).body = Some(body);
            return Ok(used);
        }
        let links = self.links_needed(app, &body.bytes);
        if links != 0 {
            body.framing = Framing::Length(0);
            self.request(slot).body = Some(body);
            self.pause_with(slot, &bytes[used..], links);
            return Ok(bytes.len());
        }
        self.publish_body(app, slot, &body.bytes, body.persistence);
        Ok(used)
    }

    fn publish_body(&mut self, app: &mut dyn Application, slot: Slot, body: &[u8], persistence: Persistence) {
        match app.on_publish(self, body) {
            Ok(1) => self.push_http(slot, |turn| {
                write_response(turn, 200, &[], JSON, b"{\"channels\":1}", persistence);
            }),
            Ok(channels) => {
                let body = format!("{{\"channels\":{channels}}}");
                self.push_http(slot, |turn| write_response(turn, 200, &[], JSON, body.as_bytes(), persistence));
            }
            Err(refusal) => self.answer_refusal(slot, &refusal, persistence),
        }
        self.message_done(Some(slot));
        self.answered(app, slot, persistence);
    }

    fn answer_refusal(&mut self, slot: Slot, refusal: &Refusal, persistence: Persistence) {
        self.count_refusal(refusal);
        let body = format!("{}: {}\n", refusal.reason(), refusal.sentence());
        self.push_http(slot, |turn| write_response(turn, refusal.code(), &[], TEXT, body.as_bytes(), persistence));
    }

    /// The key is compared in constant time, so that it cannot be found byte by byte.
    fn check_key(&self, head: &RequestHead<'_, '_>) -> Result<(), Faulty> {
        let Some(key) = &self.limits.publish_key else {
            return if self.has_filters { Err(plain(FILTERED)) } else { Ok(()) };
        };
        match bearer_token(head) {
            None => Err((NEEDS_KEY, &[("WWW-Authenticate", "Bearer")])),
            Some(token) if key.matches(token) => Ok(()),
            Some(_) => Err(plain(WRONG_KEY)),
        }
    }

    fn upgrade(&mut self, app: &mut dyn Application, slot: Slot, head: &RequestHead<'_, '_>) -> Result<(), Faulty> {
        if self.is_draining {
            self.stats.turned_away += 1;
            return Err((DRAINING, &[("Retry-After", "1")]));
        }
        let accepted = handshake::check(head).map_err(|refused| (refused.fault, refused.extra))?;
        self.push_http(slot, |turn| handshake::write_accepted(turn, &accepted));
        self.router.outboxes.upgrade(slot, self.sessions[slot].encoding);
        let now = self.sessions.now();
        let session = &mut self.sessions[slot];
        session.phase = Phase::Open;
        session.heard = now;
        let first =
            [self.limits.ping_interval, self.limits.idle_timeout].into_iter().filter(|&millis| millis > 0).min();
        if let Some(first) = first {
            self.sessions.schedule(slot, self.sessions.now() + first); // the handshake's deadline may come too late
        }
        let session = &mut self.sessions[slot];
        let Some(Incoming::Http(request)) = session.incoming.take().map(|incoming| *incoming) else { return Ok(()) };
        app.on_open(self, slot, head, request.peer);
        Ok(())
    }

    /// A request that cannot be served ends the connection: where the next one would start is not known.
    fn answer_fault(
        &mut self,
        app: &mut dyn Application,
        slot: Slot,
        fault: HttpFault,
        extra: &[(&'static str, &'static str)],
    ) {
        self.push_http(slot, |turn| write_fault(turn, fault, extra));
        self.leave(app, slot, Phase::Lingering);
    }

    fn answered(&mut self, app: &mut dyn Application, slot: Slot, persistence: Persistence) {
        self.stats.served_when_full += u64::from(self.sessions[slot].is_reserved());
        if persistence == http::Persistence::Close {
            self.leave(app, slot, Phase::Lingering);
        } else {
            self.request(slot).is_reused = true;
            self.sessions[slot].heard = self.sessions.now();
        }
    }

    /// Appends bytes that are no frame to the turn, for one connection.
    pub(super) fn push_http(&mut self, slot: Slot, write: impl FnOnce(&mut Vec<u8>)) {
        self.router.push(slot, write);
    }

    /// The request that a connection in [`Phase::Http`] has.
    fn request(&mut self, slot: Slot) -> &mut Request {
        match self.sessions[slot].incoming.as_deref_mut() {
            Some(Incoming::Http(request)) => request,
            _ => unreachable!("a connection keeps its request until it upgrades"),
        }
    }
}

/// Whether a body follows that nobody asked for: the connection is closed rather than that it is read over.
pub(super) fn has_body(head: &RequestHead<'_, '_>) -> bool {
    !matches!(head.body, Body::None | Body::Length(0))
}

/// Headers that go with a status.
pub(super) type Extra = &'static [(&'static str, &'static str)];

/// A fault and the headers that go with its status.
pub(super) type Faulty = (HttpFault, Extra);

fn plain(fault: HttpFault) -> Faulty {
    (fault, &[])
}
