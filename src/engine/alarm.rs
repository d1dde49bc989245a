//! A core's clock for deadlines: a timer descriptor in its poll (`timerfd_create(2)`).
//!
//! The kernel would set up and tear down a timeout of each poll in every turn. That costs half a microsecond of a round
//! trip's eight, for deadlines that are seconds away and usually move before they come.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use mio::{Interest, Registry, Token, unix::SourceFd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// Wakes the poll at a set time. Each expiry is an edge, so the descriptor is never read.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: OwnedFd,
    /// The last time that was set. If it is past, the alarm has gone off.
    at: Option<Duration>,
}

impl Alarm {
    /// An alarm that is not set.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { timer, at: None })
    }

    /// Makes the poll wake at `deadline`, or slightly later if `now` is slightly old. It may wake before: an alarm for
    /// an earlier time stays set, so that a deadline that keeps moving back costs no system call.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn wake_at(&mut self, now: Duration, deadline: Duration) -> io::Result<()> {
        if self.at.is_some_and(|at| now < at && at <= deadline) {
            return Ok(());
        }
        // Zero would turn the timer off.
        let wait = deadline.saturating_sub(now).max(Duration::from_nanos(1));
        let value = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        self.at = Some(deadline);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use mio::{Events, Poll};

    use super::*;

    const TOKEN: Token = Token(7);
    const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

    /// How long after `start` the alarm goes off.
    fn wait_for_alarm(poll: &mut Poll, start: Instant) -> Duration {
        let mut events = Events::with_capacity(8);
        poll.poll(&mut events, PATIENCE).unwrap();
        assert_eq!(events.iter().map(|event| event.token()).collect::<Vec<_>>(), [TOKEN]);
        start.elapsed()
    }

    #[test]
    fn it_goes_off_each_time_that_it_is_set_and_never_early() {
        let mut poll = Poll::new().unwrap();
        let mut alarm = Alarm::new(poll.registry(), TOKEN).unwrap();
        let start = Instant::now();
        let mut now = Duration::ZERO;
        for _ in 0..3 {
            let deadline = now + Duration::from_millis(5);
            alarm.wake_at(now, deadline).unwrap();
            now = wait_for_alarm(&mut poll, start);
            assert!(now >= deadline, "{now:?} is before {deadline:?}");
        }
        alarm.wake_at(now, now).unwrap(); // a deadline that has come
        wait_for_alarm(&mut poll, start);
    }

    #[test]
    fn an_earlier_deadline_resets_the_alarm_and_a_later_one_waits_until_it_has_gone_off() {
        let mut poll = Poll::new().unwrap();
        let mut alarm = Alarm::new(poll.registry(), TOKEN).unwrap();
        let start = Instant::now();
        alarm.wake_at(Duration::ZERO, Duration::from_secs(3600)).unwrap();
        alarm.wake_at(Duration::ZERO, Duration::from_millis(5)).unwrap();
        alarm.wake_at(Duration::ZERO, Duration::from_secs(3600)).unwrap();
        assert_eq!(alarm.at, Some(Duration::from_millis(5)), "it goes off early instead of being set again");
        let now = wait_for_alarm(&mut poll, start);
        alarm.wake_at(now, Duration::from_secs(3600)).unwrap();
        assert_eq!(alarm.at, Some(Duration::from_secs(3600)));
    }
}
