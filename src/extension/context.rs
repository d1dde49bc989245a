//! The context of a call to a processor or filter: what the code sees, and what it can do.

use std::{any::Any, cell::RefCell, net::SocketAddr};

use crate::{
    engine::{hub::Hub, inbox::Mailbox, slot::Slot},
    error::{Reason, Refusal},
    extension::{
        effects::Effects,
        profile::{ConnectionId, Profile},
        publish::{check_channels, check_publish_size, encode_publish},
        replier::Replier,
        request::Request,
    },
    protocol::{
        channel::{self, Kind},
        frame::is_close_code,
        message::Message,
        multipart::{self, Part},
    },
};

/// One message, or the opening or end of a connection, with the actions that the called code can take. It lives on the core
/// that owns the connection, for one call.
///
/// Sends, publishes and subscriptions take effect after the call, in the order in which the code asked for them. They have no
/// effect if the message is invalid or the call panics.
pub struct Context<'a> {
    pub(crate) request: Request<'a>,
    pub(crate) is_text: bool,
    pub(crate) profile: &'a mut Profile,
    pub(crate) effects: RefCell<&'a mut Effects>,
    pub(crate) mailbox: &'a Mailbox,
    /// The core's state, which does not change during the call.
    pub(crate) hub: &'a Hub,
    pub(crate) slot: Slot,
    /// The last refusal of [`Context::refuse`].
    pub(crate) refusal: Option<Refusal>,
}

/// The message.
impl<'a> Context<'a> {
    /// The command; empty if there is no LHTTP message.
    pub fn command(&self) -> &str {
        self.request.command()
    }

    /// The first header with this name, in any case. Cost: a scan of the headers.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All headers in order, also repeated ones. Names are as written; values are without the blanks around them.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.request.headers()
    }

    /// The body; for a message that is not LHTTP, the whole message.
    pub fn body(&self) -> &[u8] {
        self.request.body()
    }

    /// True if the message came as text (then it is UTF-8), false if it came as binary.
    pub fn is_text(&self) -> bool {
        self.is_text
    }

    /// The parts of a multipart body (PROTOCOL.md §4), as the first `multipart` header describes them; none without such a
    /// header. The iterator ends before the first malformed part. The server refuses a message with a malformed part or a
    /// second `multipart` header, but only after the filters have seen it.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let body = self.body();
        let value = self.header("multipart").into_iter();
        value.flat_map(move |value| multipart::parts(value.as_bytes(), body).map_while(Result::ok))
    }

    /// Replaces the command, for subscribers and for the answers of [`Context::send`].
    ///
    /// # Errors
    /// `bad-start-line`, see [`Message::set_command`].
    pub fn set_command(&mut self, command: &str) -> Result<(), Refusal> {
        self.change()?.set_command(command)
    }

    /// Adds a header, for subscribers and for the answers of [`Context::send`]. The server acts on a control header as if the
    /// client had sent it.
    ///
    /// # Errors
    /// `bad-header`, see [`Message::add_header`].
    pub fn add_header(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        self.change()?.add_header(name, value)
    }

    /// Replaces all headers with this name by one, as [`Context::add_header`] adds one.
    ///
    /// # Errors
    /// `bad-header`, see [`Message::add_header`].
    pub fn set_header(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        self.change()?.set_header(name, value)
    }

    /// Removes all headers with this name; true if there was one. The server does not act on a removed control header.
    pub fn remove_header(&mut self, name: &str) -> bool {
        self.header(name).is_some() && self.change().is_ok_and(|message| message.remove_header(name))
    }

    /// Replaces the body that subscribers get.
    ///
    /// # Errors
    /// There is no LHTTP message.
    pub fn set_body(&mut self, body: impl Into<Vec<u8>>) -> Result<(), Refusal> {
        self.change()?.set_body(body);
        Ok(())
    }

    fn change(&mut self) -> Result<&mut Message, Refusal> {
        let none = || Refusal::because(Reason::NotLhttp, "there is no LHTTP message to change");
        self.request.to_mut().ok_or_else(none)
    }
}

