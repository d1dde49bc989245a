//! The messages by which the nodes of a cluster tell each other who is present (PROTOCOL.md §11).
//!
//! ```text
//! _LHTTP.presence.<node>       from a node to all: a message of one of its cores
//! _LHTTP.presence-ask.<node>   to a node: the whole state of one of its cores is wanted
//! ```
//! With `nats-prefix` the subjects begin with it. No client of lhttp can name them as channels. A stranger that may publish there
//! can send any bytes: nothing in a message is taken for granted.

use serde::de::IgnoredAny;

use crate::{engine::relay::Member, protocol::channel};

/// The numbers of the subscriptions to messages, and to questions.
pub(super) const MEMBERS_SID: u64 = (1 << 51) + 1;
pub(super) const ASKED_SID: u64 = (1 << 51) + 2;
/// The largest message, in bytes. A member takes less than half of it.
pub(super) const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// The most cores of a node.
pub(super) const CORES_MAX: usize = 64;

const MEMBERS: &str = "_LHTTP.presence.";
const ASK: &str = "_LHTTP.presence-ask.";
/// The first byte of each message.
const VERSION: u8 = 1;
const USER_BYTES_MAX: usize = 128;
const INFO_BYTES_MAX: usize = 4096;
/// More connections of a user on a core than a core can have.
const CONNECTIONS_MAX: u32 = 1 << 24;

const CHANGES: u8 = 0;
const BEGIN: u8 = 1;
const END: u8 = 2;
const DIGEST: u8 = 3;
const GOODBYE: u8 = 4;

/// A message of a core.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MemberLine<'b> {
    /// Message `number` of the core: these members, for [`next_member`], are as it says from now on.
    Changes { number: u64, members: &'b [u8] },
    /// Message `number`: all members of the core follow.
    Begin { number: u64 },
    /// Message `number`: they have come. Others are gone.
    End { number: u64 },
    /// The core's last message had this number, and the sum of its members was this. `is_hello`: the node has not heard of
    /// the others.
    Digest { number: u64, sum: u64, is_hello: bool },
    /// The node ends.
    Goodbye,
}

/// The subjects of a node.
#[derive(Debug)]
pub(super) struct Subjects {
    prefix: String,
    pub(super) node: u64,
}

impl Subjects {
    /// The subjects with this `nats-prefix`, which ends with a dot. `node` is different for each node and start.
    pub(super) fn new(prefix: Option<&str>, node: u64) -> Self {
        Self { prefix: prefix.unwrap_or_default().to_owned(), node }
    }

    /// The subjects to subscribe to: all nodes' messages, and questions to this node.
    pub(super) fn subscriptions(&self) -> [(u64, String); 2] {
        let Self { prefix, node } = self;
        [(MEMBERS_SID, format!("{prefix}{MEMBERS}*")), (ASKED_SID, format!("{prefix}{ASK}{node:016x}"))]
    }

    /// The node that sends at this subject.
    pub(super) fn node_of(&self, subject: &[u8]) -> Option<u64> {
        let node = subject.strip_prefix(self.prefix.as_bytes())?.strip_prefix(MEMBERS.as_bytes())?;
        let node = std::str::from_utf8(node).ok().filter(|node| node.len() == 16)?;
        u64::from_str_radix(node, 16).ok()
    }

    /// The bytes of a message of this node.
    pub(super) fn publish(&self, payload: &[u8]) -> Vec<u8> {
        let subject = format!("{}{MEMBERS}{:016x}", self.prefix, self.node);
        [format!("PUB {subject} {}\r\n", payload.len()).as_bytes(), payload, b"\r\n"].concat()
    }

    /// The bytes of a question to a node.
    pub(super) fn ask(&self, node: u64, core: u8) -> Vec<u8> {
        let head = format!("PUB {}{ASK}{node:016x} 2\r\n", self.prefix);
        [head.as_bytes(), &[VERSION, core], b"\r\n"].concat()
    }
}

/// The core that a question is for.
pub(super) fn asked_core(payload: &[u8]) -> Option<usize> {
    match payload {
        [VERSION, core] => Some(usize::from(*core)),
        _ => None,
    }
}

/// Writes a message.
pub(super) fn write(core: u8, line: &MemberLine<'_>) -> Vec<u8> {
    let head = |kind: u8| vec![VERSION, core, kind];
    let numbered = |kind, number: &u64| [head(kind), number.to_le_bytes().to_vec()].concat();
    match line {
        MemberLine::Changes { number, members } => [&numbered(CHANGES, number)[..], members].concat(),
        MemberLine::Begin { number } => numbered(BEGIN, number),
        MemberLine::End { number } => numbered(END, number),
        MemberLine::Digest { number, sum, is_hello } => {
            [&numbered(DIGEST, number)[..], &sum.to_le_bytes(), &[u8::from(*is_hello)]].concat()
        }
        MemberLine::Goodbye => head(GOODBYE),
    }
}

/// Reads a message, and the number of its core. `None`: it is none.
pub(super) fn read(mut payload: &[u8]) -> Option<(u8, MemberLine<'_>)> {
    let [version, core, kind] = *take::<3>(&mut payload)?;
    if version != VERSION || usize::from(core) >= CORES_MAX {
        return None;
    }
    let mut number = || take::<8>(&mut payload).map(|bytes| u64::from_le_bytes(*bytes));
    let line = match kind {
        CHANGES => MemberLine::Changes { number: number()?, members: payload },
        BEGIN => MemberLine::Begin { number: number()? },
        END => MemberLine::End { number: number()? },
        DIGEST => {
            let (number, sum) = (number()?, number()?);
            MemberLine::Digest { number, sum, is_hello: payload.first().is_some_and(|flag| *flag != 0) }
        }
        GOODBYE => MemberLine::Goodbye,
        _ => return None,
    };
    Some((core, line))
}

