//! Requests of other threads to a node, besides publishing.

use std::time::Duration;

use crossbeam_channel::bounded;

use super::Node;
use crate::engine::{
    inbox::{CoreOptions, Letter},
    limits::Limits,
    slot::ConnectionKey,
};

impl Node {
    /// Another thread sends to one client, or closes it.
    pub(crate) fn post_to(&mut self, socket: usize, letter: impl FnOnce(ConnectionKey) -> Letter) {
        let key = self.turn.sockets.key(socket);
        self.mailbox.post(letter(key)).expect("the inbox has room");
    }

    /// Another thread changes the limits.
    pub(crate) fn post_limits(&mut self, limits: Limits, connections_max: usize) {
        let options = CoreOptions { limits, connections_max, busy_poll: Duration::ZERO, coalesce: Duration::ZERO };
        let (taken, _) = bounded(1);
        self.mailbox.post(Letter::Options(Box::new(options), taken)).expect("the inbox has room");
    }
}
