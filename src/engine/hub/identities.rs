//! Who a connection is, and the end of its token (PROTOCOL.md §8).

use std::sync::Arc;

use crate::{
    engine::{
        application::Application,
        grants::Identity,
        hub::{Hub, deadlines::NEVER},
        rules::Asker,
        session::Grant,
        slot::Slot,
        stats::Why,
    },
    error::{Fault, Reason, Refusal},
    token::{Claims, LEEWAY_SECONDS},
};

/// The time for a client whose token has run out to give a new one, in milliseconds.
const RENEWAL_MILLIS: u64 = 30_000;

/// The message and the close reason of a connection whose token has run out.
const RUN_OUT: &str = "the token has run out: send a new one in a token header";

impl Hub {
    /// Gives a connection another identity. It loses the subscriptions that its client may not have with it. Returns false
    /// if this core has no place for one more identity; then nothing changes.
    pub(crate) fn identify(&mut self, slot: Slot, identity: Identity) -> bool {
        let Some(grant) = self.grants.hold(identity) else { return false };
        self.tell_moves();
        self.replace_grant(slot, grant);
        if grant.number().is_some() {
            self.sessions.keeps(slot);
        }
        if self.sessions.is_open(slot) {
            self.schedule_token(slot);
            self.end_forbidden(slot);
            self.router.note_all_entered(slot);
        }
        true
    }

    /// Makes a connection anonymous, because it has ended.
    pub(super) fn forget_identity(&mut self, slot: Slot) {
        self.replace_grant(slot, Grant::ANONYMOUS);
    }

    fn replace_grant(&mut self, slot: Slot, grant: Grant) {
        let session = &mut self.sessions[slot];
        let before = session.grant();
        session.set_grant(grant);
        session.set_told(false);
        if self.grants.release(before) {
            self.router.forget_head_of(before);
        }
    }

    /// The claims of a connection's token, if it has one.
    pub(crate) fn claims(&self, slot: Slot) -> Option<&Arc<Claims>> {
        self.sessions.get(slot).and_then(|session| self.grants.claims(session.grant()))
    }

    /// Whether a connection has shown the publish key.
    pub(crate) fn has_key(&self, slot: Slot) -> bool {
        self.sessions[slot].grant() == Grant::KEY
    }

    /// Whether a connection's token has run out, so that everything it asks for is refused.
    pub(crate) fn has_run_out(&self, slot: Slot) -> bool {
        self.grants.has_run_out(self.sessions[slot].grant())
    }

    /// The time of day as Unix time, in milliseconds.
    pub(crate) fn unix_millis(&self) -> u64 {
        self.wall_clock.now(self.ran).as_millis() as u64
    }

    /// Schedules the check of an open connection's token.
    pub(super) fn schedule_token(&mut self, slot: Slot) {
        if let Some(claims) = self.claims(slot) {
            let left = runs_out_at(claims).saturating_sub(self.unix_millis());
            self.sessions.schedule(slot, self.sessions.now().saturating_add(left));
        }
    }

    /// Checks the token of an open connection. If it has run out, the client is told, and has some time for a new one.
    /// Returns the time until the next check, unless the connection is closed.
    pub(super) fn look_at_token(&mut self, app: &mut dyn Application, slot: Slot) -> Option<u64> {
        let Some(claims) = self.claims(slot) else { return Some(NEVER) };
        let (now, runs_out_at) = (self.unix_millis(), runs_out_at(claims));
        if now < runs_out_at {
            return Some(runs_out_at - now);
        }
        let grant = self.sessions[slot].grant();
        let closes_at = self.grants.run_out(grant, now + RENEWAL_MILLIS);
        if !self.sessions[slot].is_told() {
            self.sessions[slot].set_told(true);
            self.router.forget_head_of(grant);
            self.stats.tokens_run_out += 1;
            for (name, kind) in self.forbidden_to(slot, Asker::Anonymous) {
                self.router.unsubscribe(slot, &name, kind, self.sessions.now());
                self.end_catch_up(slot, &name);
            }
            self.refuse(slot, &run_out(), None);
        }
        if now < closes_at {
            return Some(closes_at - now);
        }
        self.close(app, slot, Fault::TOKEN_EXPIRED.parts(), Why::Unauthorized);
        None
    }
}

/// The refusal of everything that a client asks for after its token has run out.
pub(crate) fn run_out() -> Refusal {
    Refusal::because(Reason::TokenExpired, RUN_OUT)
}

/// When a token counts as run out, in Unix milliseconds.
fn runs_out_at(claims: &Claims) -> u64 {
    claims.expires.saturating_add(LEEWAY_SECONDS).saturating_mul(1000)
}
