//! How often one connection may do what: token buckets, each in one number.
//!
//! A bucket is the time at which it is full again, as in the generic cell rate algorithm: each message moves that time on
//! by the time that the rate gives to a message. A bucket that holds one second of its rate is empty when that time is a
//! second away. A bucket of messages must hold a whole one. A bucket of bytes or names need not be full enough: a message
//! that begins before it is empty is admitted whole, or a large one would be impossible. The bucket is then in debt, and
//! the next message waits for longer.

use crate::config::Config;

/// A second, in the unit of all times here.
pub(crate) const SECOND: u64 = 1_000_000_000;
/// A connection that sends at so many times its rate is closed.
const FLOOD_FACTOR: u64 = 10;

/// The rates of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    messages: Rate,
    bytes: Rate,
    subscribes: Rate,
}

/// So many a second; zero is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rate(u64);

/// The buckets of one connection. All are full at first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Buckets {
    messages: u64,
    bytes: u64,
    subscribes: u64,
    /// These count what is refused, too, at ten times the rates.
    flood: u64,
    subscribes_flood: u64,
}

const _: () = assert!(size_of::<Buckets>() == 40);

/// The time until the next message is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait(u64);

impl Wait {
    /// In whole seconds, rounded up.
    pub(crate) fn seconds(self) -> u32 {
        u32::try_from(self.0.div_ceil(SECOND)).unwrap_or(u32::MAX)
    }
}

impl Rate {
    pub(crate) fn new(a_second: usize) -> Self {
        Self(a_second as u64)
    }

    pub(crate) fn is_off(self) -> bool {
        self.0 == 0
    }

    /// The time that the rate gives to so many.
    fn time(self, count: u64) -> u64 {
        if self.is_off() { 0 } else { count.saturating_mul(SECOND) / self.0 }
    }

    /// Takes one from a bucket that holds one.
    ///
    /// # Errors
    /// The bucket holds less than one.
    pub(crate) fn take_one(self, full_at: &mut u64, now: u64) -> Result<(), Wait> {
        self.check(*full_at, now, self.time(1))?;
        self.take(full_at, now, 1);
        Ok(())
    }

    /// Takes so many, even if the bucket does not hold them.
    fn take(self, full_at: &mut u64, now: u64, count: u64) {
        *full_at = (*full_at).max(now).saturating_add(self.time(count));
    }

    /// Checks that a bucket holds what it gets in this time.
    fn check(self, full_at: u64, now: u64, time: u64) -> Result<(), Wait> {
        match full_at.saturating_sub(now).saturating_add(time) {
            _ if self.is_off() => Ok(()),
            missing if missing <= SECOND => Ok(()),
            missing => Err(Wait(missing - SECOND)),
        }
    }

    /// Checks that a bucket holds something.
    fn check_not_empty(self, full_at: u64, now: u64) -> Result<(), Wait> {
        self.check(full_at, now, 1)
    }

    /// How many a bucket holds.
    fn left(self, full_at: u64, now: u64) -> u64 {
        if self.is_off() {
            return u64::MAX;
        }
        let time = SECOND.saturating_sub(full_at.saturating_sub(now));
        time * self.0 / SECOND // at most one second of at most a billion, which fits
    }
}

impl Rates {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            messages: Rate::new(config.message_rate),
            bytes: Rate::new(config.byte_rate),
            subscribes: Rate::new(config.subscribe_rate),
        }
    }

    /// Whether there is any limit.
    pub(crate) fn are_on(&self) -> bool {
        *self != Self::default()
    }

    /// Admits a message of this many bytes, or not.
    ///
    /// # Errors
    /// The connection has sent too much.
    pub(crate) fn admit(&self, buckets: &mut Buckets, now: u64, bytes: u64) -> Result<(), Wait> {
        self.count_flood(buckets, now, 1, bytes);
        self.bytes.check_not_empty(buckets.bytes, now)?;
        self.messages.take_one(&mut buckets.messages, now)?;
        self.bytes.take(&mut buckets.bytes, now, bytes);
        Ok(())
    }

    /// The most messages and bytes that a run of messages may have: each of these messages would be admitted.
    pub(crate) fn run(&self, buckets: &Buckets, now: u64) -> (u64, u64) {
        (self.messages.left(buckets.messages, now), self.bytes.left(buckets.bytes, now))
    }

    /// Takes a run that [`Rates::run`] allows.
    pub(crate) fn take_run(&self, buckets: &mut Buckets, now: u64, messages: u64, bytes: u64) {
        self.count_flood(buckets, now, messages, bytes);
        self.messages.take(&mut buckets.messages, now, messages);
        self.bytes.take(&mut buckets.bytes, now, bytes);
    }

    /// Admits a message that subscribes to so many names, or not.
    ///
    /// # Errors
    /// The connection has subscribed to too many.
    pub(crate) fn admit_subscribes(&self, buckets: &mut Buckets, now: u64, names: u64) -> Result<(), Wait> {
        // At most a whole bucket: a message with many names may be admitted.
        let cost = self.subscribes.time(names).min(SECOND) / FLOOD_FACTOR;
        buckets.subscribes_flood = buckets.subscribes_flood.max(now).saturating_add(cost);
        self.subscribes.check_not_empty(buckets.subscribes, now)?;
        self.subscribes.take(&mut buckets.subscribes, now, names);
        Ok(())
    }

    /// Counts frames or messages for [`Rates::is_flood`] only.
    pub(crate) fn count_flood(&self, buckets: &mut Buckets, now: u64, messages: u64, bytes: u64) {
        let cost = self.messages.time(messages).max(self.bytes.time(bytes).min(SECOND)) / FLOOD_FACTOR;
        buckets.flood = buckets.flood.max(now).saturating_add(cost);
    }

    /// Whether the connection has sent ten times as much as it may.
    pub(crate) fn is_flood(buckets: &Buckets, now: u64) -> bool {
        buckets.flood.max(buckets.subscribes_flood).saturating_sub(now) > SECOND
    }
}

#[cfg(test)]
mod tests;
