//! The interface to the application, which gives requests, connections and messages their meaning. The application is
//! above the engine, which knows only the trait [`Application`].

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    engine::{arrival::Arrival, hub::Hub, session::Endpoint, slot::Slot, survey::Answered},
    protocol::http::{RequestHead, TEXT},
};

/// The application on a core's engine. All methods are called on the core's thread, and must not block.
pub(crate) trait Application: Send {
    /// Decides how a request goes on, by its head and by the origin of its connection. The
    /// engine has read and checked the head; it reads the body, sends the answer, and keeps or closes the connection.
    /// For a request that waits for a link, the engine asks again later, so this method may do nothing but give the
    /// connection its identity, see [`Hub::identify`].
    ///
    /// [`Route::Answer`] to a request that asks for a WebSocket refuses it: neither [`Application::on_open`] nor
    /// [`Application::on_close`] is called.
    fn on_request(&mut self, hub: &mut Hub, slot: Slot, head: &RequestHead<'_, '_>, arrival: &Arrival) -> Route<'_>;

    /// The value of `Access-Control-Allow-Origin` for all answers to this request, if a browser may show them to a page of
    /// another server.
    fn reader(&self, hub: &Hub, head: &RequestHead<'_, '_>) -> Option<Arc<str>> {
        let (_, _) = (hub, head);
        None
    }

    /// Whether a full server serves this request nevertheless, on a reserved place. If not, the client gets 503, and
    /// [`Application::on_request`] is not called.
    fn is_served_when_full(&self, head: &RequestHead<'_, '_>) -> bool;

    /// The same for a request to a listener of `admin`.
    fn is_operators(&self, hub: &Hub, head: &RequestHead<'_, '_>) -> bool {
        let (_, _) = (hub, head);
        false
    }

    /// Handles the complete body of a request, for the endpoint of its [`Route::Body`].
    fn on_body(&mut self, hub: &mut Hub, slot: Slot, endpoint: Endpoint, body: &[u8]) -> Reply<'_>;

    /// Called when a handshake was accepted and its answer is queued.
    fn on_open(&mut self, hub: &mut Hub, slot: Slot, head: &RequestHead<'_, '_>, peer: Option<SocketAddr>);

    /// Handles a complete message; text is UTF-8.
    fn on_message(&mut self, hub: &mut Hub, slot: Slot, is_text: bool, payload: &[u8]);

    /// Called once when an open connection ends, for any reason.
    fn on_close(&mut self, hub: &mut Hub, slot: Slot);

    /// Takes a core's answer to the question with this id, see [`crate::engine::survey`].
    fn on_told(&mut self, hub: &mut Hub, id: u32, core: u32, answer: Answered) {
        let (_, _, _, _) = (hub, id, core, answer);
    }

    /// Takes a message of another node about its operators, see [`crate::engine::node_link`].
    fn on_node(&mut self, hub: &mut Hub, message: &[u8]) {
        let (_, _) = (hub, message);
    }

    /// When [`Application::expire`] has something to do, since the core's start.
    fn next_deadline(&self) -> Option<Duration> {
        None
    }

    /// Looks at what is late at this time since the core's start.
    fn expire(&mut self, hub: &mut Hub, now: Duration) {
        let (_, _) = (hub, now);
    }

    /// The links that a message or a complete body needs, a bit for each, as
    /// [`links_of_channel`](crate::engine::router::Router::links_of_channel) and
    /// [`links_of_subscription`](crate::engine::router::Router::links_of_subscription) return them. Called before the
    /// message is carried out, and only while a link is congested. A message with unknown effects needs all links.
    fn links_needed(&mut self, _: &mut Hub, _: &[u8]) -> u64 {
        u64::MAX
    }

    /// The application's memory for an open connection, in bytes, as reported to [`Hub::application_keeps`].
    fn kept_bytes(&self, slot: Slot) -> usize {
        let _ = slot;
        0
    }
}

/// How a request goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Route<'a> {
    /// It is answered at once. The engine does not read an unexpected body: it closes the connection after the answer.
    Answer(Answer<'a>),
    #[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "nobody asks"))]
    /// The application answers it later, with [`Hub::answer`]. An unexpected body is not read.
    Later,
    /// Its body is received, and then given to [`Application::on_body`].
    Body(BodyRoute),
    /// The connection becomes a WebSocket if the handshake is valid and the server is not stopping.
    Upgrade,
}

/// The result of a complete body.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply<'a> {
    Now(Answer<'a>),
    #[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "nobody asks"))]
    /// The application answers it later, with [`Hub::answer`].
    Later,
}

/// An expected body. A request without one counts as a request with an empty body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyRoute {
    pub(crate) endpoint: Endpoint,
    /// The maximum length of the body, in bytes.
    pub(crate) bytes_max: usize,
    /// The sentence of the 413 for a larger `Content-Length`.
    pub(crate) too_big: &'static str,
    /// The rates of the connection hold for it.
    pub(crate) is_limited: bool,
}

/// An answer to a request. The engine adds the headers that HTTP requires, and leaves the body out if the method is
/// HEAD.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// One more header, whose value may lie elsewhere.
    pub(crate) last_header: Option<(&'a str, &'a str)>,
    pub(crate) content_type: &'a str,
    pub(crate) body: &'a [u8],
    /// The engine closes the connection after the answer, even if the client wants to keep it.
    pub(crate) closes: bool,
}

impl<'a> Answer<'a> {
    /// An answer that is a sentence for people.
    pub(crate) fn text(status: u16, sentence: &'a str) -> Self {
        let body = sentence.as_bytes();
        Self { status, headers: &[], last_header: None, content_type: TEXT, body, closes: false }
    }

    /// The same with these headers.
    pub(crate) fn headers(self, headers: &'a [(&'a str, &'a str)]) -> Self {
        Self { headers, ..self }
    }

    /// The same, and the engine closes the connection after it.
    pub(crate) fn close(self) -> Self {
        Self { closes: true, ..self }
    }
}