/// Appends a member:
/// ```text
/// 1 byte: length of the channel, channel; 1 byte: length of the user, user; 4 bytes: connections; 8 bytes: since
/// 2 bytes: length of the information; if it is not 0: information, 8 bytes: when it was set
/// ```
/// Numbers are little-endian.
pub(super) fn put_member(members: &mut Vec<u8>, member: &Member<'_>) {
    let Member { name, user, connections, since, info } = *member;
    for text in [name, user.as_bytes()] {
        members.push(text.len() as u8);
        members.extend_from_slice(text);
    }
    members.extend_from_slice(&connections.min(CONNECTIONS_MAX).to_le_bytes());
    members.extend_from_slice(&since.to_le_bytes());
    let (info, at) = info.filter(|(info, _)| info.len() <= INFO_BYTES_MAX).unwrap_or_default();
    members.extend_from_slice(&(info.len() as u16).to_le_bytes());
    if !info.is_empty() {
        members.extend_from_slice(info.as_bytes());
        members.extend_from_slice(&at.to_le_bytes());
    }
}

/// Takes the next member. `None`: there is none that can be taken.
pub(super) fn next_member<'b>(members: &mut &'b [u8]) -> Option<Member<'b>> {
    let (name, user) = (take_text(members)?, take_text(members)?);
    let user = std::str::from_utf8(user).ok()?;
    let is_user = (1..=USER_BYTES_MAX).contains(&user.len()) && !user.contains(char::is_control);
    let connections = u32::from_le_bytes(*take(members)?);
    let since = u64::from_le_bytes(*take(members)?);
    let info = match usize::from(u16::from_le_bytes(*take(members)?)) {
        0 => None,
        len => {
            let info = std::str::from_utf8(members.split_off(..len)?).ok()?;
            let is_info = len <= INFO_BYTES_MAX && serde_json::from_str::<IgnoredAny>(info).is_ok();
            Some((info, u64::from_le_bytes(*take(members)?))).filter(|_| is_info)
        }
    };
    let is_sound = is_user && channel::check_publish(name).is_ok() && connections <= CONNECTIONS_MAX;
    is_sound.then_some(Member { name, user, connections, since, info })
}

fn take<'b, const N: usize>(bytes: &mut &'b [u8]) -> Option<&'b [u8; N]> {
    bytes.split_off(..N)?.first_chunk()
}

fn take_text<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let [len] = *take::<1>(bytes)?;
    bytes.split_off(..usize::from(len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        let (number, sum) = (7, u64::MAX);
        for line in [
            MemberLine::Changes { number, members: b"xyz" },
            MemberLine::Begin { number },
            MemberLine::End { number },
            MemberLine::Digest { number, sum, is_hello: true },
            MemberLine::Goodbye,
        ] {
            assert_eq!(read(&write(5, &line)), Some((5, line)));
        }
        let subjects = Subjects::new(Some("a."), 0xfe);
        assert_eq!(subjects.publish(b"hi"), b"PUB a._LHTTP.presence.00000000000000fe 2\r\nhi\r\n");
        assert_eq!(subjects.node_of(b"a._LHTTP.presence.00000000000000fe"), Some(0xfe));
        for other in ["a._LHTTP.presence.fe", "_LHTTP.presence.00000000000000fe", "a._LHTTP.presence.000000000000000g"]
        {
            assert_eq!(subjects.node_of(other.as_bytes()), None);
        }
        assert_eq!(subjects.ask(1, 2), b"PUB a._LHTTP.presence-ask.0000000000000001 2\r\n\x01\x02\r\n");
        assert_eq!((asked_core(&[1, 2]), asked_core(&[2, 2]), asked_core(b"")), (Some(2), None, None));
    }

    #[test]
    fn only_members_that_could_be_are_taken() {
        let member = Member { name: b"room", user: "mike", connections: 2, since: 7, info: Some(("{\"a\":1}", 8)) };
        let sound = [member, Member { info: None, connections: 0, ..member }];
        let long = "x".repeat(USER_BYTES_MAX + 1);
        let odd = [
            Member { name: b"room.*", ..member },
            Member { name: b"", ..member },
            Member { user: "", ..member },
            Member { user: "a\nb", ..member },
            Member { user: &long, ..member },
        ];
        for (members, is_sound) in [(&sound[..], true), (&odd, false)] {
            for member in members {
                let mut bytes = Vec::new();
                put_member(&mut bytes, member);
                assert_eq!(next_member(&mut &bytes[..]), is_sound.then_some(*member));
            }
        }
        let mut bytes = Vec::new();
        put_member(&mut bytes, &Member { info: Some(("{]", 8)), ..member });
        assert_eq!(next_member(&mut &bytes[..]), Some(Member { info: None, ..member }), "information that is no JSON");
        let mut bytes = Vec::new();
        sound.iter().for_each(|member| put_member(&mut bytes, member));
        let mut rest = &bytes[..];
        assert_eq!(std::iter::from_fn(|| next_member(&mut rest)).collect::<Vec<_>>(), sound);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some((core, MemberLine::Changes { mut members, .. })) = read(&[&[1, 3, CHANGES][..], &bytes].concat()) {
                prop_assert_eq!(core, 3);
                while next_member(&mut members).is_some() {}
            }
            read(&bytes);
        }
    }
}
