//! The C ABI: what `include/lhttp.h` declares, and the only place with `unsafe`.
//!
//! The header is the documentation of each function, and the contract that the SAFETY reasons here rely on;
//! `tests/library/ffi_header.rs` compares the two. The package in `tools/c` builds the libraries.
//!
//! - **No panic crosses the boundary**: every exported function is one call of [`guard`](status::guard), [`guard_or`](status::guard_or),
//!   [`guard_status`](status::guard_status) or [`guard_anywhere`], and the release profile keeps unwinding.
//! - **A forked child is refused** before it takes any lock, see [`fork`].
//! - **A handle is a number**, never an address: [`handles`] looks it up, so a stale or invented handle gives a status
//!   and not a use after free. For the same reason a context is looked up among those of its own thread.
//! - **Only [`input`] reads through C's pointers**; it refuses NULL, misalignment and bad UTF-8.
//! - **Threads that a server starts take no signals**, see [`signals`].
#![allow(unsafe_code)]
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

mod callback;
mod client;
mod config;
mod context;
mod event;
mod extension;
mod fork;
mod handles;
mod input;
mod log;
mod output;
mod publish;
mod replier;
mod server;
mod signals;
mod sized;
mod status;

use std::ffi::{CStr, c_char};

use self::status::{LhttpStatus, guard_anywhere, last_code, last_error, last_reason};

/// `LHTTP_VERSION`, NUL-terminated.
const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!("a version has no NUL"),
};

#[unsafe(no_mangle)]
extern "C" fn lhttp_version() -> *const c_char {
    guard_anywhere(VERSION.as_ptr(), || Ok(VERSION.as_ptr()))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_strerror(status: LhttpStatus) -> *const c_char {
    guard_anywhere(c"".as_ptr(), || Ok(status.meaning().as_ptr()))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_last_error() -> *const c_char {
    guard_anywhere(c"".as_ptr(), || Ok(last_error()))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_last_code() -> u16 {
    guard_anywhere(0, || Ok(last_code()))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_last_reason() -> *const c_char {
    guard_anywhere(c"".as_ptr(), || Ok(last_reason()))
}