/// The actions.
impl Context<'_> {
    /// Answers with the request's current command and headers, and this body (the seed's `Send`). The answer to a message
    /// that is not LHTTP is only the body. The answer to a text message is text if the body is UTF-8, else binary.
    ///
    /// The answer waits in the connection's outbox, like everything that is sent to it. An answer larger than
    /// [`outbox_bytes_max`](crate::Config::outbox_bytes_max) closes the connection with 1013, unless the socket takes most of
    /// it at once.
    pub fn send(&self, body: impl AsRef<[u8]>) {
        let mut effects = self.effects.borrow_mut();
        effects.send(self.is_text, |out| self.request.encode_with_body(body.as_ref(), out));
    }

    /// Answers with this message.
    pub fn reply(&self, message: &Message) {
        self.effects.borrow_mut().send(self.is_text, |out| message.encode_to(out));
    }

    /// Subscribes this connection to a channel or pattern. Unlike a client's, the name may begin with `$` or `_`: such a
    /// channel belongs to the server, and the client cannot unsubscribe from it.
    ///
    /// # Errors
    /// `bad-channel`, `too-many-subscriptions`.
    pub fn subscribe(&self, channel: &str) -> Result<(), Refusal> {
        let kind = check_subscribe(channel)?;
        let mut effects = self.effects.borrow_mut();
        let mut demand = effects.demand().clone();
        if !effects.subscribes(channel) {
            self.hub.router.add_demand(self.slot, channel.as_bytes(), kind, &mut demand);
            self.hub.check_subscriptions(self.slot, &demand)?;
        }
        effects.subscribe(channel, kind, demand);
        Ok(())
    }

    /// Ends a subscription. No effect if the connection is not subscribed.
    ///
    /// # Errors
    /// `bad-channel`.
    pub fn unsubscribe(&self, channel: &str) -> Result<(), Refusal> {
        let kind = check_subscribe(channel)?;
        self.effects.borrow_mut().unsubscribe(channel, kind);
        Ok(())
    }

    /// Publishes a new message, as [`Publisher::publish`](crate::Publisher::publish) does.
    ///
    /// # Errors
    /// `bad-channel`, `bad-start-line`, `bad-header`, `message-too-big`, `too-many-channels`.
    pub fn publish(
        &self,
        channels: &[&str],
        command: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Result<(), Refusal> {
        let limits = &self.hub.limits;
        let channels = check_channels(channels, limits.publish_channels_max)?.join(" ");
        let payload = encode_publish(&channels, command, headers, body.as_ref(), limits.message_bytes_max)?;
        check_publish_size(payload.len(), self.hub.limits.publish_bytes())?;
        self.effects.borrow_mut().publish(&channels, |out| out.extend_from_slice(&payload));
        Ok(())
    }

    /// Refuses the message, as a filter does by returning an error: the client gets the error, and neither the message nor
    /// this context's actions have any effect. The last of several refusals counts. A processor that refuses in `on_open` is
    /// not opened again, but its `on_close` is called.
    ///
    /// This is for processors and the handler of messages that are not LHTTP. In [`Filter::after_request`] and in `on_close`
    /// it has no effect, because nothing is left to refuse.
    ///
    /// [`Filter::after_request`]: crate::Filter::after_request
    pub fn refuse(&mut self, refusal: Refusal) {
        self.refusal = Some(refusal);
    }

    /// Closes this connection with a code of RFC 6455 §7.4 and a reason, of which the first 123 bytes are sent. Messages that
    /// were sent before still arrive. A code that must not be sent becomes 1000.
    pub fn close(&self, code: u16, reason: &str) {
        let code = if is_close_code(code) { code } else { 1000 };
        self.effects.borrow_mut().close(code, reason);
    }

    /// A handle that answers this connection later, from any thread.
    pub fn replier(&self) -> Replier {
        let mut head = Vec::new();
        self.request.encode_with_body(&[], &mut head);
        Replier::new(self.mailbox.clone(), self.profile.id, self.is_text, head)
    }
}

/// The connection.
impl Context<'_> {
    /// The connection's id.
    pub fn connection_id(&self) -> ConnectionId {
        self.profile.id
    }

    /// The client's address: the connection's peer, or behind a proxy of [`Config::trust_proxy`](crate::Config::trust_proxy)
    /// the client that the proxy names, with port 0 if it tells none. `None` on a unix socket without such a proxy.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.profile.peer
    }

    /// The path of the handshake's target, without its query.
    pub fn path(&self) -> &str {
        let target = &*self.profile.target;
        target.split_once('?').map_or(target, |(path, _)| path)
    }

    /// The query of the handshake's target, without its `?`; not percent-decoded.
    pub fn query(&self) -> Option<&str> {
        self.profile.target.split_once('?').map(|(_, query)| query)
    }

    /// The first header of the handshake with this name, in any case.
    pub fn handshake_header(&self, name: &str) -> Option<&str> {
        self.profile.header(name)
    }

    /// All headers of the handshake that are UTF-8, in order.
    pub fn handshake_headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.profile.headers()
    }

    /// Keeps a value with this connection, such as its user and rights. It replaces the value that was kept before. It is
    /// dropped with the connection, after the last `on_close`.
    pub fn set_user<T: Any + Send>(&mut self, value: T) {
        self.profile.user = Some(Box::new(value));
    }

    /// The value kept with this connection, if it is of this type.
    pub fn user<T: Any>(&self) -> Option<&T> {
        self.profile.user.as_ref()?.downcast_ref()
    }

    /// As [`Context::user`], to change the value.
    pub fn user_mut<T: Any>(&mut self) -> Option<&mut T> {
        self.profile.user.as_mut()?.downcast_mut()
    }
}

fn check_subscribe(channel: &str) -> Result<Kind, Refusal> {
    channel::check_subscribe(channel.as_bytes())
}
