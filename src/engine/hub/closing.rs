//! How connections end, in time and in order (RFC 6455 §7), and what limits do about those that do not.

use std::time::Duration;

use tungstenite::protocol::frame::coding::{Control, OpCode};

use crate::{
    engine::{
        hub::{Application, Hub},
        outbox::Sink,
        session::{Ended, Incoming, Phase},
        subscriptions::Slot,
    },
    error::{Fault, HttpFault},
    protocol::{frame, http::write_fault},
};

/// How long a connection that is being closed has to read what it was sent and to say goodbye. What the kernel still has
/// for it then has as long again, and longer only while the peer takes some.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
const CLOSE_MILLIS: u64 = CLOSE_TIMEOUT.as_millis() as u64;

/// Deadlines that are looked at in one turn; more in the next.
const DEADLINES_PER_TURN: usize = 1024;

const TOO_MANY: HttpFault = HttpFault::new(503, "this server has as many connections as it takes");

impl Hub {
    /// The connection broke a rule: it is told, and nothing that it sends is read any more.
    pub(super) fn fail(&mut self, app: &mut dyn Application, slot: Slot, fault: Fault) {
        if self.is_open(slot) {
            self.push_frame(slot, |turn| frame::encode_close(turn, fault.code, fault.reason));
        }
        self.leave(app, slot, Phase::Lingering);
    }

    /// Closes a connection with a code and a reason: what is queued is sent before.
    pub(crate) fn close(&mut self, app: &mut dyn Application, slot: Slot, code: u16, reason: &str) {
        if self.is_open(slot) {
            self.push_frame(slot, |turn| frame::encode_close(turn, code, reason));
            self.leave(app, slot, Phase::Closing);
        }
    }

    /// The peer's close frame has come: it gets ours if it has not, and that was all.
    pub(super) fn closed_by_peer(
        &mut self,
        app: &mut dyn Application,
        slot: Slot,
        payload: &[u8],
    ) -> Result<(), Fault> {
        let code = frame::decode_close(payload)?;
        if self.is_open(slot) {
            self.push_frame(slot, |turn| match code {
                Some(code) => frame::encode_close(turn, code, ""),
                None => frame::encode(turn, OpCode::Control(Control::Close), &[]),
            });
        }
        self.leave(app, slot, Phase::Ended);
        Ok(())
    }

    /// The peer has shut its side, which ends everything once it was sent what it still waits for.
    pub(crate) fn end_of_input(&mut self, app: &mut dyn Application, slot: Slot) {
        self.leave(app, slot, Phase::Ended);
    }

    /// The socket is broken, or the connection has had its time: it ends at once.
    pub(crate) fn lost(&mut self, app: &mut dyn Application, slot: Slot) {
        self.apply_run();
        self.sessions[slot as usize].is_cut |= !self.outboxes.is_empty(slot);
        self.outboxes.close(slot);
        self.leave(app, slot, Phase::Ended);
    }

    /// A connection was accepted that is one too many: it is told so, and lingers to hear it.
    pub(crate) fn turn_away(&mut self, slot: Slot) {
        self.stats.turned_away += 1;
        self.push_http(slot, |turn| write_fault(turn, TOO_MANY, &[("Retry-After", "5")]));
        self.move_on(slot, Phase::Lingering);
    }

    /// The socket of a connection that was just accepted cannot be used.
    pub(crate) fn abandon(&mut self, slot: Slot) {
        self.outboxes.close(slot);
        self.move_on(slot, Phase::Ended);
    }

    /// Moves a connection towards its end. The first time it loses its subscriptions, and the application hears of it.
    pub(super) fn leave(&mut self, app: &mut dyn Application, slot: Slot, phase: Phase) {
        self.apply_run(); // what was published before still goes to it, and whether its outbox is empty depends on that
        let was_open = self.is_open(slot);
        if was_open {
            self.unsubscribe_all(slot); // first, so that nothing more goes into its outbox
            self.forget_acks(slot);
        }
        self.move_on(slot, phase);
        if was_open {
            app.on_close(self, slot);
            self.message_done(None);
        }
    }

    /// The part of [`Hub::leave`] that is all there is to do for a connection that never opened.
    fn move_on(&mut self, slot: Slot, phase: Phase) {
        let now = self.now;
        let session = &mut self.sessions[slot as usize];
        let before = session.phase;
        session.phase = phase.max(before);
        if session.phase != Phase::Closing {
            session.incoming = None;
        }
        if before <= Phase::Open {
            session.heard = now;
            self.schedule(slot, now + CLOSE_MILLIS);
        }
        self.recount(slot);
        if self.outboxes.is_empty(slot) {
            self.emptied(slot);
        }
    }

