//! One core: what a single pinned thread owns and does. Plain owned data, no lock, nothing that blocks.

mod alarm;
pub(crate) mod application;
pub(crate) mod arena;
pub(crate) mod arrival;
pub(crate) mod clock;
pub(crate) mod connection;
pub(crate) mod core;
pub(crate) mod counters;
pub(crate) mod hub;
pub(crate) mod inbox;
mod index;
pub(crate) mod lanes;
pub(crate) mod listener;
pub(crate) mod log_limit;
pub(crate) mod outbox;
pub(crate) mod pace;
pub(crate) mod patterns;
pub(crate) mod reactor;
pub(crate) mod relay;
pub(crate) mod session;
pub(crate) mod slot;
pub(crate) mod subscriptions;
pub(crate) mod timers;
pub(crate) mod turn;
pub(crate) mod uplink;
pub(crate) mod wake;
