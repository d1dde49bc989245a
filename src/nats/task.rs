//! The state of the bridge while it has a client. One task owns it as plain data; [`super::run`] has the task's loop.

use std::sync::Arc;

use async_nats::Client;
use tokio::{net::TcpStream, task::JoinSet, time::Instant};

use super::{
    connection::Connection,
    dial::{Dialed, Failures},
    gate::{self, Login, LoginOutcome},
    lasting::Lasting,
    reconnect::{ClientEvent, ClientState},
};

/// Connections to the gate at once, those of strangers included. More are closed.
const GATE_CONNECTIONS_MAX: usize = 8;

/// Everything that the task owns.
pub(super) struct Task<'l> {
    pub(super) lasting: &'l mut Lasting,
    pub(super) client: Client,
    pub(super) client_state: Arc<ClientState>,
    /// The gate's token.
    token: Arc<str>,
    /// The reasons why the last attempts to connect have failed.
    pub(super) failure: Option<String>,
    /// Logins under way.
    pub(super) logins: JoinSet<Login>,
    /// Dials another server, so that the client can move there.
    pub(super) dials: JoinSet<(Result<Box<Dialed>, String>, Failures)>,
    /// A server that is dialed for the client's next connection.
    pub(super) dialed: Option<Box<Dialed>>,
    /// The client's connection, and those that it has left and that still receive.
    pub(super) connections: Vec<Connection>,
    /// The `id` of the connection that subscribes.
    current: Option<u64>,
    last_id: u64,
    /// The server of the last connection that has ended, and the reason.
    pub(super) last_end: (String, String),
    pub(super) phase: Phase,
    pub(super) moving: Option<Moving>,
    /// When to look at the connection's health.
    pub(super) look_at: Instant,
    pub(super) hearing: Hearing,
}

/// Whether the client is connected, as the bridge knows it.
pub(super) enum Phase {
    /// Since when it is not, and the last reason that the log has told.
    Down {
        since: Instant,
        told: String,
    },
    Up(Up),
}

/// The client is connected.
pub(super) struct Up {
    /// Of the client's state.
    pub(super) epoch: u64,
    /// When the server was last asked whether everything has arrived.
    pub(super) asked_at: Instant,
    /// When the bridge last tried to move to another server.
    pub(super) tried_at: Option<Instant>,
}

/// A move to another server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Moving {
    /// Another server is being dialed; true for the first attempt.
    Dialing { is_first: bool },
    /// The client gets no messages until the old server has everything, or until this time.
    Arriving { until: Instant },
    /// The client has left the old server.
    Left,
    /// The new server has confirmed all interest before the client is known to be connected there.
    Confirmed,
}

/// When to take in interest.
pub(super) struct Hearing {
    /// When refused names were last asked for again.
    pub(super) retried_at: Instant,
    /// When there is something to do at the latest.
    pub(super) due_at: Instant,
    /// Something was sent, or must be asked for.
    pub(super) has_news: bool,
    /// News wait until `due_at`, because the server is behind.
    pub(super) is_behind: bool,
}

impl<'l> Task<'l> {
    pub(super) fn new(
        lasting: &'l mut Lasting,
        client: Client,
        client_state: Arc<ClientState>,
        token: Arc<str>,
        now: Instant,
    ) -> Self {
        lasting.client_begins();
        lasting.set_publish_bytes_max(client.max_payload());
        Self {
            lasting,
            client,
            client_state,
            token,
            failure: None,
            logins: JoinSet::new(),
            dials: JoinSet::new(),
            dialed: None,
            connections: Vec::new(),
            current: None,
            last_id: 0,
            last_end: Default::default(),
            phase: Phase::Down { since: now, told: String::new() },
            moving: None,
            look_at: now,
            hearing: Hearing { retried_at: now, due_at: now, has_news: true, is_behind: false },
        }
    }

    /// The connection that subscribes.
    pub(super) fn current(&mut self) -> Option<&mut Connection> {
        let at = self.current_index()?;
        self.connections.get_mut(at)
    }

