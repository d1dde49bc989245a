//! The questions of a load that are under way at the same time. The stream answers each with one message, so a load of one
//! question at a time takes a round trip a message, and never ends for a channel that gets more.
//!
//! The questions of a burst ask for the channel's first message from a number on, from the next number on, and so on. In a
//! channel whose messages follow each other closely each answer is another message. In others several answers are the
//! same one; then the next burst is shorter.

use tokio::time::Instant;

/// The most questions of a burst.
pub(super) const BURST_MAX: u64 = 16;
/// The most bytes of a burst's answers, as far as the messages before tell.
const BURST_BYTES: usize = 1024 * 1024;

/// Questions of one load that are under way. Their requests have even numbers that follow each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burst {
    first_request: u64,
    /// The number from which the first question asks.
    from: u64,
    len: u64,
    /// The questions that are answered, one bit each.
    answered: u32,
    /// When it was asked for, or was last answered.
    pub(super) at: Instant,
}

impl Burst {
    pub(super) fn new(first_request: u64, from: u64, len: u64, at: Instant) -> Self {
        Self { first_request, from, len: len.clamp(1, BURST_MAX), answered: 0, at }
    }

    /// Takes an answer. Returns the number from which its question asks, unless it is of another burst or comes again.
    pub(super) fn answered(&mut self, request: u64, now: Instant) -> Option<u64> {
        let index = request.checked_sub(self.first_request)? / 2;
        if index >= self.len || self.answered & (1 << index) != 0 {
            return None;
        }
        self.answered |= 1 << index;
        self.at = now;
        Some(self.from + index)
    }

    /// Whether all questions are answered.
    pub(super) fn is_done(&self) -> bool {
        u64::from(self.answered.count_ones()) == self.len
    }

    /// The questions beside the first one.
    pub(super) fn extra(&self) -> u64 {
        self.len - 1
    }
}

/// How many questions the next burst of a load has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    questions: u64,
    /// The messages that the burst under way has brought.
    brought: u64,
    /// The bytes of the largest message so far.
    largest: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { questions: 1, brought: 0, largest: 0 }
    }
}

impl Pace {
    /// Notes a message of so many bytes.
    pub(super) fn brought(&mut self, bytes: usize) {
        self.brought += 1;
        self.largest = self.largest.max(bytes);
    }

    /// A burst has all answers. The next one is longer if each answer was another message.
    pub(super) fn burst_is_done(&mut self, burst: &Burst) {
        self.questions = match self.brought >= burst.len {
            true => (2 * burst.len).min(BURST_MAX),
            false => self.brought.max(1),
        };
        self.brought = 0;
    }

    /// The length of the next burst.
    pub(super) fn questions(&self) -> u64 {
        self.questions.min((BURST_BYTES / self.largest.max(1)) as u64).max(1)
    }

    /// Begins anew: answers are missing.
    pub(super) fn restart(&mut self) {
        (self.questions, self.brought) = (1, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_takes_each_of_its_answers_once_in_any_order() {
        let now = Instant::now();
        let mut burst = Burst::new(10, 100, 3, now);
        assert_eq!((burst.answered(8, now), burst.answered(16, now)), (None, None), "they are of others");
        assert_eq!((burst.answered(12, now), burst.answered(12, now)), (Some(101), None));
        assert_eq!((burst.answered(10, now), burst.is_done()), (Some(100), false));
        assert_eq!((burst.answered(14, now), burst.is_done()), (Some(102), true));
    }

    #[test]
    fn bursts_grow_while_each_answer_is_another_message_and_stay_small_for_large_ones() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let mut go_on = |brought: u64, bytes: usize| {
            let burst = Burst::new(2, 1, pace.questions(), now);
            (0..brought.min(burst.len)).for_each(|_| pace.brought(bytes));
            pace.burst_is_done(&burst);
            pace.questions()
        };
        let dense: Vec<u64> = (0..6).map(|_| go_on(u64::MAX, 100)).collect();
        assert_eq!(dense, [2, 4, 8, 16, 16, 16]);
        let sparse: Vec<u64> = [8, 4, 1, 0].map(|brought| go_on(brought, 100)).into();
        assert_eq!(sparse, [8, 4, 1, 1]);
        let large: Vec<u64> = (0..3).map(|_| go_on(u64::MAX, 400_000)).collect();
        assert_eq!(large, [2, 2, 2]);
    }
}
