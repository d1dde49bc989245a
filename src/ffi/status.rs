//! The result of a call: a status, a sentence for people, and never a panic.

use std::{
    any::Any,
    cell::RefCell,
    ffi::{CStr, CString, c_char, c_int},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{
    client::ClientError,
    error::{PublishError, Refusal, StartError},
    ffi::{fork, output},
};

/// `lhttp_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct LhttpStatus(c_int);

impl LhttpStatus {
    pub(super) const OK: Self = Self(0);
    pub(super) const ERROR_ARGUMENT: Self = Self(1);
    pub(super) const ERROR_OPTION: Self = Self(2);
    pub(super) const ERROR_LISTEN: Self = Self(3);
    pub(super) const ERROR_SYSTEM: Self = Self(4);
    pub(super) const ERROR_REFUSED: Self = Self(5);
    pub(super) const ERROR_FULL: Self = Self(6);
    pub(super) const ERROR_CLOSED: Self = Self(7);
    pub(super) const ERROR_CALLBACK: Self = Self(8);
    pub(super) const ERROR_NOT_FOUND: Self = Self(9);
    pub(super) const ERROR_PANIC: Self = Self(10);
    pub(super) const ERROR_NOT_CONNECTED: Self = Self(11);
    pub(super) const ERROR_LOST: Self = Self(12);
    pub(super) const ERROR_TIMED_OUT: Self = Self(13);
    pub(super) const ERROR_INBOX_FULL: Self = Self(14);
    pub(super) const NOTHING: Self = Self(15);
    pub(super) const ERROR_FORKED: Self = Self(16);
    pub(super) const ERROR_ANSWER: Self = Self(17);

    /// The texts of `lhttp_strerror`.
    pub(super) fn meaning(self) -> &'static CStr {
        match self {
            Self::OK => c"it worked",
            Self::ERROR_ARGUMENT => c"an argument is NULL, misaligned, not UTF-8, or no such thing",
            Self::ERROR_OPTION => c"an option has no meaning, or contradicts another",
            Self::ERROR_LISTEN => c"an address cannot be listened on",
            Self::ERROR_SYSTEM => c"the system refused a thread, a file or memory",
            Self::ERROR_REFUSED => c"the message is not a valid one, or the server has refused it",
            Self::ERROR_FULL => c"the server, or the way to it, is behind, try again later",
            Self::ERROR_CLOSED => c"it was closed, stopped or released before",
            Self::ERROR_CALLBACK => c"this cannot be called here: inside of a callback, or outside of its own",
            Self::ERROR_NOT_FOUND => c"there is none",
            Self::ERROR_PANIC => c"a bug in lhttp: please report it",
            Self::ERROR_NOT_CONNECTED => c"there was no connection, and nothing was sent",
            Self::ERROR_LOST => c"the connection was lost before the answer",
            Self::ERROR_TIMED_OUT => c"no answer came within the timeout",
            Self::ERROR_INBOX_FULL => c"too much waits to be polled",
            Self::NOTHING => c"nothing has happened",
            Self::ERROR_FORKED => c"this is a forked child of a process that uses lhttp: nothing works here",
            Self::ERROR_ANSWER => c"the server's answer is not as the protocol says",
            _ => c"an unknown status",
        }
    }
}

/// Why a call failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: LhttpStatus,
    pub(super) sentence: String,
    /// The refusal, by the server or by lhttp itself.
    refusal: Option<Refusal>,
}

impl Failure {
    pub(super) fn new(status: LhttpStatus, sentence: impl Into<String>) -> Self {
        Self { status, sentence: sentence.into(), refusal: None }
    }

    pub(super) fn argument(sentence: impl Into<String>) -> Self {
        Self::new(LhttpStatus::ERROR_ARGUMENT, sentence)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let sentence = refusal.to_string();
        Self { status: LhttpStatus::ERROR_REFUSED, sentence, refusal: Some(refusal) }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let status = match error {
            StartError::Listen { .. } => LhttpStatus::ERROR_LISTEN,
            StartError::Config(_) => LhttpStatus::ERROR_OPTION,
            StartError::System(_) => LhttpStatus::ERROR_SYSTEM,
        };
        Self::new(status, error.to_string())
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        let status = match error {
            PublishError::Invalid(refusal) => return refusal.into(),
            PublishError::Full => LhttpStatus::ERROR_FULL,
            PublishError::Stopped => LhttpStatus::ERROR_CLOSED,
        };
        Self::new(status, error.to_string())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let status = match error {
            ClientError::Refused(refusal) | ClientError::Invalid(refusal) => return refusal.into(),
            ClientError::Config(_) => LhttpStatus::ERROR_OPTION,
            ClientError::NotConnected(_) => LhttpStatus::ERROR_NOT_CONNECTED,
            ClientError::Lost(_) => LhttpStatus::ERROR_LOST,
            ClientError::TimedOut => LhttpStatus::ERROR_TIMED_OUT,
            ClientError::BadAnswer(_) => LhttpStatus::ERROR_ANSWER,
            ClientError::OutboxFull => LhttpStatus::ERROR_FULL,
            ClientError::InboxFull => LhttpStatus::ERROR_INBOX_FULL,
            ClientError::Closed(_) => LhttpStatus::ERROR_CLOSED,
        };
        Self::new(status, error.to_string())
    }
}

