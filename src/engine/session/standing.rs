//! The phase, the facts, the transport and the permissions of a connection, in four bytes.

use crate::engine::arrival::Transport;

/// The phase of a connection's life. It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// It speaks HTTP, and may upgrade.
    Http,
    /// It speaks WebSocket.
    Open,
    /// Our close frame is in the outbox or sent; we wait for the peer's, and ignore its messages.
    Closing,
    /// We ignore its input. When the outbox is empty we shut our side, and wait for the peer's end so that a reset does
    /// not destroy the last bytes.
    Lingering,
    /// Both sides have closed: the connection is over when its outbox is empty.
    Ended,
    /// The connection is over: its slot waits to be reaped, and nothing more may be sent to it.
    Over,
}

/// A small number for a set of permissions, see [`crate::engine::grants`]. A result that depends on permissions is stored
/// with its grant, and never used for a connection with another grant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grant(u32);

impl Grant {
    /// The grant of a client without a token.
    pub(crate) const ANONYMOUS: Self = Self(0);
    /// The grant of a request with the publish key.
    pub(crate) const KEY: Self = Self(1);
    /// The grant with the number 0 in the table.
    const FIRST: u32 = 2;
    /// The most grants in the table.
    pub(crate) const TABLE_MAX: usize = (1 << (u32::BITS - Standing::GRANT_SHIFT)) - Self::FIRST as usize;

    /// The grant with this number in the table, which is less than [`Grant::TABLE_MAX`].
    pub(crate) fn of(number: usize) -> Self {
        debug_assert!(number < Self::TABLE_MAX);
        Self(number as u32 + Self::FIRST)
    }

    /// Its number in the table, if it stands there.
    pub(crate) fn number(self) -> Option<usize> {
        self.0.checked_sub(Self::FIRST).map(|number| number as usize)
    }
}

/// The phase, four facts, the transport and the grant of a connection in one word: the lowest three bits are the phase, and
/// the upper 23 the grant. See the methods of [`Session`](super::Session).
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing(u32);

impl Standing {
    const PHASE: u32 = 7;
    pub(super) const PAUSED: u32 = 1 << 3;
    pub(super) const MORE: u32 = 1 << 4;
    pub(super) const CUT: u32 = 1 << 5;
    pub(super) const TOLD: u32 = 1 << 6;
    const TRANSPORT_SHIFT: u32 = 7;
    const GRANT_SHIFT: u32 = 9;

    /// The standing of a new connection.
    pub(super) fn new(transport: Transport) -> Self {
        Self(Phase::Http as u32 | (transport as u32) << Self::TRANSPORT_SHIFT)
    }

    pub(super) fn transport(self) -> Transport {
        match self.0 >> Self::TRANSPORT_SHIFT & 3 {
            0 => Transport::Tcp,
            1 => Transport::Tls,
            _ => Transport::Unix,
        }
    }

    pub(super) fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }

    pub(super) fn set(&mut self, flag: u32, value: bool) {
        self.0 = if value { self.0 | flag } else { self.0 & !flag };
    }

    pub(super) fn phase(self) -> Phase {
        match self.0 & Self::PHASE {
            0 => Phase::Http,
            1 => Phase::Open,
            2 => Phase::Closing,
            3 => Phase::Lingering,
            4 => Phase::Ended,
            _ => Phase::Over,
        }
    }

    pub(super) fn set_phase(&mut self, phase: Phase) {
        self.0 = self.0 & !Self::PHASE | phase as u32;
    }

    /// Whether it is in [`Phase::Open`].
    pub(super) fn is_open(self) -> bool {
        self.0 & Self::PHASE == Phase::Open as u32
    }

    /// Whether it is in [`Phase::Open`] and not paused.
    pub(super) fn is_open_and_read(self) -> bool {
        self.0 & (Self::PHASE | Self::PAUSED) == Phase::Open as u32
    }

    pub(super) fn grant(self) -> Grant {
        Grant(self.0 >> Self::GRANT_SHIFT)
    }

    pub(super) fn set_grant(&mut self, grant: Grant) {
        let others = self.0 & ((1 << Self::GRANT_SHIFT) - 1);
        self.0 = others | grant.0 << Self::GRANT_SHIFT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{arrival::Arrival, session::Session};

    #[test]
    fn a_session_has_32_bytes_and_its_facts_do_not_mix() {
        assert_eq!(size_of::<Session>(), 32);
        for transport in [Transport::Tcp, Transport::Tls, Transport::Unix] {
            facts_do_not_mix(Session::new(7, Arrival { transport, ..Arrival::default() }, 0), transport);
        }
        assert_eq!(Grant::of(5).number(), Some(5));
        assert_eq!((Grant::ANONYMOUS.number(), Grant::KEY.number()), (None, None));
    }

    fn facts_do_not_mix(mut session: Session, transport: Transport) {
        let phases = [Phase::Http, Phase::Open, Phase::Closing, Phase::Lingering, Phase::Ended, Phase::Over];
        let grants = [Grant::ANONYMOUS, Grant::KEY, Grant::of(0), Grant::of(Grant::TABLE_MAX - 1)];
        for (phase, grant) in phases.into_iter().flat_map(|phase| grants.map(|grant| (phase, grant))) {
            for flag in [Session::set_paused, Session::set_more, Session::set_cut, Session::set_told] {
                flag(&mut session, true);
                session.set_phase(phase);
                session.set_grant(grant);
                assert_eq!((session.phase(), session.grant(), session.transport()), (phase, grant, transport));
                let facts = [session.is_paused(), session.has_more(), session.is_cut(), session.is_told()];
                assert_eq!(facts.into_iter().filter(|fact| *fact).count(), 1);
                assert_eq!(session.is_open(), phase == Phase::Open);
                flag(&mut session, false);
            }
        }
    }
}
