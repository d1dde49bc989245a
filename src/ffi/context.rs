//! The context of a callback.

/// `lhttp_context`, never made.
pub(super) enum LhttpContext {}