/// Wraps every exported function that gives a status: runs `body` unless this is a forked child, keeps its failure for
/// `lhttp_last_error`, and stops a panic.
pub(super) fn guard(body: impl FnOnce() -> Result<(), Failure>) -> LhttpStatus {
    guard_status(|| body().map(|()| LhttpStatus::OK))
}

/// The same for a function that has several ways to succeed.
pub(super) fn guard_status(body: impl FnOnce() -> Result<LhttpStatus, Failure>) -> LhttpStatus {
    run(body).unwrap_or_else(|status| status)
}

/// The same for a function with another result: it gives `failed` if it fails.
pub(super) fn guard_or<T>(failed: T, body: impl FnOnce() -> Result<T, Failure>) -> T {
    run(body).unwrap_or(failed)
}

/// The same for a function that needs no lock and no thread: it works in a forked child, too.
pub(super) fn guard_anywhere<T>(failed: T, body: impl FnOnce() -> Result<T, Failure>) -> T {
    caught(body).unwrap_or(failed)
}

fn run<T>(body: impl FnOnce() -> Result<T, Failure>) -> Result<T, LhttpStatus> {
    caught(|| fork::check().and_then(|()| body()))
}

fn caught<T>(body: impl FnOnce() -> Result<T, Failure>) -> Result<T, LhttpStatus> {
    // State that a panic leaves half done is behind locks. Their users take them in spite of the poison, and check the
    // state.
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(failure)) => failure,
        Err(payload) => {
            let failure = Failure::new(LhttpStatus::ERROR_PANIC, format!("lhttp panicked: {}", shown(&*payload)));
            mem::forget(payload); // its drop could panic again
            failure
        }
    };
    let status = failure.status;
    keep(failure);
    Err(status)
}

fn shown(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

/// A failure as C reads it.
#[derive(Default)]
struct Last {
    sentence: CString,
    code: u16,
    reason: CString,
}

thread_local! {
    static LAST: RefCell<Last> = RefCell::default();
}

fn keep(failure: Failure) {
    let (code, reason) = failure.refusal.as_ref().map_or((0, ""), |refusal| (refusal.code(), refusal.reason()));
    let kept = Last { reason: output::text(reason), code, sentence: output::text(failure.sentence) };
    // A thread that is ending cannot keep it any more.
    let _ = LAST.try_with(|last| last.replace(kept));
}

/// The sentence of this thread's last failure; empty if there was none.
pub(super) fn last_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().sentence.as_ptr()).unwrap_or(c"".as_ptr())
}

/// The code, if the failure was a refusal; else 0.
pub(super) fn last_code() -> u16 {
    LAST.try_with(|last| last.borrow().code).unwrap_or(0)
}

/// The word, if the failure was a refusal; else empty.
pub(super) fn last_reason() -> *const c_char {
    LAST.try_with(|last| last.borrow().reason.as_ptr()).unwrap_or(c"".as_ptr())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last() -> String {
        // SAFETY: the text is NUL-terminated, and nothing else fails on this thread while it is read.
        unsafe { CStr::from_ptr(last_error()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_refusal_keeps_its_code_and_its_word() {
        std::thread::spawn(|| {
            assert_eq!(guard(|| Err(Refusal::new(403, "forbidden", "not this").into())), LhttpStatus::ERROR_REFUSED);
            // SAFETY: the text is NUL-terminated, and nothing else fails on this thread while it is read.
            let reason = || unsafe { CStr::from_ptr(last_reason()) };
            assert_eq!((last().as_str(), last_code(), reason()), ("403 forbidden: not this", 403, c"forbidden"));
            assert_eq!(guard(|| Err(ClientError::TimedOut.into())), LhttpStatus::ERROR_TIMED_OUT);
            assert_eq!((last_code(), reason()), (0, c""));
        })
        .join()
        .unwrap();
    }

    /// A payload that panics when it is dropped.
    struct Twice;

    impl Drop for Twice {
        fn drop(&mut self) {
            panic!("again");
        }
    }

    #[test]
    fn a_panic_is_a_status_and_a_sentence() {
        assert_eq!(guard(|| panic!("{} wrong", "something is")), LhttpStatus::ERROR_PANIC);
        assert_eq!(last(), "lhttp panicked: something is wrong");
        assert_eq!(guard(|| std::panic::panic_any(Twice)), LhttpStatus::ERROR_PANIC);
        assert_eq!(guard_or(7, || panic!("at the disco")), 7);
        assert_eq!(last(), "lhttp panicked: at the disco");
    }

    #[test]
    fn each_thread_keeps_its_own_last_error_until_it_fails_again() {
        std::thread::spawn(|| {
            assert_eq!(last(), "");
            assert_eq!(guard(|| Err(Failure::argument("one\0two"))), LhttpStatus::ERROR_ARGUMENT);
            assert_eq!(guard(|| Ok(())), LhttpStatus::OK);
            assert_eq!(last(), "onetwo");
            assert_eq!(std::thread::spawn(last).join().unwrap(), "");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn every_status_has_a_meaning_of_its_own() {
        let meanings: Vec<_> = (0..)
            .map(|code| LhttpStatus(code).meaning())
            .take_while(|text| *text != LhttpStatus(-1).meaning())
            .collect();
        let distinct: std::collections::BTreeSet<_> = meanings.iter().collect();
        assert!(meanings.len() > LhttpStatus::ERROR_ANSWER.0 as usize && distinct.len() == meanings.len());
    }
}
