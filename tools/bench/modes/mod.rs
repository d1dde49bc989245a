//! The works that a server can be put to, a file each.

pub(crate) mod broadcast;
pub(crate) mod compare;
mod works;
