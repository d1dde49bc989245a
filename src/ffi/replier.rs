//! Answers from other threads, later.

use std::ffi::{c_char, c_void};

use crate::{
    extension::Replier,
    ffi::{
        handles::{Handles, Kind},
        input::{self, LhttpHeader},
        status::{LhttpStatus, guard},
    },
};

/// `lhttp_replier`, never made.
pub(super) enum LhttpReplier {}

static REPLIERS: Handles<LhttpReplier, Replier> = Handles::new(Kind::Replier);

pub(super) fn add(replier: Replier) -> *mut LhttpReplier {
    REPLIERS.add(replier)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_replier_send(replier: *mut LhttpReplier, body: *const c_void, len: usize) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let body = unsafe { input::bytes("body", body, len) }?;
        Ok(REPLIERS.find(replier)?.send(body)?)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_replier_reply(
    replier: *mut LhttpReplier,
    command: *const c_char,
    headers: *const LhttpHeader,
    body: *const c_void,
    len: usize,
) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let message = unsafe { input::message(command, headers, body, len) }?;
        Ok(REPLIERS.find(replier)?.reply(&message)?)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_replier_close(replier: *mut LhttpReplier, code: u16, reason: *const c_char) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let reason = unsafe { input::optional_text("reason", reason) }?.unwrap_or_default();
        Ok(REPLIERS.find(replier)?.close(code, reason)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_replier_release(replier: *mut LhttpReplier) -> LhttpStatus {
    guard(|| REPLIERS.remove(replier).map(drop))
}
