//! What LHTTP means: from a core's messages to filters, processors and control headers.

mod control;
mod dispatch;
mod links;
mod plain;
mod upstream;

#[cfg(feature = "upstream")]
pub(crate) use self::upstream::{Fetch, Lane, Queue, Room, Target};
pub(crate) use self::{dispatch::Dispatch, upstream::Gate};
