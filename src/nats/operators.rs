//! Questions of operators to all nodes of a cluster, and the answers (docs/ADMIN.md). The bridge carries them and does not
//! read them.
//!
//! ```text
//! _LHTTP.admin          from a node to all others
//! _LHTTP.admin.<node>   to a node
//! ```

use crate::engine::{
    inbox::{Letter, Mailbox},
    log_limit::LogLimit,
    node_link::{FRAME_BYTES_MAX, Frame, NodeLink},
};

use super::commands::{Command, Commands};

/// The numbers of the subscriptions to what is for all nodes, and to what is for this one.
pub(super) const ALL_SID: u64 = (1 << 51) + 3;
pub(super) const OWN_SID: u64 = (1 << 51) + 4;
const ALL: &str = "_LHTTP.admin";
/// The most bytes of commands that wait for a slow server. More are not sent.
const WAITING_BYTES_MAX: usize = 2 << 20;

/// The ends of the way.
#[derive(Debug)]
pub(super) struct Operators {
    /// Stands before the subjects, with a dot at its end.
    prefix: String,
    link: NodeLink,
    /// The core that answers; `None` in a build that has no answers.
    core: Option<Mailbox>,
    is_subscribed: bool,
    /// The log says that the server refuses this.
    is_refused: bool,
}

impl Operators {
    pub(super) fn new(prefix: Option<&str>, link: NodeLink, core: Option<Mailbox>) -> Self {
        let core = core.filter(|_| cfg!(feature = "admin"));
        Self { prefix: prefix.unwrap_or_default().to_owned(), link, core, is_subscribed: false, is_refused: false }
    }

    /// A connection subscribes from now on.
    pub(super) fn connected(&mut self) {
        self.is_subscribed = false;
    }

    /// The largest message that is read.
    pub(super) fn payload_bytes_max(&self) -> usize {
        if self.core.is_some() { FRAME_BYTES_MAX } else { 0 }
    }

    /// Sends what waits. Without a connection it is lost: who asks has given up before there is the next one.
    pub(super) fn act(&mut self, mut commands: Option<&mut Commands>, message_bytes_max: usize) {
        if self.core.is_none() {
            return;
        }
        if let Some(commands) = &mut commands
            && !std::mem::replace(&mut self.is_subscribed, true)
        {
            let Self { prefix, link, .. } = &*self;
            commands.push(Command::Subscribe(ALL_SID, format!("{prefix}{ALL}"), None));
            commands.push(Command::Subscribe(OWN_SID, format!("{prefix}{ALL}.{:016x}", link.node()), None));
            self.tell(&[]);
        }
        while let Some(Frame { to, bytes }) = self.link.take() {
            let Some(commands) = &mut commands else { continue };
            if bytes.len() > message_bytes_max || commands.waiting_bytes() >= WAITING_BYTES_MAX {
                static LIMIT: LogLimit = LogLimit::new();
                LIMIT.say(|more| log::warn!("NATS: an answer to an operator of another node is lost{more}"));
                continue;
            }
            let to = to.map_or_else(String::new, |node| format!(".{node:016x}"));
            let head = format!("PUB {}{ALL}{to} {}\r\n", self.prefix, bytes.len());
            commands.push(Command::Send([head.as_bytes(), &bytes, b"\r\n"].concat()));
        }
    }

    /// Whether a refused message was one for other nodes.
    pub(super) fn has_sent(&self, subject: &str) -> bool {
        let rest = subject.strip_prefix(&*self.prefix).and_then(|subject| subject.strip_prefix(ALL));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// The server refuses the subjects. Without operators nobody misses them, so this is no warning.
    pub(super) fn are_refused(&mut self) {
        if !std::mem::replace(&mut self.is_refused, true) {
            log::info!("NATS: the server refuses {ALL} and {ALL}.*: operators of other nodes do not reach this one");
        }
    }

    /// Takes a message of a node.
    pub(super) fn message(&self, payload: &[u8]) {
        if !payload.is_empty() {
            self.tell(payload);
        }
    }

    /// Tells the core of a message, or with an empty one that the bridge has connected. If the core is behind, it is lost.
    fn tell(&self, payload: &[u8]) {
        if let Some(core) = self.core.as_ref().filter(|_| payload.len() <= FRAME_BYTES_MAX)
            && core.post(Letter::OfNode(payload.into())).is_err()
        {
            static LIMIT: LogLimit = LogLimit::new();
            LIMIT.say(|more| log::warn!("NATS: a question or an answer of another node's operator is lost{more}"));
        }
    }
}
