//! Child processes. A fork copies all memory, but only the thread that forks. In the child no server runs, publishes go
//! nowhere, and a lock that another thread held is held for ever. So every call there is refused.

use std::{
    process,
    sync::atomic::{AtomicU8, Ordering},
};

use crate::ffi::status::{Failure, LhttpStatus};

/// Nothing was called yet: a child that is forked now may use the library.
const UNUSED: u8 = 0;
/// Forks are noticed.
const WATCHED: u8 = 1;
/// This process was forked from one that had used the library.
const CHILD: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(UNUSED);

/// Refuses every call in a child. It costs one load, because a fork handler sets the state; no process id is read.
///
/// # Errors
/// This is a child, or the system cannot notify of forks.
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

/// Ends the process if it is a child that was forked inside a callback and has returned from it. Such a child would go on
/// as a core of the parent's server, on the parent's sockets.
pub(super) fn end_child_behind_callback() {
    if STATE.load(Ordering::Relaxed) != CHILD {
        return;
    }
    let words = "lhttp: a process that was forked inside of a callback has returned from it, and is ended\n";
    // SAFETY: the bytes are there. Not `eprintln`: another thread of the parent may have held its lock.
    unsafe { libc::write(libc::STDERR_FILENO, words.as_ptr().cast(), words.len()) };
    process::abort();
}

fn watch() -> Result<(), Failure> {
    // SAFETY: the handler stores to an atomic, which is allowed in a child of a process with threads. If two threads come
    // here at once, both add it, which does no harm.
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
