//! The options of a client: a struct of which each field that is 0 means the default.

use std::{ffi::c_char, mem::offset_of, time::Duration};

use crate::{
    client::{Builder, Client, RECONNECT_DELAY_MAX, RECONNECT_DELAY_MIN},
    ffi::{
        input::{self, LhttpHeader},
        sized::Versioned,
        status::Failure,
    },
};

/// `LHTTP_NEVER`.
const NEVER: u32 = u32::MAX;

/// `lhttp_client_config`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct LhttpClientConfig {
    size: usize,
    ca_file: *const c_char,
    headers: *const LhttpHeader,
    message_bytes_max: usize,
    inbox_messages_max: usize,
    inbox_bytes_max: usize,
    outbox_bytes_max: usize,
    connect_timeout_ms: u32,
    timeout_ms: u32,
    reconnect_delay_min_ms: u32,
    reconnect_delay_max_ms: u32,
    ping_interval_ms: u32,
    pong_timeout_ms: u32,
    token: *const c_char,
    /// As large as a pointer, so that no padding stands behind it.
    no_resume: usize,
}

// SAFETY: sizes and pointers, then an even number of u32, a pointer and a size: no padding, and all valid as zeros.
unsafe impl Versioned for LhttpClientConfig {
    const NAME: &'static str = "config";
    const SIZE_MIN: usize = offset_of!(Self, pong_timeout_ms) + size_of::<u32>();
}

impl LhttpClientConfig {
    /// A builder with these options.
    pub(super) unsafe fn builder(&self, url: &str) -> Result<Builder, Failure> {
        // SAFETY: as for this function.
        let (ca_file, token, headers) = unsafe {
            let ca_file = input::optional_text("ca_file", self.ca_file)?;
            (ca_file, input::optional_text("token", self.token)?, input::headers(self.headers)?)
        };
        let mut builder = Client::builder(url);
        if let Some(file) = ca_file {
            builder = builder.ca_file(file);
        }
        if let Some(token) = token {
            builder = builder.token(token);
        }
        builder = builder.resume(self.no_resume == 0);
        for (name, value) in headers {
            builder = builder.header(name, value);
        }
        builder = with(builder, self.message_bytes_max, Builder::message_bytes_max);
        builder = with(builder, self.inbox_messages_max, Builder::inbox_messages_max);
        builder = with(builder, self.inbox_bytes_max, Builder::inbox_bytes_max);
        builder = with(builder, self.outbox_bytes_max, Builder::outbox_bytes_max);
        builder = with_time(builder, self.connect_timeout_ms, Builder::connect_timeout);
        builder = with_time(builder, self.timeout_ms, Builder::timeout);
        builder = with_time(builder, self.pong_timeout_ms, Builder::pong_timeout);
        builder = match self.ping_interval_ms {
            NEVER => builder.ping_interval(Duration::ZERO),
            millis => with_time(builder, millis, Builder::ping_interval),
        };
        let delay = |millis, default| if millis == 0 { default } else { time(millis) };
        Ok(match self.reconnect_delay_min_ms {
            NEVER => builder.reconnect(false),
            min => builder.reconnect_delay(
                delay(min, RECONNECT_DELAY_MIN),
                delay(self.reconnect_delay_max_ms, RECONNECT_DELAY_MAX),
            ),
        })
    }
}

/// A time from C; `LHTTP_NEVER` becomes a time that never ends in practice.
pub(super) fn time(millis: u32) -> Duration {
    if millis == NEVER { Duration::MAX } else { Duration::from_millis(millis.into()) }
}

fn with(builder: Builder, value: usize, set: fn(Builder, usize) -> Builder) -> Builder {
    if value == 0 { builder } else { set(builder, value) }
}

fn with_time(builder: Builder, millis: u32, set: fn(Builder, Duration) -> Builder) -> Builder {
    if millis == 0 { builder } else { set(builder, time(millis)) }
}
