//! Who is present on the nodes of a cluster: the bridge gets this core's own members, and brings those of other nodes.

use crate::engine::{
    hub::Hub,
    log_limit::LogLimit,
    presence::Allowance,
    relay::{MemberItem, OWN},
};

/// Work for a member.
const MEMBER_UNITS: u64 = 64;

impl Hub {
    /// Tells the bridge of own members, if that is due. Returns whether it was.
    pub(super) fn share_members(&mut self) -> bool {
        let (router, mut items) = (&mut self.router, 0);
        let is_bridge_near = router.relays.takes_members();
        let (presence, relays) = (&mut router.presence, &mut router.relays);
        let was_due = presence.share(is_bridge_near, |item| {
            relays.put_member(item);
            items += 1;
        });
        router.work.add(MEMBER_UNITS * items);
        was_due
    }

    /// Removes members of other nodes who are gone.
    pub(super) fn sweep_members(&mut self) {
        if self.router.presence.is_sweeping() {
            let looks = self.router.presence.sweep();
            self.router.work.add(looks as u64);
        }
    }

    /// Takes an item of the bridge.
    pub(super) fn relayed_members(&mut self, item: &MemberItem<'_>) {
        self.router.work.add(MEMBER_UNITS);
        let presence = &mut self.router.presence;
        match *item {
            MemberItem::State => presence.want_state(),
            MemberItem::Ask { source: OWN, id } => presence.want_sum(id),
            MemberItem::Ask { source, id } => {
                let sum = presence.sum(source);
                self.router.relays.put_member(&MemberItem::Sum { source, id, sum });
            }
            MemberItem::Begin(source) => presence.begin_state(source),
            MemberItem::End(source) => presence.end_state(source),
            MemberItem::Gone(source) => presence.source_is_gone(source),
            MemberItem::Member(source, ref member) => {
                // Another node may have other rules.
                if self.limits.rules.presence(member.name).is_some() {
                    let allowance = self.allowance();
                    if !self.router.presence.take_member(source, member, allowance) {
                        static LIMIT: LogLimit = LogLimit::new();
                        LIMIT.say(|more| log::warn!("presence: no memory for members of other nodes{more}"));
                    }
                }
            }
            MemberItem::Rules | MemberItem::Sum { .. } => {} // only for the bridge
        }
    }

    /// The memory for members of other nodes: information gets the same as that of own users, and names twice as much.
    fn allowance(&self) -> Allowance {
        if self.has_room_for_info() {
            Allowance::All
        } else if self.router.presence.bytes() < self.limits.kept_bytes_max / 2 {
            Allowance::Names
        } else {
            Allowance::Nothing
        }
    }
}
