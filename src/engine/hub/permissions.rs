//! What a connection may do: the rules for channels, applied to its identity (PROTOCOL.md §9).

use crate::{
    engine::{
        hub::Hub,
        router::work::{REFUSAL_UNITS, RULE_UNITS},
        rules::Asker,
        slot::Slot,
    },
    error::Refusal,
    protocol::{
        channel::{Kind, not_allowed},
        message::encode_ended_subscription,
    },
    token::Claims,
};

/// A name and its kind.
pub(super) type Name = (Box<[u8]>, Kind);

impl Hub {
    /// Checks that a client may publish to a checked channel. `renewed` are the claims of a token that the same message
    /// brings. Returns whether the message must carry the name of its user.
    ///
    /// # Errors
    /// `forbidden`.
    #[inline]
    pub(crate) fn may_publish(&mut self, slot: Slot, renewed: Option<&Claims>, name: &[u8]) -> Result<bool, Refusal> {
        if self.limits.rules.is_open() { Ok(false) } else { self.check_publish(slot, renewed, name) }
    }

    #[inline(never)]
    fn check_publish(&mut self, slot: Slot, renewed: Option<&Claims>, name: &[u8]) -> Result<bool, Refusal> {
        let asker = renewed.map_or_else(|| self.asker(slot), Asker::User);
        let verdict = self.limits.rules.publish(asker, name);
        self.router.work.add(RULE_UNITS * (1 + verdict.steps));
        if verdict.is_allowed { Ok(verdict.stamps) } else { Err(not_allowed("publish to", name)) }
    }

    /// Whether a message repeats the head of another client's last message, and the client may publish there, too. So the
    /// messages of many users of a room are not parsed, although each user has a grant of its own. Only the rules are asked:
    /// all else that was checked is the same for every client.
    #[inline(never)]
    pub(super) fn takes_over_head(&mut self, slot: Slot, payload: &[u8]) -> bool {
        let grant = self.sessions[slot].grant();
        if !self.router.has_last_head(payload) || self.grants.has_run_out(grant) {
            return false;
        }
        // A stamp would make it another message.
        let names = self.router.head_names();
        let may_publish = names.iter().all(|name| matches!(self.may_publish(slot, None, name.of(payload)), Ok(false)));
        if may_publish {
            self.router.give_head_to(grant);
        }
        may_publish
    }

    /// Checks that a client may subscribe to a checked name, as [`Hub::may_publish`] does.
    ///
    /// # Errors
    /// `forbidden`.
    pub(crate) fn may_subscribe(
        &mut self,
        slot: Slot,
        renewed: Option<&Claims>,
        name: &[u8],
        kind: Kind,
    ) -> Result<(), Refusal> {
        if self.limits.rules.is_open() {
            return Ok(());
        }
        let asker = renewed.map_or_else(|| self.asker(slot), Asker::User);
        let verdict = self.limits.rules.subscribe(asker, name, kind);
        self.router.work.add(RULE_UNITS * (1 + verdict.steps));
        if verdict.is_allowed { Ok(()) } else { Err(not_allowed("subscribe to", name)) }
    }

    /// Who a connection is for the rules.
    fn asker(&self, slot: Slot) -> Asker<'_> {
        self.grants.asker(self.sessions[slot].grant())
    }

    /// Ends the subscriptions that a connection's client may no longer have. The client gets an error for each.
    pub(super) fn end_forbidden(&mut self, slot: Slot) {
        if self.limits.rules.is_open() || self.router.subscriptions.count(slot) == 0 {
            return;
        }
        // After the end of the token only what an anonymous client may have is left.
        let grant = self.sessions[slot].grant();
        let asker = if self.grants.has_run_out(grant) { Asker::Anonymous } else { self.grants.asker(grant) };
        let (names, units) = self.forbidden(slot, asker);
        self.router.work.add(units);
        for (name, kind) in names {
            self.router.unsubscribe(slot, &name, kind, self.sessions.now());
            self.end_catch_up(slot, &name);
            self.tell_of_end(slot, &name);
        }
    }

    /// The subscriptions of a connection's client that this asker may not have.
    pub(super) fn forbidden_to(&mut self, slot: Slot, asker: Asker<'_>) -> Vec<Name> {
        let (names, units) = self.forbidden(slot, asker);
        self.router.work.add(units);
        names
    }

    /// The same, and the work to find them.
    fn forbidden(&self, slot: Slot, asker: Asker<'_>) -> (Vec<Name>, u64) {
        let (mut names, mut units) = (Vec::new(), 0);
        for (name, kind) in self.router.subscriptions.of_client(slot) {
            let verdict = self.limits.rules.subscribe(asker, name, kind);
            units += RULE_UNITS * (1 + verdict.steps);
            if !verdict.is_allowed {
                names.push((name.into(), kind));
            }
        }
        (names, units)
    }

    /// Tells a client that one of its subscriptions has ended.
    fn tell_of_end(&mut self, slot: Slot, name: &[u8]) {
        let refusal = not_allowed("stay subscribed to", name);
        self.stats.subscriptions_ended += 1;
        self.router.work.add(REFUSAL_UNITS);
        let mut payload = std::mem::take(&mut self.scratch);
        payload.clear();
        encode_ended_subscription(&mut payload, &refusal, name);
        self.send(slot, true, &payload);
        self.scratch = payload;
    }
}
