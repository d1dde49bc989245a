//! Signals belong to the host program: the threads that we start take none.
//!
//! A Rust program ignores SIGPIPE from its start, but a C program does not. A core that writes to a connection whose peer
//! is gone would kill it. Also, a signal that the host waits for must not go to one of our threads.

use std::{mem::MaybeUninit, ptr};

/// Signals that a thread causes itself, and those that a profiler sends to every thread. They are never blocked, so that
/// the host's handlers work everywhere.
const OF_ANY_THREAD: [i32; 8] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
    libc::SIGABRT,
    libc::SIGPROF,
];

/// Runs `start` with the other signals blocked on this thread: threads that it starts inherit that, for good.
pub(super) fn blocked<T>(start: impl FnOnce() -> T) -> T {
    let _restore = Blocked::new();
    start()
}

/// Restores the old mask, also after a panic.
struct Blocked(libc::sigset_t);

impl Blocked {
    fn new() -> Self {
        let (mut blocked, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: `sigfillset` fills the set that it is given, the others change it and read it, and `pthread_sigmask` adds
        // it to the mask and fills the other set: with a right first argument it does not fail.
        unsafe {
            libc::sigfillset(blocked.as_mut_ptr());
            for signal in OF_ANY_THREAD {
                libc::sigdelset(blocked.as_mut_ptr(), signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, blocked.as_ptr(), before.as_mut_ptr());
            Self(before.assume_init())
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the set is the one that `pthread_sigmask` has filled.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, ptr::null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mask of the calling thread, as /proc shows it.
    fn mask() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    }

    #[test]
    fn a_thread_that_is_started_inside_takes_no_signals_and_the_starter_takes_them_again() {
        let before = mask();
        let bit = |signal: i32| 1u64 << (signal - 1);
        assert_eq!(before & (bit(libc::SIGPIPE) | bit(libc::SIGSEGV)), 0);
        let inside = blocked(|| std::thread::spawn(mask).join().unwrap());
        assert_eq!(inside & bit(libc::SIGPIPE), bit(libc::SIGPIPE));
        assert_eq!(inside & bit(libc::SIGTERM), bit(libc::SIGTERM));
        assert_eq!(inside & bit(libc::SIGSEGV), 0);
        assert_eq!(mask(), before);
        let _ = std::panic::catch_unwind(|| blocked(|| std::panic::resume_unwind(Box::new(()))));
        assert_eq!(mask(), before);
    }
}
