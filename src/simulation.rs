//! Whole servers in virtual time: nodes with their relay links, a bridge to another node, clients that speak the real
//! protocol, and a network that cuts, delays and breaks connections. One seed decides everything.
//!
//! `LHTTP_SEED=17 cargo test --lib simulation` runs one seed again, `LHTTP_SEED=0..5000` many.

#[cfg(test)]
mod abroad;
#[cfg(test)]
mod actions;
#[cfg(test)]
mod attendance;
#[cfg(test)]
mod bridge;
#[cfg(test)]
mod client;
#[cfg(test)]
mod crowd;
#[cfg(test)]
mod ending;
#[cfg(test)]
mod far;
pub(crate) mod frames;
#[cfg(test)]
mod guard;
#[cfg(test)]
mod hearing;
#[cfg(test)]
mod keeper;
#[cfg(test)]
mod ledger;
pub(crate) mod node;
mod open_verifier;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod rest;
#[cfg(test)]
mod resumed;
#[cfg(test)]
mod resuming;
#[cfg(test)]
mod roster;
pub(crate) mod sockets;
#[cfg(test)]
mod stream;
#[cfg(test)]
mod talk;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod versions;
#[cfg(test)]
mod world;
