//! The parts of a multipart body.

use std::{
    ffi::{c_char, c_void},
    ptr,
};

use super::{LhttpContext, keep_or_null, put_header, with};
use crate::{
    extension::Context,
    ffi::{
        input,
        status::{Failure, LhttpStatus, guard, guard_or},
    },
    protocol::multipart::Part,
};

fn part<'c>(context: &'c Context<'_>, number: usize) -> Result<Part<'c>, Failure> {
    let none = || Failure::new(LhttpStatus::ERROR_NOT_FOUND, format!("there is no part {number}"));
    context.parts().nth(number).ok_or_else(none)
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_context_part_count(context: *const LhttpContext) -> usize {
    guard_or(0, || with(context, |context| Ok(context.parts().count())))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_context_part_header(
    context: *const LhttpContext,
    number: usize,
    name: *const c_char,
) -> *const c_char {
    guard_or(ptr::null(), || {
        // SAFETY: the caller gives what lhttp.h says.
        let name = unsafe { input::text("name", name) }?;
        with(context, |context| Ok(keep_or_null(part(context, number)?.header(name))))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_context_part_header_at(
    context: *const LhttpContext,
    number: usize,
    index: usize,
    name: *mut *const c_char,
    value: *mut *const c_char,
) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        with(context, |context| unsafe { put_header(part(context, number)?.headers().nth(index), name, value) })
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_context_part_body(
    context: *const LhttpContext,
    number: usize,
    len: *mut usize,
) -> *const c_void {
    guard_or(ptr::null(), || {
        with(context, |context| {
            let body = part(context, number)?.body();
            // SAFETY: the caller gives what lhttp.h says.
            unsafe { input::put("len", len, body.len()) }?;
            Ok(body.as_ptr().cast())
        })
    })
}
