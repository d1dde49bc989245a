//! The meaning of LHTTP: a core's messages go to filters and processors, their control headers are carried out, and the paths
//! of HTTP requests have their answers.

mod control;
mod dispatch;
mod doorkeeper;
mod history;
mod links;
mod origin;
mod pages;
mod presence;
mod routes;
mod upstream;

pub(crate) use self::{
    dispatch::Dispatch,
    doorkeeper::{Doorkeeper, Verify},
    upstream::Upstream,
};
