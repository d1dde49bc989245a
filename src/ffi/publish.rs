//! The arguments of a publish from C.

use std::ffi::{c_char, c_void};

use crate::ffi::{
    input::{self, LhttpHeader},
    status::Failure,
};

/// A message from C to publish.
pub(super) struct Publish<'a> {
    pub(super) channels: Vec<&'a str>,
    pub(super) command: &'a str,
    pub(super) headers: Vec<(&'a str, &'a str)>,
    pub(super) body: &'a [u8],
}

impl<'a> Publish<'a> {
    pub(super) unsafe fn read(
        channels: *const c_char,
        command: *const c_char,
        headers: *const LhttpHeader,
        body: *const c_void,
        len: usize,
    ) -> Result<Self, Failure> {
        // SAFETY: as for this function.
        let (channels, command, headers, body) = unsafe {
            (
                input::text("channels", channels)?,
                input::text("command", command)?,
                input::headers(headers)?,
                input::bytes("body", body, len)?,
            )
        };
        Ok(Self { channels: channels.split(' ').filter(|name| !name.is_empty()).collect(), command, headers, body })
    }
}
