//! The health of the connection: up, down, or silent. Tells clients when they need not wait for other nodes, counts
//! messages that may be lost, and logs changes.

use tokio::time::{Duration, Instant};

use super::{
    tally::When,
    task::{Moving, Phase, Task, Up},
};

/// A server that owes an answer for this long counts as away.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest time between two questions to the server, so that a node that only listens detects a lost connection.
const ASKED_EVERY: Duration = Duration::from_secs(3);
/// The longest time between two looks: the bridge confirms messages and writes the log at least this often.
const TICK: Duration = Duration::from_millis(500);
/// The longest time between two looks at a server that owes an answer.
const TICK_WHILE_OWED: Duration = Duration::from_millis(125);
/// How long the client may take to connect elsewhere before clients hear that other nodes are away.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(2);

impl Task<'_> {
    /// Looks at the connection, and does the work that is due.
    pub(super) fn look(&mut self, now: Instant) {
        self.look_at = now + TICK;
        if let Phase::Up(up) = &self.phase
            && (up.epoch != self.client_state.epoch() || !self.client_state.is_up())
        {
            self.disconnected();
            if self.moving != Some(Moving::Confirmed) {
                self.moving = self.client_state.is_moving().then_some(Moving::Left);
            }
            self.phase = Phase::Down { since: now, told: String::new() };
        }
        if matches!(self.phase, Phase::Down { .. }) {
            let epoch = self.client_state.epoch();
            if !self.client_state.is_up() {
                return self.look_while_down();
            }
            self.connected();
            self.phase = Phase::Up(Up { epoch, asked_at: now, tried_at: None });
        }
        if self.moving == Some(Moving::Confirmed) {
            self.end_move();
        }
        self.look_while_up(now);
    }

    /// Logs why there is no connection, each reason once.
    fn look_while_down(&mut self) {
        let Phase::Down { since, told } = &mut self.phase else { return };
        if let Some(reason) = &self.failure
            && reason != told
        {
            log::warn!("NATS: cannot connect to {}: {reason}; retrying", self.lasting.access.shown());
            told.clone_from(reason);
        }
        if since.elapsed() > RECONNECT_TIMEOUT && self.lasting.progress.is_online {
            self.end_move();
            self.go_offline();
        }
        self.lasting.show_counts();
    }

    fn connected(&mut self) {
        self.failure = None;
        self.lasting.progress.is_silent = false;
        self.lasting.set_publish_bytes_max(self.client.max_payload());
        let server = match self.current() {
            Some(connection) => connection.url.clone(),
            None => self.lasting.access.shown(),
        };
        if self.client_state.is_moving() {
            log::info!("NATS: moved to {server}");
            return;
        }
        match self.lasting.take_publish_drops(When::Now) {
            None => log::info!("NATS: connected to {server}"),
            Some((dropped, channel)) => log::warn!(
                "NATS: connected to {server}; while it was away {dropped} messages for other nodes were dropped, since they did not fit nats-buffer; one of them on {channel}",
            ),
        }
    }

    /// Counts messages that may be lost with the connection.
    fn disconnected(&mut self) {
        let lost = self.lasting.progress.cut(self.client_state.taken_at_cut());
        if self.client_state.is_moving() && lost == 0 {
            return; // the bridge has caused this
        }
        self.end_move();
        self.lasting.counts.nats_disconnects += 1;
        self.lasting.counts.nats_possibly_lost += lost;
        self.lasting.show_counts();
        self.go_offline();
        let (server, why) = &self.last_end;
        log::warn!(
            "NATS: the connection to {server} is lost ({why}); {lost} messages were in flight and may be lost; new ones wait in nats-buffer"
        );
    }

    /// Asks the server when there is something to confirm.
    fn look_while_up(&mut self, now: Instant) {
        let taken = self.client_state.taken();
        let must_confirm = self.lasting.progress.unconfirmed(taken) > 0;
        let is_rotated = self.lasting.access.is_rotated();
        let Some(at) = self.current_index() else { return };
        let Phase::Up(up) = &mut self.phase else { return };
        let server = &mut self.connections[at];
        if let Some(Moving::Arriving { until }) = self.moving {
            return self.look_while_arriving(until, now);
        }
        if must_confirm || now.duration_since(up.asked_at) >= ASKED_EVERY {
            server.commands.ask_for_arrival();
            up.asked_at = now;
        }
        let owes_since = server.commands.owes_since();
        let must_move = server.is_lame || is_rotated;
        self.lasting.progress.note_taken(taken);
        match owes_since {
            Some(since) if now.saturating_duration_since(since) >= ANSWER_TIMEOUT => self.silent(),
            _ if self.lasting.progress.is_silent => {
                // The server answers again. The cores hear of it when it has confirmed their interest.
                self.lasting.progress.retract();
                self.hearing.has_news = true;
            }
            _ => {}
        }
        if must_move {
            self.start_move(now);
        }
        self.lasting.log_drops(When::Due);
        self.lasting.show_counts();
        if owes_since.is_some() {
            self.look_at = now + TICK_WHILE_OWED;
        }
    }

    /// The server is connected and does not answer: it is stopped, or overloaded.
    fn silent(&mut self) {
        if self.lasting.progress.is_online {
            log::warn!(
                "NATS: the server does not answer; until it does, new messages for other nodes wait in nats-buffer"
            );
            self.lasting.progress.is_silent = true;
            self.go_offline();
        }
    }

    /// Tells clients that other nodes are away, and asks for everything again.
    fn go_offline(&mut self) {
        self.lasting.go_offline();
        self.hearing.has_news = true;
    }
}
