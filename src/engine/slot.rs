//! How a core names its connections.

/// The number of a connection on its core. Numbers are dense, and reused after a connection has ended.
pub(crate) type Slot = u32;

/// Identifies a connection beyond the current call: its slot, and the generation that the slot must still have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionKey {
    pub(crate) slot: Slot,
    pub(crate) generation: u32,
}
