//! Calls of the host program's code, and its pointers, which go with them from thread to thread.

use std::{cell::Cell, ffi::c_void};

use crate::ffi::{
    fork,
    status::{Failure, LhttpStatus},
};

thread_local! {
    /// How many callbacks this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// The pointer that the host wants to see again in its callbacks.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct User(pub(super) *mut c_void);

// SAFETY: nothing here follows the pointer, it is only handed back; lhttp.h says on which threads, and that what it
// points to must bear that.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

/// Notes that this thread is in a callback for as long as `call` takes. A child that was forked in it does not come back.
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

/// Refuses what would wait for the very callback that calls it.
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
