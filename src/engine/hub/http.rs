//! HTTP input: heads, bodies, answers and the WebSocket handshake (PROTOCOL.md §3). The application says what a path means.

use std::{sync::Arc, time::Duration};

use smallvec::SmallVec;

use crate::{
    engine::{
        application::{Answer, Application, BodyRoute, Reply, Route},
        hub::{Hub, ends::End},
        router::work::REQUEST_UNITS,
        session::{self, Expected, Framing, Incoming, Phase, Request, Unanswered},
        slot::Slot,
        stats::Why,
    },
    error::HttpFault,
    protocol::{
        handshake,
        http::{
            Body, CONTINUE, ChunkedBody, HeaderSlots, Persistence, RequestHead, parse_head, write_fault,
            write_response, write_response_head,
        },
    },
};

/// The answer to a handshake on a connection that a stopping server has accepted.
const DRAINING: Faulty = (HttpFault::new(503, "draining"), &[("Retry-After", "1")]);

/// The answer to a post over a rate.
const TOO_OFTEN: &str = "more in a second than this server accepts\n";

/// How the handling of a head ended.
enum Handled {
    /// The request was answered, and used this many bytes after the head.
    Answered(usize),
    /// The body of the request is not complete yet.
    NeedsBody(session::Body),
    /// The request has to wait for these links. Nothing of it was used.
    MustWait(u64),
}

