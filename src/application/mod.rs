//! The meaning of LHTTP: a core's messages go to filters and processors, and their control headers are carried out.

mod control;
mod dispatch;
mod links;
mod plain;
mod upstream;

pub(crate) use self::{dispatch::Dispatch, upstream::Upstream};
