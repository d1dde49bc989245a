//! What gives requests, connections and messages their meaning. It is above the engine, which knows it by [`Application`]
//! alone.

use std::net::SocketAddr;

use crate::{
    engine::{arrival::Role, hub::Hub, session::Endpoint, slot::Slot},
    protocol::http::{RequestHead, TEXT},
};

/// What runs on a core's engine. All methods are called on the core's thread, and must not block.
pub(crate) trait Application: Send {
    /// Says how a request goes on, by its head and by the role of the listener that has accepted the connection. The engine
    /// has read and checked the head; it reads the body, sends the answer, and keeps or closes the connection. A request that
    /// waits for a link is asked about again later, so this changes nothing.
    ///
    /// [`Route::Answer`] to a request that asks for a WebSocket refuses it: neither [`Application::on_open`] nor
    /// [`Application::on_close`] is called.
    fn on_request(&mut self, hub: &mut Hub, slot: Slot, head: &RequestHead<'_, '_>, role: Role) -> Route<'_>;

    /// Whether a server that is full serves this request all the same, for which it has places in reserve. If not, the
    /// client is told 503, and [`Application::on_request`] is not called.
    fn is_served_when_full(&self, head: &RequestHead<'_, '_>) -> bool;

    /// The whole body of a request has come, for the endpoint that [`Route::Body`] has named. Gives the answer.
    fn on_body(&mut self, hub: &mut Hub, endpoint: Endpoint, body: &[u8]) -> Answer<'_>;

    /// A handshake was accepted, and the answer to it is queued.
    fn on_open(&mut self, hub: &mut Hub, slot: Slot, head: &RequestHead<'_, '_>, peer: Option<SocketAddr>);

    /// A whole message has come; text is UTF-8.
    fn on_message(&mut self, hub: &mut Hub, slot: Slot, is_text: bool, payload: &[u8]);

    /// A connection that was open ends, for whatever reason. Called once.
    fn on_close(&mut self, hub: &mut Hub, slot: Slot);

    /// The links that a message or a whole body needs to be carried out, a bit for each, as
    /// [`links_of_channel`](crate::engine::router::Router::links_of_channel) and
    /// [`links_of_subscription`](crate::engine::router::Router::links_of_subscription) say. Called before it is carried out,
    /// and only while a link is congested. Whatever may do anything needs all of them.
    fn links_needed(&mut self, _: &mut Hub, _: &[u8]) -> u64 {
        u64::MAX
    }

    /// What it keeps about an open connection, in bytes: what [`Hub::application_keeps`] was told.
    fn kept_bytes(&self, slot: Slot) -> usize {
        let _ = slot;
        0
    }
}

/// How a request goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Route<'a> {
    /// It is answered at once. An unexpected body is not read: the connection is closed behind the answer.
    Answer(Answer<'a>),
    /// Its body is received, and then given to [`Application::on_body`].
    Body(BodyRoute),
    /// The connection becomes a WebSocket if the handshake is sound, and the server is not stopping.
    Upgrade,
}

/// A body that is wanted. A request without one counts as one with an empty body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyRoute {
    pub(crate) endpoint: Endpoint,
    /// The most bytes that it may have.
    pub(crate) bytes_max: usize,
    /// The sentence of the 413 that answers a `Content-Length` over that.
    pub(crate) too_big: &'static str,
}

/// An answer to a request. The engine adds what HTTP wants of it, and leaves the body out if the method is HEAD.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// One more header, whose value may lie elsewhere.
    pub(crate) last_header: Option<(&'a str, &'a str)>,
    pub(crate) content_type: &'a str,
    pub(crate) body: &'a [u8],
    /// The connection is closed behind it, whatever the client wants.
    pub(crate) closes: bool,
}

impl<'a> Answer<'a> {
    /// A sentence for people.
    pub(crate) fn text(status: u16, sentence: &'a str) -> Self {
        let body = sentence.as_bytes();
        Self { status, headers: &[], last_header: None, content_type: TEXT, body, closes: false }
    }

    /// The same with these headers.
    pub(crate) fn headers(self, headers: &'a [(&'a str, &'a str)]) -> Self {
        Self { headers, ..self }
    }

    /// The same, and the connection is closed behind it.
    pub(crate) fn close(self) -> Self {
        Self { closes: true, ..self }
    }
}