impl Hub {
    /// Takes requests from `bytes` until one upgrades. Returns how many bytes were used.
    pub(super) fn receive_http(&mut self, app: &mut dyn Application, slot: Slot, bytes: &[u8]) -> usize {
        let mut used = 0;
        while self.sessions[slot].phase() == Phase::Http && self.sessions.may_read(slot) {
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
        if self.sessions[slot].phase() == Phase::Http { used } else { used.min(bytes.len()) }
    }

    /// Takes the available part of one request.
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
        let arrival = self.request(slot).arrival;
        if arrival.is_proxy {
            self.request(slot).arrival.forwarded = self.client_of(&arrival, &head);
        }
        if self.sessions[slot].is_reserved() {
            self.check_reserved(app, &head, arrival.role)?;
            head.persistence = Persistence::Close;
        } else if self.is_closing() {
            head.persistence = Persistence::Close; // the next request of this client is another server's
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
        let arrival = self.request(slot).arrival;
        let reader = app.reader(self, head);
        match app.on_request(self, slot, head, &arrival) {
            Route::Answer(answer) => {
                self.stats.requests += 1;
                let (reader, status) = (reader.as_deref(), answer.status);
                // An unexpected body is not read, so the start of the next request is not known.
                if answer.closes || head.has_body() {
                    self.push_answer(slot, answer, reader, Persistence::Close, head.method == "HEAD");
                    self.leave(app, slot, Phase::Lingering, (Why::of_status(status), End::Answered(status)));
                } else {
                    self.push_answer(slot, answer, reader, head.persistence, head.method == "HEAD");
                    self.answered(app, slot, status, head.persistence);
                }
                Ok(Handled::Answered(0))
            }
            Route::Later => {
                self.stats.requests += 1;
                // An unexpected body is not read, as above.
                let persistence = if head.has_body() { Persistence::Close } else { head.persistence };
                self.await_answer(slot, Unanswered { persistence, is_head: head.method == "HEAD", reader });
                Ok(Handled::Answered(0))
            }
            Route::Body(route) => self.begin_body(app, slot, head, rest, (route, reader)),
            Route::Upgrade => {
                self.stats.requests += 1;
                self.upgrade(app, slot, head)?;
                Ok(Handled::Answered(0))
            }
        }
    }

    /// Takes the body if all of it is there, or else prepares to receive it.
    fn begin_body(
        &mut self,
        app: &mut dyn Application,
        slot: Slot,
        head: &RequestHead<'_, '_>,
        rest: &[u8],
        (route, reader): (BodyRoute, Option<Arc<str>>),
    ) -> Result<Handled, Faulty> {
        let BodyRoute { endpoint, bytes_max, too_big, is_limited } = route;
        let length = match head.body {
            Body::None => Some(0),
            Body::Length(length) => Some(length),
            Body::Chunked => None,
        };
        let fits = length.is_none_or(|length| length <= bytes_max as u64);
        let whole = length.filter(|_| fits).and_then(|length| rest.get(..length as usize));
        if let Some(body) = whole {
            let links = self.links_needed(app, body);
            if links != 0 {
                return Ok(Handled::MustWait(links));
            }
        }
        self.stats.requests += 1;
        if !fits {
            self.push_answer(slot, Answer::text(413, too_big), reader.as_deref(), Persistence::Close, false);
            self.leave(app, slot, Phase::Lingering, (Why::BadRequest, End::Answered(413)));
            return Ok(Handled::Answered(0));
        }
        if let Some(body) = whole {
            let expected = Expected { endpoint, reader, is_limited, persistence: head.persistence };
            self.take_body(app, slot, &expected, body);
            return Ok(Handled::Answered(body.len()));
        }
        if head.expect_continue && rest.is_empty() {
            self.push_http(slot, |turn| turn.extend_from_slice(CONTINUE));
        }
        let chunked = || Framing::Chunked(ChunkedBody::default());
        let framing = length.map_or_else(chunked, |length| Framing::Length(length as usize));
        let expected = Expected { endpoint, reader, is_limited, persistence: head.persistence };
        Ok(Handled::NeedsBody(session::Body { expected, bytes_max, framing, bytes: Vec::new() }))
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
            Framing::Chunked(chunks) => chunks.decode(bytes, &mut body.bytes, body.bytes_max).map_err(plain)?,
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
        self.take_body(app, slot, &body.expected, &body.bytes);
        Ok(used)
    }

    /// Carries out a complete body that needs no congested link, and answers it.
    fn take_body(&mut self, app: &mut dyn Application, slot: Slot, expected: &Expected, body: &[u8]) {
        let arrival = self.request(slot).arrival;
        let seconds = self.refuse_post(slot, &arrival, expected, body.len()).map(|seconds| seconds.to_string());
        let reply = match &seconds {
            Some(seconds) => {
                let headers = Some(("Retry-After", &**seconds));
                Reply::Now(Answer { last_header: headers, ..Answer::text(429, TOO_OFTEN) })
            }
            None => app.on_body(self, slot, expected.endpoint, body),
        };
        let is_flood = seconds.is_some() && self.is_flood(slot);
        let Expected { persistence, reader, .. } = expected;
        let Reply::Now(answer) = reply else {
            let (persistence, reader) = (*persistence, reader.clone());
            return self.await_answer(slot, Unanswered { persistence, is_head: false, reader });
        };
        let status = answer.status;
        let persistence = if answer.closes || is_flood { Persistence::Close } else { *persistence };
        self.push_answer(slot, answer, reader.as_deref(), persistence, false);
        self.message_done(Some(slot));
        let why = if is_flood { Why::Rate } else { Why::of_status(status) };
        self.answered_for(app, slot, (why, status), persistence);
    }

    fn upgrade(&mut self, app: &mut dyn Application, slot: Slot, head: &RequestHead<'_, '_>) -> Result<(), Faulty> {
        if self.request(slot).arrival.is_late {
            self.count_turned_away();
            return Err(DRAINING);
        }
        let accepted = handshake::check(head).map_err(|refused| (refused.fault, refused.extra))?;
        let Request { arrival, accepted: since, .. } = *self.request(slot);
        self.admit_forwarded(slot, &arrival)?;
        self.handshakes.push(since);
        self.push_http(slot, |turn| handshake::write_accepted(turn, &accepted));
        self.router.outboxes.upgrade(slot, self.sessions[slot].encoding);
        let now = self.sessions.now();
        let session = &mut self.sessions[slot];
        session.set_phase(Phase::Open);
        session.heard = now;
        self.stats.websockets += 1;
        let first =
            [self.limits.ping_interval, self.limits.idle_timeout].into_iter().filter(|&millis| millis > 0).min();
        if let Some(first) = first {
            self.sessions.schedule(slot, self.sessions.now() + first); // the handshake's deadline may be later than this
        }
        let session = &mut self.sessions[slot];
        session.incoming = None;
        self.clients.note(slot, &arrival, self.limits.has_admin);
        self.schedule_token(slot);
        app.on_open(self, slot, head, arrival.client());
        if self.is_silent() {
            self.send_away(app, slot);
        }
        Ok(())
    }

    /// Answers a request. `reader` is the page of another origin that may read the answer.
    pub(super) fn push_answer(
        &mut self,
        slot: Slot,
        answer: Answer<'_>,
        reader: Option<&str>,
        persistence: Persistence,
        is_head: bool,
    ) {
        let Answer { status, headers, last_header, content_type, body, .. } = answer;
        let mut all = SmallVec::<[(&str, &str); 8]>::new();
        let extra = if last_header.is_some() || reader.is_some() {
            all.extend(headers.iter().copied().chain(last_header));
            // Caches must not show the answer to another page.
            all.extend(reader.into_iter().flat_map(|page| [("Access-Control-Allow-Origin", page), ("Vary", "Origin")]));
            &all[..]
        } else {
            headers
        };
        if is_head {
            self.push_http(slot, |turn| {
                write_response_head(turn, status, extra, content_type, body.len(), persistence)
            });
        } else {
            self.router.work.has_answered(body.len());
            self.push_http(slot, |turn| write_response(turn, status, extra, content_type, body, persistence));
        }
    }

    /// Answers a request that cannot be served, and ends the connection: the start of the next request is not known.
    fn answer_fault(&mut self, app: &mut dyn Application, slot: Slot, fault: HttpFault, extra: Extra) {
        self.push_http(slot, |turn| write_fault(turn, fault, extra));
        let why = Why::of_status(fault.status);
        self.leave(app, slot, Phase::Lingering, (why, End::Answered(fault.status)));
    }

    pub(super) fn answered(&mut self, app: &mut dyn Application, slot: Slot, status: u16, persistence: Persistence) {
        self.answered_for(app, slot, (Why::of_status(status), status), persistence);
    }

    /// Goes on after an answer with this status. `why` counts if the connection ends.
    fn answered_for(
        &mut self,
        app: &mut dyn Application,
        slot: Slot,
        (why, status): (Why, u16),
        persistence: Persistence,
    ) {
        self.stats.served_when_full += u64::from(self.sessions[slot].is_reserved());
        if persistence == Persistence::Close {
            self.leave(app, slot, Phase::Lingering, (why, End::Answered(status)));
        } else {
            self.request(slot).is_reused = true;
            self.sessions[slot].heard = self.sessions.now();
        }
    }

    /// Appends bytes that are not a frame to the turn, for one connection.
    pub(super) fn push_http(&mut self, slot: Slot, write: impl FnOnce(&mut Vec<u8>)) {
        self.router.push(slot, write);
    }

    /// Notes when a new connection was accepted, by the sockets' clock.
    pub(crate) fn was_accepted(&mut self, slot: Slot, at: Duration) {
        if let Some(Incoming::Http(request)) = self.sessions[slot].incoming.as_deref_mut() {
            request.accepted = at;
        }
    }

    /// The request of a connection in [`Phase::Http`].
    pub(super) fn request(&mut self, slot: Slot) -> &mut Request {
        match self.sessions[slot].incoming.as_deref_mut() {
            Some(Incoming::Http(request)) => request,
            _ => unreachable!("a connection keeps its request until it upgrades"),
        }
    }
}

/// Headers that go with a status.
pub(super) type Extra = &'static [(&'static str, &'static str)];

/// A fault and the headers that go with its status.
pub(super) type Faulty = (HttpFault, Extra);

fn plain(fault: HttpFault) -> Faulty {
    (fault, &[])
}
