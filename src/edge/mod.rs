//! What can block, each on a helper thread of its own: a core never waits for it.

#[cfg(feature = "nats")]
pub(crate) mod nats;
