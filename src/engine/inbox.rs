//! What other threads have to say to a core: publishes, answers, the wish to stop.
//!
//! A letter is delivered by the core that owns the connection, between two turns. Whoever posts it never waits: a full
//! inbox is an error that the caller sees.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TrySendError, bounded};

use crate::{
    config::memory,
    engine::{limits::Limits, slot::ConnectionKey, wake::Wake},
    error::PublishError,
};

/// Letters that one inbox holds. The channel is an array of 56 bytes for each, all of which are written when it is made. One
/// that grows would cost about 10 ns more a letter.
const LETTERS_MAX: usize = 16 * 1024;
/// Bytes of payloads that one inbox holds.
const BYTES_MAX: usize = 8 * 1024 * 1024;

const _: () = assert!(LETTERS_MAX * size_of::<Letter>() + BYTES_MAX <= memory::INBOX_BYTES);

/// One thing for a core to do.
#[derive(Debug)]
pub(crate) enum Letter {
    /// Publish to checked channels, joined by spaces.
    Publish {
        /// The channels.
        channels: Box<[u8]>,
        /// The message.
        payload: Vec<u8>,
    },
    /// Send to one connection, if it is still there.
    Send {
        /// Which.
        key: ConnectionKey,
        /// Whether it goes as text, if it can.
        is_text: bool,
        /// The message.
        payload: Vec<u8>,
    },
    /// Close one connection, if it is still there.
    Close {
        /// Which.
        key: ConnectionKey,
        /// The close code.
        code: u16,
        /// The close reason.
        reason: Box<str>,
    },
    /// From now on, keep to these, and say so.
    Options(Box<CoreOptions>, Sender<()>),
}

/// What of a core's configuration can change while it runs.
#[derive(Clone, Debug)]
pub(crate) struct CoreOptions {
    pub(crate) limits: Limits,
    /// Over all cores.
    pub(crate) connections_max: usize,
    pub(crate) busy_poll: Duration,
    pub(crate) coalesce: Duration,
}

impl Letter {
    fn bytes(&self) -> usize {
        match self {
            Self::Publish { channels, payload } => channels.len() + payload.len(),
            Self::Send { payload, .. } => payload.len(),
            Self::Close { reason, .. } => reason.len(),
            Self::Options(..) => 0, // not a payload, and few
        }
    }
}

#[derive(Debug)]
struct State {
    wake: Arc<Wake>,
    /// Bytes of the letters that are in the inbox.
    bytes: AtomicUsize,
    /// 0: nobody asked to stop; else 1 + the milliseconds to drain.
    stop: AtomicU64,
}

/// The core's end.
#[derive(Debug)]
pub(crate) struct Inbox {
    letters: Receiver<Letter>,
    state: Arc<State>,
}

/// Everybody else's end.
#[derive(Clone, Debug)]
pub(crate) struct Mailbox {
    letters: Sender<Letter>,
    state: Arc<State>,
}

/// A pair of ends, for the core that `wake` wakes.
pub(crate) fn inbox(wake: Arc<Wake>) -> (Mailbox, Inbox) {
    inbox_of(LETTERS_MAX, wake)
}

/// The same for so many letters.
pub(crate) fn inbox_of(letters_max: usize, wake: Arc<Wake>) -> (Mailbox, Inbox) {
    let (sender, receiver) = bounded(letters_max);
    let state = Arc::new(State { wake, bytes: AtomicUsize::new(0), stop: AtomicU64::new(0) });
    (Mailbox { letters: sender, state: Arc::clone(&state) }, Inbox { letters: receiver, state })
}

impl Mailbox {
    /// Posts a letter.
    ///
    /// # Errors
    /// The inbox is full, or the core has ended.
    pub(crate) fn post(&self, letter: Letter) -> Result<(), PublishError> {
        self.try_post(letter).map_err(|(error, _)| error)
    }

    /// Posts a letter, or gives it back.
    ///
    /// # Errors
    /// As [`Mailbox::post`].
    pub(crate) fn try_post(&self, letter: Letter) -> Result<(), (PublishError, Letter)> {
        let bytes = letter.bytes();
        let before = self.state.bytes.fetch_add(bytes, Ordering::Relaxed);
        let posted = if before > 0 && before + bytes > BYTES_MAX {
            Err((PublishError::Full, letter))
        } else {
            self.letters.try_send(letter).map_err(|error| match error {
                TrySendError::Full(letter) => (PublishError::Full, letter),
                TrySendError::Disconnected(letter) => (PublishError::Stopped, letter),
            })
        };
        if posted.is_err() {
            self.state.bytes.fetch_sub(bytes, Ordering::Relaxed);
        } else {
            self.state.wake.notify();
        }
        posted
    }

    /// Posts a letter, and waits until `deadline` if the inbox is full. Only for a thread that may block, and a letter
    /// without a payload.
    ///
    /// # Errors
    /// The inbox was full until then, or the core has ended.
    pub(crate) fn post_by(&self, deadline: Instant, letter: Letter) -> Result<(), PublishError> {
        self.letters.send_deadline(letter, deadline).map_err(|error| match error {
            SendTimeoutError::Timeout(_) => PublishError::Full,
            SendTimeoutError::Disconnected(_) => PublishError::Stopped,
        })?;
        self.state.wake.notify();
        Ok(())
    }

    /// Asks the core to stop after draining for at most this long. The first wish counts.
    pub(crate) fn stop(&self, drain: Duration) {
        let millis = u64::try_from(drain.as_millis()).unwrap_or(u64::MAX - 1).min(u64::MAX - 1);
        let _ = self.state.stop.compare_exchange(0, millis + 1, Ordering::AcqRel, Ordering::Relaxed);
        self.state.wake.notify();
    }
}

impl Inbox {
    /// The next letter, if there is one.
    pub(crate) fn take(&self) -> Option<Letter> {
        let letter = self.letters.try_recv().ok()?;
        self.state.bytes.fetch_sub(letter.bytes(), Ordering::Relaxed);
        Some(letter)
    }

    /// How many letters wait.
    pub(crate) fn len(&self) -> usize {
        self.letters.len()
    }

    /// Whether a letter waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// How long the core is to drain, once somebody has asked it to stop.
    pub(crate) fn stop_asked(&self) -> Option<Duration> {
        self.state.stop.load(Ordering::Acquire).checked_sub(1).map(Duration::from_millis)
    }

    /// What wakes this core, to keep.
    pub(crate) fn shared_wake(&self) -> Arc<Wake> {
        Arc::clone(&self.state.wake)
    }

    /// What wakes this core.
    pub(crate) fn wake(&self) -> &Wake {
        &self.state.wake
    }
}
