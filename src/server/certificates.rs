//! The thread that reads the files of TLS again.

use std::{
    io,
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use crate::tls::Acceptor;

/// The time between two looks at the files. A certificate is renewed days before the old one expires.
const EVERY: Duration = Duration::from_secs(60);

/// Looks at the files once a minute. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Watch {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn start(acceptor: Acceptor) -> io::Result<Self> {
        Self::every(EVERY, move || acceptor.look())
    }

    fn every(time: Duration, look: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let run = move || {
            while stopped.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                look();
            }
        };
        let thread = thread::Builder::new().name("lhttp-certs".to_owned()).spawn(run)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread that reads certificates again has panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_again_and_again_until_it_is_dropped() {
        let (looked, looks) = bounded(0);
        let watch = Watch::every(Duration::from_millis(1), move || _ = looked.send(())).unwrap();
        (0..3).for_each(|_| looks.recv().unwrap());
        let dropped = thread::spawn(move || drop(watch));
        while looks.recv().is_ok() {}
        dropped.join().unwrap();
    }
}
