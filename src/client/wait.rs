//! Waits for a socket or for a time. Another thread can end the wait.

use std::{
    fmt,
    io::{self, ErrorKind},
    net::TcpStream,
    os::fd::AsRawFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};

const SOCKET: Token = Token(0);
const WAKER: Token = Token(1);

/// Events of one wait: there are only two sources.
const EVENTS_MAX: usize = 2;

/// The system counts milliseconds in 31 bits. After a shorter wait the caller looks at the time and waits again.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// Ends a [`Client::poll`](super::Client::poll) from another thread: the current poll, or else the next one, returns at
/// once without an event, so that the polling thread can do something else. Waking twice before a poll ends counts
/// once.
///
/// A wake does not cut an attempt to connect short: the poll ends after the attempt. A wake has no effect once the
/// client is gone.
///
/// ```no_run
/// use std::{thread, time::Duration};
/// use lhttp::client::Client;
///
/// # fn main() -> Result<(), lhttp::client::ClientError> {
/// let mut client = Client::builder("ws://127.0.0.1:8081").connect()?;
/// let waker = client.waker();
/// thread::spawn(move || waker.wake());
/// assert_eq!(client.poll(Duration::MAX)?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Waker(Arc<WakeState>);

struct WakeState {
    /// The client was woken, and no poll has ended for that yet.
    woken: AtomicBool,
    waker: mio::Waker,
}

impl Waker {
    /// Wakes the client. Never blocks.
    pub fn wake(&self) {
        self.0.woken.store(true, Ordering::Release);
        // If the system has no memory for the wake, the next poll sees it.
        let _ = self.0.waker.wake();
    }

    /// Clears all wakes that no poll has ended for.
    pub(crate) fn forget(&self) {
        self.0.woken.store(false, Ordering::Release);
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").field("woken", &self.0.woken).finish_non_exhaustive()
    }
}

/// The poll of a client. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Wait {
    poll: Arc<Mutex<(Poll, Events)>>,
    waker: Waker,
}

impl Wait {
    pub(super) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), WAKER)?;
        let waker = Waker(Arc::new(WakeState { woken: AtomicBool::new(false), waker }));
        Ok(Self { poll: Arc::new(Mutex::new((poll, Events::with_capacity(EVENTS_MAX)))), waker })
    }

    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Whether the client was woken since the last call.
    pub(super) fn was_woken(&self) -> bool {
        self.waker.0.woken.swap(false, Ordering::Acquire)
    }

    /// From now on waits also for this socket, until it is closed.
    pub(super) fn add(&self, socket: &TcpStream) -> io::Result<()> {
        let poll = self.poll.lock().unwrap_or_else(PoisonError::into_inner);
        poll.0.registry().register(&mut SourceFd(&socket.as_raw_fd()), SOCKET, Interest::READABLE | Interest::WRITABLE)
    }

    /// Waits until the deadline, or until the socket may have become ready since it last was not. It may return
    /// earlier.
    ///
    /// # Errors
    /// `Interrupted` when the client is woken or a signal comes.
    pub(super) fn until(&self, deadline: Instant) -> io::Result<()> {
        let (poll, events) = &mut *self.poll.lock().unwrap_or_else(PoisonError::into_inner);
        poll.poll(events, Some(deadline.saturating_duration_since(Instant::now()).min(WAIT_MAX)))?;
        // If the flag is clear, the wake was seen before its event came. The late event means nothing.
        if events.iter().any(|event| event.token() == WAKER) && self.waker.0.woken.load(Ordering::Acquire) {
            return Err(ErrorKind::Interrupted.into());
        }
        Ok(())
    }
}
