//! Measures a request's time limit only while this process runs.
//!
//! A process, a container or a VM can be suspended for longer than `upstream-timeout`. ureq's deadlines are points in time, so
//! after such a stop they report a timeout even if the answer is already in the socket. Here a worker waits for input in
//! short slices. A slice costs at most its own length, and after a stop the worker reads once more before it gives up.

use std::{
    cell::Cell,
    fmt,
    time::{Duration, Instant},
};

use ureq::{
    Error, Timeout,
    unversioned::transport::{
        Buffers, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport, time::Duration as Wait,
    },
};

/// The longest single wait for input.
const SLICE: Duration = Duration::from_millis(500);
/// If a wait takes this much longer than asked for, the process was stopped during it.
const STOPPED: Duration = Duration::from_millis(500);
/// How often a request may look once more if its time ended in a stop. Bounded, because a backend that takes a request's bytes
/// one by one looks like a stop, too.
const LOOKS: u8 = 3;

/// What is left of a request's time.
#[derive(Clone, Copy)]
struct Remaining {
    time: Duration,
    looks: u8,
}

thread_local! {
    /// For the request of this worker. A request stays on one thread, but a kept connection may serve other workers later,
    /// so the time cannot lie with the connection.
    static REMAINING: Cell<Remaining> = const { Cell::new(Remaining { time: Duration::ZERO, looks: 0 }) };
}

/// Begins a request of this worker that may take this long.
pub(super) fn begin(time: Duration) {
    REMAINING.set(Remaining { time, looks: LOOKS });
}

/// Calls `wait` with the length of a slice, again and again, until it gives a value or the request's time is over. `wait`
/// gives none when its slice has passed.
pub(super) fn wait<T>(mut wait: impl FnMut(Duration) -> Option<T>) -> Option<T> {
    loop {
        let slice = REMAINING.get().time.min(SLICE);
        if slice.is_zero() {
            return None;
        }
        let start = Instant::now();
        let result = wait(slice);
        charge(start.elapsed(), slice);
        if result.is_some() {
            return result;
        }
    }
}

/// Charges the request with the time of a step, at most `most`. If the step took much longer, the process was stopped.
fn charge(taken: Duration, most: Duration) {
    let mut left = REMAINING.get();
    left.time = left.time.saturating_sub(taken.min(most));
    if left.time.is_zero() && taken > most + STOPPED && left.looks > 0 {
        // One more look finds what came during the stop.
        left = Remaining { time: SLICE, looks: left.looks - 1 };
    }
    REMAINING.set(left);
}

/// Makes TCP connections that wait in slices.
#[derive(Debug, Default)]
pub(super) struct PatientConnector(TcpConnector);

/// A connection that waits in slices.
pub(super) struct Patient<T>(T);

impl Connector for PatientConnector {
    type Out = Patient<<TcpConnector as Connector>::Out>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<()>) -> Result<Option<Self::Out>, Error> {
        debug_assert!(chained.is_none(), "it is the first of the chain");
        let connect = |time: Duration| {
            let details = ConnectionDetails {
                uri: details.uri,
                addrs: details.addrs.clone(),
                config: details.config,
                request_level: details.request_level,
                resolver: details.resolver,
                now: (details.current_time)(),
                timeout: NextTimeout { after: Wait::Exact(time), reason: Timeout::Global, ..details.timeout },
                current_time: details.current_time.clone(),
                run_connector: details.run_connector.clone(),
                register_shutdown: details.register_shutdown.clone(),
            };
            self.0.connect(&details, None)
        };
        let most = REMAINING.get().time;
        let mut start = Instant::now();
        let mut connected = connect(most);
        if matches!(connected, Err(Error::Timeout(_))) && start.elapsed() > most + STOPPED {
            start = Instant::now(); // nothing was sent yet, so the connection can be tried again
            connected = connect(most);
        }
        charge(start.elapsed(), most);
        Ok(connected?.map(Patient))
    }
}

impl<T: Transport> Transport for Patient<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    /// Not sliced: after a timeout nobody knows how much was written. After a stop the system gives the write its whole time
    /// again.
    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let (start, most) = (Instant::now(), REMAINING.get().time);
        let result = self.0.transmit_output(amount, NextTimeout { after: Wait::Exact(most), ..timeout });
        charge(start.elapsed(), most);
        result
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let result = wait(|slice| match self.0.await_input(NextTimeout { after: Wait::Exact(slice), ..timeout }) {
            Err(Error::Timeout(_)) => None,
            result => Some(result),
        });
        result.unwrap_or(Err(Error::Timeout(Timeout::Global)))
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}

impl<T> fmt::Debug for Patient<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patient").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left, in milliseconds.
    fn left() -> u128 {
        REMAINING.get().time.as_millis()
    }

    #[test]
    fn a_stop_costs_no_more_than_the_wait_that_it_came_in() {
        begin(Duration::from_secs(10));
        charge(Duration::from_secs(60), SLICE);
        assert_eq!(left(), 9500);
        charge(Duration::from_millis(100), SLICE);
        assert_eq!(left(), 9400);
    }

    #[test]
    fn behind_a_stop_there_is_one_more_look_and_not_for_ever() {
        begin(SLICE);
        charge(SLICE, SLICE);
        assert_eq!(left(), 0, "without a stop the time is over");
        begin(SLICE);
        for _ in 0..LOOKS {
            charge(Duration::from_secs(60), SLICE);
            assert_eq!(left(), SLICE.as_millis());
        }
        charge(Duration::from_secs(60), SLICE);
        assert_eq!(left(), 0);
    }

    #[test]
    fn a_wait_ends_with_what_comes_or_with_the_time() {
        begin(Duration::from_secs(3600));
        let mut slices = Vec::new();
        let come = wait(|slice| {
            slices.push(slice);
            (slices.len() == 3).then_some("here")
        });
        assert_eq!((come, &slices[..]), (Some("here"), &[SLICE; 3][..]));
        begin(Duration::from_millis(20));
        let never = wait(|slice| {
            wait_out(slice);
            None::<()>
        });
        assert_eq!((never, left()), (None, 0));
    }

    fn wait_out(time: Duration) {
        std::thread::sleep(time);
    }
}
