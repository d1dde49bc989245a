//! One core: what a single pinned thread owns and does. Plain owned data, no lock, nothing that blocks.

mod index;
pub(crate) mod patterns;
pub(crate) mod subscriptions;
pub(crate) mod timers;
