//! Deadlines: pings, idle connections, late messages and requests, and connections that take too long to close.
//!
//! All of them use the time for which the core has run ([`crate::engine::clock`]). No peer misses a deadline before its
//! input was read.

use crate::{
    engine::{
        application::Application,
        hub::{Hub, closing::CLOSE_MILLIS, ends::End},
        session::{Incoming, Phase},
        slot::Slot,
        stats::Why,
    },
    error::{Fault, HttpFault},
    protocol::http::write_fault,
};

/// The most connections that one turn checks: thousands that connected together are due together, and a turn must end.
const LOOKS_PER_TURN: usize = 1024;

/// The most work of these checks in one turn, in units: tokens that run out together end many subscriptions.
const LOOK_UNITS: u64 = 1024 * 1024;

/// No deadline.
pub(super) const NEVER: u64 = u64::MAX;

impl Hub {
    /// Checks the connections whose deadlines have come. Returns whether there were any. Call this after all input was
    /// read; `has_unread` names the connections that may have unread input. A late turn checks none of them, because
    /// more input may have come than its poll reported.
    pub(crate) fn look_at_due(&mut self, app: &mut dyn Application, has_unread: impl Fn(Slot) -> bool) -> bool {
        let has_withdrawn =
            self.router.withdraw_due(self.sessions.now()) | self.expire_history() | self.expire_presence();
        if self.sessions.reads_first() {
            return has_withdrawn;
        }
        let had_any = has_withdrawn | self.sessions.find_due();
        let begun = self.router.work.done();
        for _ in 0..LOOKS_PER_TURN {
            if self.router.is_full() || self.router.work.done() - begun >= LOOK_UNITS {
                break;
            }
            let Some(next) = self.sessions.next_due() else { break };
            let Some(slot) = next else { continue };
            let session = &self.sessions[slot];
            let waits_unread = match session.phase() {
                Phase::Http => true,
                Phase::Open => session.heard != self.sessions.now(),
                Phase::Closing | Phase::Lingering | Phase::Ended | Phase::Over => false, // independent of its input
            };
            if waits_unread && has_unread(slot) {
                self.sessions.schedule(slot, self.sessions.now());
            } else {
                self.look_at(app, slot);
            }
        }
        had_any
    }

    /// Checks all connections whose deadlines have come, as if all input was read.
    #[cfg(test)]
    pub(crate) fn expire(&mut self, app: &mut dyn Application) -> bool {
        self.look_at_due(app, |_| false)
    }

    fn look_at(&mut self, app: &mut dyn Application, slot: Slot) {
        let now = self.sessions.now();
        let session = &mut self.sessions[slot];
        if (session.is_paused() || session.has_more()) && matches!(session.phase(), Phase::Http | Phase::Open) {
            session.excuse(now);
        }
        let silent = session.silent(now);
        let next = match session.phase() {
            Phase::Http => self.look_at_request(app, slot, silent),
            Phase::Open => self.look_at_open(app, slot, silent),
            Phase::Closing | Phase::Lingering | Phase::Ended if silent >= CLOSE_MILLIS => {
                self.drop_for(app, slot, Why::Lost, format_args!("it has taken too long to close"));
                None
            }
            Phase::Closing | Phase::Lingering | Phase::Ended => Some(CLOSE_MILLIS - silent),
            Phase::Over => None,
        };
        if let Some(wait) = next.filter(|&wait| wait < NEVER) {
            self.sessions.schedule(slot, now + wait);
        }
    }

    /// Checks an open connection. Returns the time until the next check, unless it is closed.
    fn look_at_open(&mut self, app: &mut dyn Application, slot: Slot, silent: u64) -> Option<u64> {
        let (now, limit) = (self.sessions.now(), self.limits.message_timeout);
        let since = self.sessions[slot].fragments().map(|fragments| fragments.since);
        let until_whole = match since {
            Some(since) if limit > 0 && now >= since + limit => {
                self.fail(app, slot, Fault::MESSAGE_TIMEOUT);
                return None;
            }
            Some(since) if limit > 0 => since + limit - now,
            _ => NEVER,
        };
        let until_end = self.look_at_token(app, slot)?;
        let until_silent = self.look_at_silence(app, slot, silent)?;
        Some(until_whole.min(until_silent).min(until_end))
    }

    /// Pings a silent open connection, and closes it if it did not answer in time. Returns the time until the next
    /// check, unless it is closed.
    fn look_at_silence(&mut self, app: &mut dyn Application, slot: Slot, silent: u64) -> Option<u64> {
        let (now, ping) = (self.sessions.now(), self.limits.ping_interval);
        let (idle, until_idle) = match self.limits.idle_timeout {
            0 => (NEVER, NEVER),
            idle => (idle, idle.saturating_sub(silent)),
        };
        if ping > 0 && silent < ping {
            return Some(ping - silent);
        }
        let session = &mut self.sessions[slot];
        // If the peer was not pinged yet, because the core stood still or the times were changed, it is pinged before
        // it is closed.
        let was_asked = ping == 0 || session.is_asked();
        if silent >= idle && was_asked {
            self.close(app, slot, Fault::IDLE.parts(), Why::Idle);
            return None;
        }
        if ping == 0 {
            return Some(until_idle);
        }
        session.ask(now, ping);
        let until_idle = idle.saturating_sub(session.silent(now)).max(1);
        let encoding = session.encoding;
        self.router.push(slot, |turn| encoding.ping(turn));
        Some(ping.min(until_idle))
    }

    /// Checks a connection that has not upgraded: its request may be late, or it is idle between two. Returns the time
    /// until the next check.
    fn look_at_request(&mut self, app: &mut dyn Application, slot: Slot, silent: u64) -> Option<u64> {
        let Some(Incoming::Http(request)) = self.sessions[slot].incoming.as_deref() else { return None };
        let has_begun = !request.partial.is_empty() || request.body.is_some();
        let is_idle = request.is_reused && !has_begun;
        let is_reserved = request.arrival.is_reserved;
        let limit = match (is_idle, self.limits.http_keep_alive) {
            (true, 0) => return Some(self.limits.handshake_timeout), // it may begin a request by then
            (true, idle) => idle,
            (false, _) => self.request_timeout(is_reserved),
        };
        if silent < limit {
            return Some((limit - silent).min(self.limits.handshake_timeout));
        }
        let why = if is_idle { Why::Done } else { Why::Late }; // an idle connection that ends is routine
        if is_reserved {
            self.turn_away(slot, why);
        } else if has_begun {
            let fault = HttpFault::new(408, "the request took too long");
            self.push_http(slot, |turn| write_fault(turn, fault, &[]));
            self.leave(app, slot, Phase::Lingering, (why, End::Answered(fault.status)));
        } else {
            let said = if is_idle { "idle between two requests" } else { "no request came in time" };
            self.drop_for(app, slot, why, format_args!("{said}"));
        }
        None
    }
}
