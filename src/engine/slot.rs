//! How a core names its connections.

/// A connection, as its core numbers them: dense, and used again when the connection is over.
pub(crate) type Slot = u32;

/// A connection that outlives the call that names it: its slot, and the generation that must still be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionKey {
    pub(crate) slot: Slot,
    pub(crate) generation: u32,
}
