//! What can block, each on a helper thread of its own: a core never waits for it.

#[cfg(feature = "nats")]
pub(crate) mod nats;
#[cfg(not(feature = "nats"))]
#[path = "no_nats.rs"]
pub(crate) mod nats;

#[cfg(feature = "upstream")]
pub(crate) mod upstream;
#[cfg(not(feature = "upstream"))]
#[path = "no_upstream.rs"]
pub(crate) mod upstream;
