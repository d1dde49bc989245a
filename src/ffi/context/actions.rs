//! What C can do in a callback.

use std::{
    ffi::{c_char, c_int, c_void},
    ptr,
};

use super::{LhttpContext, with};
use crate::{
    error::Refusal,
    ffi::{
        input::{self, LhttpHeader},
        publish::Publish,
        replier::{self, LhttpReplier},
        status::{LhttpStatus, guard, guard_or},
    },
};

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_send(context: *mut LhttpContext, body: *const c_void, len: usize) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let body = unsafe { input::bytes("body", body, len) }?;
        with(context, |context| {
            context.send(body);
            Ok(())
        })
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_reply(
    context: *mut LhttpContext,
    command: *const c_char,
    headers: *const LhttpHeader,
    body: *const c_void,
    len: usize,
) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let message = unsafe { input::message(command, headers, body, len) }?;
        with(context, |context| {
            context.reply(&message);
            Ok(())
        })
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_subscribe(context: *mut LhttpContext, channel: *const c_char) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let channel = unsafe { input::text("channel", channel) }?;
        with(context, |context| Ok(context.subscribe(channel)?))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_unsubscribe(context: *mut LhttpContext, channel: *const c_char) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let channel = unsafe { input::text("channel", channel) }?;
        with(context, |context| Ok(context.unsubscribe(channel)?))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_context_publish(
    context: *mut LhttpContext,
    channels: *const c_char,
    command: *const c_char,
    headers: *const LhttpHeader,
    body: *const c_void,
    len: usize,
) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let given = unsafe { Publish::read(channels, command, headers, body, len) }?;
        with(context, |context| Ok(context.publish(&given.channels, given.command, &given.headers, given.body)?))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_refuse(
    context: *mut LhttpContext,
    code: u16,
    reason: *const c_char,
    sentence: *const c_char,
) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let (reason, sentence) = unsafe { (input::text("reason", reason)?, input::text("sentence", sentence)?) };
        let refusal = Refusal::new(code, reason.to_owned(), sentence.to_owned());
        with(context, |context| {
            context.refuse(refusal);
            Ok(())
        })
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_close(context: *mut LhttpContext, code: u16, reason: *const c_char) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let reason = unsafe { input::optional_text("reason", reason) }?.unwrap_or_default();
        with(context, |context| {
            context.close(code, reason);
            Ok(())
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_context_replier(context: *mut LhttpContext) -> *mut LhttpReplier {
    guard_or(ptr::null_mut(), || with(context, |context| Ok(replier::add(context.replier()))))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_set_command(context: *mut LhttpContext, command: *const c_char) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let command = unsafe { input::text("command", command) }?;
        with(context, |context| Ok(context.set_command(command)?))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_add_header(
    context: *mut LhttpContext,
    name: *const c_char,
    value: *const c_char,
) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let (name, value) = unsafe { (input::text("name", name)?, input::text("value", value)?) };
        with(context, |context| Ok(context.add_header(name, value)?))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_set_header(
    context: *mut LhttpContext,
    name: *const c_char,
    value: *const c_char,
) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let (name, value) = unsafe { (input::text("name", name)?, input::text("value", value)?) };
        with(context, |context| Ok(context.set_header(name, value)?))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_remove_header(context: *mut LhttpContext, name: *const c_char) -> c_int {
    guard_or(0, || {
        // SAFETY: the caller gives what lhttp.h says.
        let name = unsafe { input::text("name", name) }?;
        with(context, |context| Ok(context.remove_header(name).into()))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_set_body(context: *mut LhttpContext, body: *const c_void, len: usize) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let body = unsafe { input::bytes("body", body, len) }?;
        with(context, |context| Ok(context.set_body(body)?))
    })
}