    /// Nothing is left to be sent: a connection that only waited for that goes on.
    fn emptied(&mut self, slot: Slot) {
        let phase = &mut self.sessions[slot as usize].phase;
        match phase {
            Phase::Lingering => self.shut.push(slot),
            Phase::Ended => {
                *phase = Phase::Over;
                self.ended.push(slot);
            }
            Phase::Http | Phase::Open | Phase::Closing | Phase::Over => {}
        }
    }

    /// Sends what the turn has collected and acts on what came of it.
    pub(crate) fn flush(&mut self, app: &mut dyn Application, sink: &mut impl Sink) {
        self.apply_run();
        self.work.write(self.outboxes.dirty_len());
        if self.is_full() {
            // A turn of many publishers goes on after this: who reads as fast as they publish must not wait for the next
            // poll, or its backlog would pass the limit meanwhile. It costs a system call for each that does not read.
            self.outboxes.retry();
        }
        self.passed_on = 0;
        let mut flushed = std::mem::take(&mut self.flushed);
        self.outboxes.flush(sink, &mut flushed);
        for slot in flushed.broken.drain(..) {
            self.lost(app, slot);
        }
        for slot in flushed.emptied.drain(..) {
            self.emptied(slot);
        }
        for slot in flushed.backlogged.drain(..) {
            if self.outboxes.backlog_cost(slot) > self.limits.outbox_bytes_max {
                self.drop_backlog(app, slot);
            }
        }
        self.flushed = flushed;
        if self.kept_bytes() > self.limits.kept_bytes_max {
            self.enforce_budget(app);
        }
    }

    /// A connection does not read what it is sent: it loses its backlog, and is told why when it reads again.
    fn drop_backlog(&mut self, app: &mut dyn Application, slot: Slot) -> bool {
        match self.sessions[slot as usize].phase {
            Phase::Open => {
                self.stats.slow_consumers += 1;
                self.outboxes.truncate(slot);
                self.close(app, slot, Fault::SLOW_CONSUMER.code, Fault::SLOW_CONSUMER.reason);
                true
            }
            Phase::Http => {
                self.stats.slow_consumers += 1;
                self.lost(app, slot);
                true
            }
            Phase::Closing | Phase::Lingering | Phase::Ended | Phase::Over => false,
        }
    }

    /// The core keeps more than its share: those who make it keep the most are closed, until it does not.
    fn enforce_budget(&mut self, app: &mut dyn Application) {
        let mut offenders: Vec<(usize, Slot)> = self
            .sessions
            .iter()
            .map(|(slot, session)| (self.offence(slot as Slot) + session.incoming_bytes(), slot as Slot))
            .filter(|&(bytes, _)| bytes > 0)
            .collect();
        offenders.sort_unstable_by(|a, b| b.cmp(a));
        for (_, slot) in offenders {
            if self.kept_bytes() <= self.limits.kept_bytes_max {
                break;
            }
            if self.drop_backlog(app, slot) {
                self.stats.slow_consumers -= 1;
                self.stats.over_budget += 1;
            } else {
                self.lost(app, slot);
            }
            self.drop_incoming(slot);
        }
    }

    /// How much of what is kept for peers is a connection's fault. What waits for it counts, and so does the memory that
    /// cannot be freed while it waits, though others may wait for the same: who does not read pins the segment of every
    /// burst for a few bytes, and who reads the rest of them pins none but the newest.
    fn offence(&self, slot: Slot) -> usize {
        self.outboxes.backlog_cost(slot) + self.outboxes.pinned_bytes(slot)
    }

    /// What a connection that is told to go had sent of an unfinished message is of no use any more.
    fn drop_incoming(&mut self, slot: Slot) {
        let session = &mut self.sessions[slot as usize];
        if session.fragments().is_some() {
            // Without it the stream cannot be followed, so its own close frame will not be seen either.
            session.incoming = None;
            session.phase = if session.phase == Phase::Closing { Phase::Lingering } else { session.phase };
            self.recount(slot);
        }
    }

    /// Looks at the deadlines that have come, and says whether there were any.
    pub(crate) fn expire(&mut self, app: &mut dyn Application) -> bool {
        let mut due = Vec::new();
        self.timers.expire(Duration::from_millis(self.now), &mut self.due);
        let had_any = self.withdraw_due() | !self.due.is_empty();
        let count = self.due.len().min(DEADLINES_PER_TURN);
        due.extend(self.due.drain(..count));
        for (slot, generation) in due {
            if self.sessions.get(slot as usize).is_some_and(|session| session.generation == generation) {
                self.look_at(app, slot);
            }
        }
        had_any
    }

