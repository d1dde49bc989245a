//! Child processes. A fork copies all memory, but of the threads only the one that forks: in the child no server runs, what
//! is published goes nowhere, and a lock that another thread held is held for ever. So everything is refused there.

use std::{
    process,
    sync::atomic::{AtomicU8, Ordering},
};

use crate::ffi::status::{Failure, LhttpStatus};

/// Nothing was called yet: a child that is forked now may use the library as its own.
const UNUSED: u8 = 0;
/// Forks are noticed.
const WATCHED: u8 = 1;
/// This process was forked from one that had used the library.
const CHILD: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(UNUSED);

/// Refuses every call in a child. It costs one load: forks are told to us, nobody is asked for a process id.
///
/// # Errors
/// This is a child; or the system cannot tell of forks.
pub(super) fn check() -> Result<(), Failure> {
    match STATE.load(Ordering::Relaxed) {
        WATCHED => Ok(()),
        UNUSED => watch(),
        _ => Err(Failure::new(
            LhttpStatus::ERROR_FORKED,
            "this process was forked from one that uses lhttp: none of its threads are here, and nothing works",
        )),
    }
}

/// Ends the process if it is a child that was forked inside of a callback and has returned from it: it would go on as a
/// core of the parent's server, on the parent's sockets.
pub(super) fn end_child_behind_callback() {
    if STATE.load(Ordering::Relaxed) != CHILD {
        return;
    }
    let words = "lhttp: a process that was forked inside of a callback has returned from it, and is ended\n";
    // SAFETY: the bytes are there. Not `eprintln`, for another thread of the parent may have held the lock of that.
    unsafe { libc::write(libc::STDERR_FILENO, words.as_ptr().cast(), words.len()) };
    process::abort();
}

fn watch() -> Result<(), Failure> {
    // SAFETY: the handler stores to an atomic, which is allowed in a child of a process with threads. Two threads that come
    // here at once both add it, which does no harm.
    let code = unsafe { libc::pthread_atfork(None, None, Some(became_child)) };
    if code != 0 {
        let sentence = format!("forks cannot be watched: {}", std::io::Error::from_raw_os_error(code));
        return Err(Failure::new(LhttpStatus::ERROR_SYSTEM, sentence));
    }
    // Not if another thread was faster.
    let _ = STATE.compare_exchange(UNUSED, WATCHED, Ordering::Relaxed, Ordering::Relaxed);
    Ok(())
}

extern "C" fn became_child() {
    STATE.store(CHILD, Ordering::Relaxed);
}
