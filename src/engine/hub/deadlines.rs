//! Deadlines: pings, silence, late requests, and connections that take too long to close.

use std::time::Duration;

use tungstenite::protocol::frame::coding::{Control, OpCode};

use crate::{
    engine::{
        hub::{Application, Hub, closing::CLOSE_MILLIS},
        session::{Incoming, Phase},
        subscriptions::Slot,
    },
    error::{Fault, HttpFault},
    protocol::{frame, http::write_fault},
};

impl Hub {
    /// Looks at the deadlines that have come, and says whether there were any.
    pub(crate) fn expire(&mut self, app: &mut dyn Application) -> bool {
        let mut due = Vec::new();
        self.timers.expire(Duration::from_millis(self.now), &mut due);
        let had_any = !due.is_empty();
        for (slot, generation) in due {
            if self.sessions.get(slot as usize).is_some_and(|session| session.generation == generation) {
                self.look_at(app, slot);
            }
        }
        had_any
    }

    fn look_at(&mut self, app: &mut dyn Application, slot: Slot) {
        let (now, session) = (self.now, &mut self.sessions[slot as usize]);
        if session.is_paused && matches!(session.phase, Phase::Http | Phase::Open) {
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

    pub(super) fn schedule(&mut self, slot: Slot, at: u64) {
        let generation = self.sessions[slot as usize].generation;
        self.timers.schedule(slot, generation, Duration::from_millis(at));
    }
}
