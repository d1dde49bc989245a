//! What LHTTP means: from a core's messages to filters, processors and control headers.

mod control;
mod dispatch;
mod links;
mod plain;
mod upstream;

pub(crate) use self::{dispatch::Dispatch, upstream::Upstream};
