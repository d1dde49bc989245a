//! Calls of the host program's code, and the host's pointers for them, which move between threads.

use std::{cell::Cell, ffi::c_void};

use crate::ffi::{
    fork,
    status::{Failure, LhttpStatus},
};

thread_local! {
    /// The number of callbacks that this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// The pointer that the host gets back in its callbacks.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct User(pub(super) *mut c_void);

// SAFETY: nothing here follows the pointer, it is only handed back. lhttp.h says on which threads, and that the host's
// data must allow this.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

/// Notes that this thread is in a callback while `call` runs. A child that was forked in it does not return from here.
pub(super) fn inside<T>(call: impl FnOnce() -> T) -> T {
    DEPTH.set(DEPTH.get() + 1);
    let _leave = Leave;
    let result = call();
    fork::end_child_behind_callback();
    result
}

struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Refuses a call that would wait for the callback that makes it.
///
/// # Errors
/// This thread is in a callback.
pub(super) fn check_outside(function: &str) -> Result<(), Failure> {
    if DEPTH.get() == 0 {
        return Ok(());
    }
    let sentence = format!("{function} cannot be called inside of a callback: it would wait for itself");
    Err(Failure::new(LhttpStatus::ERROR_CALLBACK, sentence))
}
