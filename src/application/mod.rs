//! The meaning of LHTTP: a core's messages go to filters and processors, their control headers are carried out, and the paths
//! of HTTP requests have their answers.

#[cfg(feature = "admin")]
mod admin;
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

#[cfg(feature = "admin")]
pub(crate) use self::admin::{Admin, Figures, Process};
pub(crate) use self::{
    dispatch::Dispatch,
    doorkeeper::{Doorkeeper, Verify},
    upstream::Upstream,
};
