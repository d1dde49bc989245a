//! What lhttp makes of the engine: the meaning of paths.

mod pages;
pub(crate) mod routes;