    fn look_at(&mut self, app: &mut dyn Application, slot: Slot) {
        let (now, session) = (self.now, &mut self.sessions[slot as usize]);
        if (session.is_paused || session.has_more) && matches!(session.phase, Phase::Http | Phase::Open) {
            session.heard = now; // it is us who do not listen
        }
        let silent = now.saturating_sub(session.heard);
        let next = match session.phase {
            Phase::Http => self.look_at_request(app, slot, silent),
            Phase::Open => self.look_at_open(app, slot, silent),
            Phase::Closing | Phase::Lingering | Phase::Ended if silent >= CLOSE_MILLIS => {
                self.lost(app, slot);
                None
            }
            Phase::Closing | Phase::Lingering | Phase::Ended => Some(CLOSE_MILLIS - silent),
            Phase::Over => None,
        };
        if let Some(wait) = next {
            self.schedule(slot, now + wait);
        }
    }

    /// An open connection: pinged when it is silent, closed when that does not help. Gives when to look again.
    fn look_at_open(&mut self, app: &mut dyn Application, slot: Slot, silent: u64) -> Option<u64> {
        let (idle, ping) = (self.limits.idle_timeout, self.limits.ping_interval);
        if idle > 0 && silent >= idle {
            self.stats.timed_out += 1;
            self.close(app, slot, Fault::IDLE.code, Fault::IDLE.reason);
            return None;
        }
        let until_idle = if idle > 0 { idle - silent } else { u64::MAX };
        let until_ping = match ping {
            0 => u64::MAX,
            _ if silent >= ping => {
                self.push_frame(slot, |turn| frame::encode(turn, OpCode::Control(Control::Ping), &[]));
                ping
            }
            _ => ping - silent,
        };
        let wait = until_idle.min(until_ping);
        (wait < u64::MAX).then_some(wait)
    }

    /// A connection that has not upgraded: late with its request, or idle between two. Gives when to look again.
    fn look_at_request(&mut self, app: &mut dyn Application, slot: Slot, silent: u64) -> Option<u64> {
        let is_idle = matches!(
            self.sessions[slot as usize].incoming.as_deref(),
            Some(Incoming::Http(request)) if request.is_reused && request.partial.is_empty() && request.body.is_none()
        );
        let limit = match (is_idle, self.limits.idle_timeout) {
            (true, 0) => return Some(self.limits.handshake_timeout), // it may begin a request by then
            (true, idle) => idle,
            (false, _) => self.limits.handshake_timeout,
        };
        if silent < limit {
            return Some((limit - silent).min(self.limits.handshake_timeout));
        }
        self.stats.timed_out += 1;
        if self.sessions[slot as usize].incoming_bytes() > 0 {
            let fault = HttpFault::new(408, "the request took too long");
            self.push_http(slot, |turn| write_fault(turn, fault, &[]));
            self.leave(app, slot, Phase::Lingering);
        } else {
            self.lost(app, slot);
        }
        None
    }

    /// Begins to stop: new clients are turned away, and from here on nothing is published on this core, which its peers are
    /// told behind all that was.
    pub(crate) fn stop_publishing(&mut self) {
        self.is_draining = true;
        self.relays.tell_stopping();
    }

    /// A peer core has ended.
    pub(crate) fn peer_has_ended(&mut self, peer: u32) {
        self.relays.has_stopped(peer);
    }

    /// Whether all that the peer cores had published has come.
    pub(crate) fn have_peers_stopped(&self) -> bool {
        self.relays.have_all_stopped()
    }

    /// Stops serving: every client is told to go (1001), and new ones are turned away.
    pub(crate) fn drain(&mut self, app: &mut dyn Application) {
        self.is_draining = true;
        self.relays.let_go();
        let slots: Vec<Slot> = self.sessions.iter().map(|(slot, _)| slot as Slot).collect();
        for slot in slots {
            self.close(app, slot, Fault::GOING_AWAY.code, Fault::GOING_AWAY.reason);
        }
    }

    /// Whether all that was queued has been sent, and whether nobody is left at all.
    pub(crate) fn drained(&self) -> (bool, bool) {
        let is_sent = self.sessions.iter().all(|(slot, _)| self.outboxes.is_empty(slot as Slot));
        (is_sent, self.sessions.is_empty())
    }

    /// Connections whose sending side is to be shut now.
    pub(crate) fn take_shut(&mut self, shut: &mut Vec<Slot>) {
        shut.append(&mut self.shut);
    }

    /// Forgets the connections that are over and gives them: their sockets are to be closed before the next
    /// [`Hub::open`].
    pub(crate) fn reap(&mut self, ended: &mut Vec<Ended>) {
        for slot in self.ended.drain(..) {
            self.outboxes.close(slot);
            let session = self.sessions.remove(slot as usize);
            ended.push(Ended { slot, is_cut: session.is_cut });
        }
    }
}
