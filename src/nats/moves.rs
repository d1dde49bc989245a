//! Moves to another server before this one closes its connections, or to a new connection with other credentials, without a
//! gap: the old connection goes on receiving until the new one has confirmed all subscriptions.

use std::sync::Arc;

use tokio::time::{Duration, Instant};

use super::{
    dial::{Dialed, Failures, dial},
    duplicates::Duplicates,
    task::{Moving, Phase, Task},
};

/// How often a move is tried while the old server is still there.
const MOVE_EVERY: Duration = Duration::from_secs(1);
/// The time limit for the old server to confirm all messages.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the old server is asked whether it has everything.
const ARRIVAL_TICK: Duration = Duration::from_millis(5);
/// How long two connections both receive, once the new one has confirmed all subscriptions. By then the old one has
/// brought all messages that other servers of the cluster had sent to its server.
const OVERLAP: Duration = Duration::from_millis(250);

impl Task<'_> {
    /// Dials another server, unless a move is under way or was tried a moment ago.
    pub(super) fn start_move(&mut self, now: Instant) {
        let (Some(at), Phase::Up(up)) = (self.current_index(), &mut self.phase) else { return };
        if matches!(self.moving, Some(Moving::Dialing { .. } | Moving::Arriving { .. }))
            || up.tried_at.is_some_and(|at| now.duration_since(at) < MOVE_EVERY)
        {
            return;
        }
        let is_first = up.tried_at.replace(now).is_none();
        self.moving = Some(Moving::Dialing { is_first });
        let server = &self.connections[at];
        let except = server.is_lame.then_some(&*server.url);
        if let Some(url) = except {
            self.lasting.candidates.has_failed(url, now);
        }
        let (access, choice) = (Arc::clone(&self.lasting.access), self.lasting.candidates.choose(except));
        self.dials.abort_all(); // for a connection that was lost
        self.dials.spawn(async move {
            let mut failures = Vec::new();
            (dial(&access, &choice, &mut failures).await, failures)
        });
    }

    /// The dial of the other server has succeeded or failed. From now on messages wait; the old connection goes on
    /// receiving.
    pub(super) fn dialed(&mut self, dialed: Result<Box<Dialed>, String>, failures: Failures) {
        self.note_failures(failures);
        let Some(Moving::Dialing { is_first }) = self.moving else { return }; // the client has lost its connection since
        let (server, is_lame) = match self.current() {
            Some(connection) => (connection.url.clone(), connection.is_lame),
            None => (self.last_end.0.clone(), false),
        };
        match dialed {
            Ok(dialed) => {
                match is_lame {
                    true => log::info!("NATS: {server} is about to close its connections"),
                    false => log::info!("NATS: credentials have changed: connecting again"),
                }
                self.lasting.candidates.learn_of(&dialed.info.connect_urls);
                self.dialed = Some(dialed);
                self.moving = Some(Moving::Arriving { until: Instant::now() + ARRIVAL_TIMEOUT });
                self.client_state.set_moving(true);
                self.must_look();
            }
            Err(reason) => {
                if is_first {
                    log::warn!("NATS: the node must leave {server}, but no other server can be reached: {reason}");
                }
                self.moving = self.client_state.is_moving().then_some(Moving::Left);
            }
        }
    }

    /// Makes the client leave the old connection as soon as the server has everything.
    pub(super) fn look_while_arriving(&mut self, until: Instant, now: Instant) {
        let Some(at) = self.current_index() else { return };
        if self.has_unconfirmed() && now < until {
            self.connections[at].commands.ask_for_arrival();
            self.look_at = now + ARRIVAL_TICK;
            return;
        }
        self.lasting.duplicates = Some(Duplicates::default());
        self.connections[at].leave();
        self.moving = Some(Moving::Left);
    }

    /// The connection that subscribes has confirmed all interest, so those that the client has left are not needed for long.
    pub(super) fn end_overlap(&mut self, now: Instant) {
        let close_at = now + OVERLAP;
        for connection in self.connections.iter_mut().filter(|connection| connection.is_leaving) {
            connection.close_at.get_or_insert(close_at);
        }
        if let Some(duplicates) = &mut self.lasting.duplicates {
            // The new connection still brings the last messages of the old one.
            duplicates.ends_at.get_or_insert(close_at + OVERLAP);
        }
        if matches!(self.moving, Some(Moving::Left | Moving::Confirmed)) {
            self.moving = Some(Moving::Confirmed);
            self.must_look();
        }
    }

    /// The client has another server, so it may get messages again.
    pub(super) fn end_move(&mut self) {
        self.client_state.set_moving(false);
        self.moving = None;
    }
}
