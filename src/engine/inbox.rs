//! Requests of other threads to a core: publishes, answers, the request to stop.
//!
//! The core that owns the connection carries a letter out in its next turn. A thread that posts a letter does not wait:
//! a full inbox is an error for the caller.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TrySendError, bounded};

use crate::{
    config::memory,
    engine::{
        ending::Ending,
        limits::Limits,
        slot::ConnectionKey,
        survey::{Answered, Question},
        wake::Wake,
    },
    error::PublishError,
};

/// The most letters in one inbox. The channel is an array with 56 bytes for each, all of which are written when it is
/// created. A growing channel would cost about 10 ns more for each letter.
const LETTERS_MAX: usize = 16 * 1024;
/// The most bytes of payloads in one inbox.
const BYTES_MAX: usize = 8 * 1024 * 1024;

const _: () = assert!(LETTERS_MAX * size_of::<Letter>() + BYTES_MAX <= memory::INBOX_BYTES);

/// One request to a core.
#[derive(Debug)]
pub(crate) enum Letter {
    /// Publish to checked channels, joined by spaces.
    Publish {
        /// The channels.
        channels: Box<[u8]>,
        /// The message.
        payload: Vec<u8>,
    },
    #[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "nobody asks"))]
    /// Publish all of these, in their order: channels and message as above.
    PublishAll(Vec<(Box<[u8]>, Vec<u8>)>),
    /// Send to one connection, if it is still there.
    Send {
        /// Which.
        key: ConnectionKey,
        /// Whether to send it as text, if it is UTF-8.
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
    #[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "nobody asks"))]
    /// Answer this question, with [`Letter::Told`] to the asker.
    Ask {
        /// The asker's number of the question.
        id: u32,
        /// What.
        question: Arc<Question>,
        /// Who.
        asker: Mailbox,
    },
    /// A core's answer to a question of this core.
    Told {
        /// The number of the question.
        id: u32,
        /// The core.
        core: u32,
        /// Its answer.
        answer: Box<Answered>,
    },
    #[cfg_attr(not(all(feature = "nats", feature = "admin")), allow(dead_code, reason = "nobody asks"))]
    /// A message of another node about its operators.
    OfNode(Box<[u8]>),
    /// Use these options from now on, and confirm that.
    Options(Box<CoreOptions>, Sender<()>),
}

/// The part of a core's configuration that can change while it runs.
#[derive(Clone, Debug)]
pub(crate) struct CoreOptions {
    pub(crate) limits: Limits,
    /// The maximum over all cores.
    pub(crate) connections_max: usize,
    pub(crate) busy_poll: Duration,
    pub(crate) coalesce: Duration,
}

impl Letter {
    fn bytes(&self) -> usize {
        match self {
            Self::Publish { channels, payload } => channels.len() + payload.len(),
            Self::PublishAll(all) => {
                let bytes = |(channels, payload): &(Box<[u8]>, Vec<u8>)| channels.len() + payload.len();
                all.iter().map(|one| size_of_val(one) + bytes(one)).sum()
            }
            Self::Send { payload, .. } => payload.len(),
            Self::Close { reason, .. } => reason.len(),
            Self::OfNode(message) => message.len(),
            Self::Ask { .. } | Self::Told { .. } | Self::Options(..) => 0, // not a payload, and rare
        }
    }
}

#[derive(Debug)]
struct State {
    wake: Arc<Wake>,
    /// Bytes of the letters in the inbox.
    bytes: AtomicUsize,
    /// Set when a thread has asked to stop.
    ending: OnceLock<Ending>,
}

/// The core's end of its inbox.
#[derive(Debug)]
pub(crate) struct Inbox {
    letters: Receiver<Letter>,
    state: Arc<State>,
}

/// The other threads' end of an inbox.
#[derive(Clone, Debug)]
pub(crate) struct Mailbox {
    letters: Sender<Letter>,
    state: Arc<State>,
}

/// An inbox of the core that `wake` wakes: both ends.
pub(crate) fn inbox(wake: Arc<Wake>) -> (Mailbox, Inbox) {
    inbox_of(LETTERS_MAX, wake)
}

/// The same for this many letters.
pub(crate) fn inbox_of(letters_max: usize, wake: Arc<Wake>) -> (Mailbox, Inbox) {
    let (sender, receiver) = bounded(letters_max);
    let state = Arc::new(State { wake, bytes: AtomicUsize::new(0), ending: OnceLock::new() });
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

    /// Posts a letter, and waits until `deadline` while the inbox is full. Only for threads that may block, and for
    /// letters without a payload.
    ///
    /// # Errors
    /// The inbox was full until the deadline, or the core has ended.
    pub(crate) fn post_by(&self, deadline: Instant, letter: Letter) -> Result<(), PublishError> {
        self.letters.send_deadline(letter, deadline).map_err(|error| match error {
            SendTimeoutError::Timeout(_) => PublishError::Full,
            SendTimeoutError::Disconnected(_) => PublishError::Stopped,
        })?;
        self.state.wake.notify();
        Ok(())
    }

    /// Asks the core to stop in this way. Only the first call counts.
    pub(crate) fn stop(&self, ending: Ending) {
        let _ = self.state.ending.set(ending);
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

    /// The number of waiting letters.
    pub(crate) fn len(&self) -> usize {
        self.letters.len()
    }

    /// Whether a letter waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// How to stop, after a thread has asked the core to do so.
    pub(crate) fn stop_asked(&self) -> Option<Ending> {
        self.state.ending.get().copied()
    }

    /// The flag that wakes this core, to keep.
    pub(crate) fn shared_wake(&self) -> Arc<Wake> {
        Arc::clone(&self.state.wake)
    }

    /// The flag that wakes this core.
    pub(crate) fn wake(&self) -> &Wake {
        &self.state.wake
    }
}