    /// Where in `connections` it is.
    pub(super) fn current_index(&self) -> Option<usize> {
        self.connections.iter().position(|connection| Some(connection.id) == self.current)
    }

    /// Looks at the connection's health at once.
    pub(super) fn must_look(&mut self) {
        self.look_at = Instant::now();
    }

    /// Messages that the client has not taken, or the server has not confirmed.
    pub(super) fn has_unconfirmed(&self) -> bool {
        let taken = self.client_state.taken();
        self.lasting.progress.unconfirmed(taken) > 0 || self.lasting.publisher.unsent(taken) > 0
    }

    /// True if the client may get messages. It might lose them while the server is silent.
    pub(super) fn may_publish(&self) -> bool {
        self.client_state.may_publish() && !self.lasting.progress.is_silent
    }

    /// A program has connected to the gate.
    pub(super) fn accept(&mut self, client: TcpStream) {
        if self.logins.len() + self.connections.len() >= GATE_CONNECTIONS_MAX {
            return;
        }
        let (access, choice) = (Arc::clone(&self.lasting.access), self.lasting.candidates.choose(None));
        self.logins.spawn(gate::log_in(access, choice, self.dialed.take(), Arc::clone(&self.token), client));
    }

    /// A login has ended.
    pub(super) fn logged_in(&mut self, login: Login) {
        self.note_failures(login.failures);
        self.lasting.candidates.learn_of(&login.advertised);
        match login.outcome {
            LoginOutcome::In(dialed, client) => self.establish(*dialed, client),
            LoginOutcome::Stranger => {}
            LoginOutcome::Failed(reason) => {
                self.failure = Some(reason);
                self.must_look();
            }
        }
    }

    pub(super) fn note_failures(&mut self, failures: Failures) {
        for (url, at) in failures {
            self.lasting.candidates.has_failed(&url, at);
        }
    }

    /// A server has let the client in: this connection subscribes from now on.
    fn establish(&mut self, dialed: Dialed, client: TcpStream) {
        self.last_id += 1;
        let (epoch, published_before) = (self.client_state.epoch(), self.client_state.taken_at_cut());
        self.connections.push(Connection::new(self.last_id, dialed, client, epoch, published_before));
        self.current = Some(self.last_id);
        self.lasting.stream.connected(Instant::now());
        self.lasting.members.connected(Instant::now());
        self.lasting.operators.connected();
        self.lasting.table.connected();
        self.lasting.progress.retract();
        self.hearing.has_news = true;
    }

    /// Closes a connection, which has ended for this reason, or because the client has given it up.
    pub(super) fn close(&mut self, at: usize, why: Option<String>) {
        let connection = self.connections.remove(at);
        if let Some(why) = &why {
            self.lasting.candidates.has_failed(&connection.url, Instant::now());
            log::debug!("NATS: the connection to {} ends: {why}", connection.url);
        }
        if self.current == Some(connection.id) {
            self.current = None;
            self.last_end = (connection.url, why.unwrap_or_else(|| "it does not answer".to_owned()));
        }
    }

    /// Closes the connections that the client has given up, and those that have brought all that the next one does not.
    pub(super) fn close_old(&mut self, now: Instant) {
        let epoch = self.client_state.epoch();
        let is_old = |connection: &Connection| match connection.is_leaving {
            true => connection.close_at.is_some_and(|at| at <= now),
            false => connection.epoch != epoch,
        };
        while let Some(at) = self.connections.iter().position(is_old) {
            self.close(at, None);
        }
        self.lasting.duplicates.take_if(|duplicates| duplicates.ends_at.is_some_and(|at| at <= now));
    }

    /// The client has news.
    pub(super) fn client_event(&mut self, event: ClientEvent) {
        if let ClientEvent::Failed(reason) = event {
            self.failure.get_or_insert(reason); // the gate may know a better one
        }
        self.must_look();
    }
}
