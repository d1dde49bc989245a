//! What the server has confirmed, and what the cores know of that.

/// The progress of what the bridge sends.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// By core, the interests that the server was last asked to confirm.
    asked: Vec<u64>,
    /// By core, the interests that the cores know to be live.
    answered: Vec<u64>,
    /// The number of the last message that is confirmed, or given up.
    confirmed: u64,
    /// Messages that the client had taken when the bridge last looked.
    taken: u64,
    /// The cores count on other nodes.
    pub(super) is_online: bool,
    /// The server is connected and does not answer.
    pub(super) is_silent: bool,
}

impl Progress {
    /// Notes that the server is asked to confirm these interests. False if it was asked already.
    pub(super) fn ask(&mut self, heard: &[u64]) -> bool {
        let is_new = heard != self.asked;
        if is_new {
            self.asked = heard.to_vec();
        }
        is_new
    }

    /// The server must be asked again: it has not heard the last question.
    pub(super) fn retract(&mut self) {
        self.asked.clear();
    }

    /// All messages up to this number have arrived.
    pub(super) fn confirm(&mut self, number: u64) {
        self.confirmed = self.confirmed.max(number);
    }

    /// Of these messages that the client has taken, those that the server has not confirmed.
    pub(super) fn unconfirmed(&self, taken: u64) -> u64 {
        taken.saturating_sub(self.confirmed)
    }

    /// Notes how many messages the client has taken.
    pub(super) fn note_taken(&mut self, taken: u64) {
        self.taken = taken;
    }

    /// The interests of each core in `heard` are live. Gives the cores that do not know it yet, with their counts.
    pub(super) fn answer<'h>(&mut self, heard: &'h [u64]) -> impl Iterator<Item = (usize, u64)> + use<'h> {
        let answered = std::mem::replace(&mut self.answered, heard.to_vec());
        let was_online = std::mem::replace(&mut self.is_online, true);
        self.is_silent = false;
        let counts = heard.iter().copied().enumerate();
        counts.filter(move |(core, count)| !was_online || answered.get(*core) != Some(count))
    }

    /// The connection is lost, after the client had taken this many messages. Gives how many of them may be lost.
    pub(super) fn cut(&mut self, taken: u64) -> u64 {
        let lost = self.unconfirmed(taken);
        self.confirm(taken);
        self.retract();
        lost
    }

    /// The cores no longer count on other nodes.
    pub(super) fn go_offline(&mut self) {
        self.is_online = false;
        self.retract();
    }

    /// A new client begins, which counts from 0.
    pub(super) fn begin(&mut self) {
        *self = Self { answered: std::mem::take(&mut self.answered), ..Self::default() };
    }

    /// The client has ended. Gives how many messages it may have lost, as far as known.
    pub(super) fn give_up(&mut self) -> u64 {
        let lost = self.unconfirmed(self.taken);
        self.begin();
        lost
    }
}
