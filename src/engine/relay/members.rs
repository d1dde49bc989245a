//! The items between a home and the bridge about who is present on the nodes of a cluster.

use super::{
    Relays,
    history::{take_flag, take_u32, take_u64},
    item::{put_long, put_members, put_short, take_long, take_short},
};

/// The source that is the core itself.
pub(crate) const OWN: u32 = 0;
/// While this many bytes of interest wait for the bridge, members wait behind them.
const INTEREST_BYTES_MAX: usize = 16 * 1024;

const RULES: u8 = 0;
const STATE: u8 = 1;
const BEGIN: u8 = 2;
const MEMBER: u8 = 3;
const END: u8 = 4;
const GONE: u8 = 5;
const ASK: u8 = 6;
const SUM: u8 = 7;

/// An item about members. A source is a core of another node, by the number that the bridge has given it, or [`OWN`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MemberItem<'b> {
    /// To the bridge: there are rules with presence, or other ones than before.
    Rules,
    /// From the bridge: all own members are wanted.
    State,
    /// All members of a source follow.
    Begin(u32),
    /// A member, as it is from now on.
    Member(u32, Member<'b>),
    /// Members of a source that were not named since the last beginning are gone.
    End(u32),
    /// From the bridge: a source is gone, with all its members.
    Gone(u32),
    /// From the bridge: the sum of a source's members is wanted, see [`Member::sum`].
    Ask { source: u32, id: u32 },
    /// To the bridge: the sum that was asked for; `None` while it changes.
    Sum { source: u32, id: u32, sum: Option<u64> },
}

/// A user in a channel, on one core of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member<'b> {
    pub(crate) name: &'b [u8],
    pub(crate) user: &'b str,
    /// Its connections there. 0: it is gone.
    pub(crate) connections: u32,
    /// When it came, in Unix seconds.
    pub(crate) since: u64,
    /// JSON, and when it was set, in Unix milliseconds.
    pub(crate) info: Option<(&'b str, u64)>,
}

impl Member<'_> {
    /// The members of a source are summed up, so that two nodes can see whether they know the same. It is FNV-1a of the
    /// channel, a zero, the user, a zero and the connections, with its bits mixed at the end.
    pub(crate) fn sum(name: &[u8], user: &str, connections: u32) -> u64 {
        if connections == 0 {
            return 0;
        }
        let count = connections.to_le_bytes();
        let bytes = name.iter().chain(&[0]).chain(user.as_bytes()).chain(&[0]).chain(&count);
        let hash = bytes
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^ hash >> 33
    }

    /// About how many bytes it takes in a batch.
    pub(crate) fn len(&self) -> usize {
        32 + self.name.len() + self.user.len() + self.info.map_or(0, |(info, _)| info.len())
    }
}

pub(super) fn next<'b>(tag: u8, batch: &mut &'b [u8]) -> MemberItem<'b> {
    match tag {
        RULES => MemberItem::Rules,
        STATE => MemberItem::State,
        BEGIN => MemberItem::Begin(take_u32(batch)),
        MEMBER => MemberItem::Member(take_u32(batch), take_member(batch)),
        END => MemberItem::End(take_u32(batch)),
        GONE => MemberItem::Gone(take_u32(batch)),
        ASK => MemberItem::Ask { source: take_u32(batch), id: take_u32(batch) },
        _ => {
            let (source, id) = (take_u32(batch), take_u32(batch));
            MemberItem::Sum { source, id, sum: take_flag(batch).then(|| take_u64(batch)) }
        }
    }
}

fn take_member<'b>(batch: &mut &'b [u8]) -> Member<'b> {
    let text = |bytes| std::str::from_utf8(bytes).expect("members are written from texts");
    let (name, user) = (take_short(batch), text(take_short(batch)));
    let (connections, since) = (take_u32(batch), take_u64(batch));
    let info = take_flag(batch).then(|| (text(take_long(batch)), take_u64(batch)));
    Member { name, user, connections, since, info }
}

/// Appends an item.
pub(crate) fn put(batch: &mut Vec<u8>, item: &MemberItem<'_>) {
    let mut begin = |tag, numbers: &[u32]| {
        put_members(batch, tag);
        numbers.iter().for_each(|number| batch.extend_from_slice(&number.to_le_bytes()));
    };
    match *item {
        MemberItem::Rules => begin(RULES, &[]),
        MemberItem::State => begin(STATE, &[]),
        MemberItem::Begin(source) => begin(BEGIN, &[source]),
        MemberItem::End(source) => begin(END, &[source]),
        MemberItem::Gone(source) => begin(GONE, &[source]),
        MemberItem::Ask { source, id } => begin(ASK, &[source, id]),
        MemberItem::Sum { source, id, sum } => {
            begin(SUM, &[source, id]);
            batch.push(u8::from(sum.is_some()));
            sum.iter().for_each(|sum| batch.extend_from_slice(&sum.to_le_bytes()));
        }
        MemberItem::Member(source, Member { name, user, connections, since, info }) => {
            begin(MEMBER, &[source]);
            put_short(batch, name);
            put_short(batch, user.as_bytes());
            batch.extend_from_slice(&connections.to_le_bytes());
            batch.extend_from_slice(&since.to_le_bytes());
            batch.push(u8::from(info.is_some()));
            if let Some((info, at)) = info {
                put_long(batch, info.as_bytes());
                batch.extend_from_slice(&at.to_le_bytes());
            }
        }
    }
}

impl Relays {
    /// Whether the bridge is near enough to get members.
    pub(crate) fn takes_members(&self) -> bool {
        self.bridge.as_ref().is_some_and(|bridge| bridge.interest.len() < INTEREST_BYTES_MAX)
    }

    /// Hands the bridge an item about members.
    pub(crate) fn put_member(&mut self, item: &MemberItem<'_>) {
        if let Some(bridge) = &mut self.bridge {
            put(&mut bridge.interest, item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::relay::{self, Item};

    #[test]
    fn items_are_read_as_they_were_written() {
        let member = Member { name: b"room", user: "mike", connections: 2, since: 7, info: Some(("{}", 8)) };
        let items = [
            MemberItem::Rules,
            MemberItem::State,
            MemberItem::Begin(3),
            MemberItem::Member(3, member),
            MemberItem::Member(OWN, Member { info: None, connections: 0, ..member }),
            MemberItem::End(3),
            MemberItem::Gone(4),
            MemberItem::Ask { source: 4, id: 5 },
            MemberItem::Sum { source: 4, id: 5, sum: Some(6) },
            MemberItem::Sum { source: 4, id: 5, sum: None },
        ];
        let mut batch = Vec::new();
        items.iter().for_each(|item| put(&mut batch, item));
        let mut rest = &batch[..];
        let read: Vec<_> = std::iter::from_fn(|| relay::next(&mut rest)).collect();
        assert_eq!(read, items.map(Item::Members));
    }

    #[test]
    fn a_sum_is_the_same_in_every_build() {
        assert_eq!(Member::sum(b"room", "mike", 0), 0);
        assert_eq!(Member::sum(b"room", "mike", 1), 1_447_202_034_600_461_850);
    }
}
