//! Takes in the cores' interest, and asks the server for the subscriptions that it needs.

use tokio::time::{Duration, Instant};

use super::{
    commands::{Asked, Command},
    members::Out,
    task::Task,
};

/// How often NATS is asked again for refused names: a limit may be raised, or another name may have left room.
const RETRIED_EVERY: Duration = Duration::from_secs(5);
/// Bytes of interest that are taken in before messages and answers have their turn.
const SHARE_BYTES: usize = 16 * 1024;
/// How soon the bridge looks again at interest that waits for a server that is behind.
const ANSWER_PAUSE: Duration = Duration::from_millis(2);

impl Task<'_> {
    /// When to call [`Task::hear`].
    pub(super) fn hear_at(&self, now: Instant) -> Instant {
        let hearing = &self.hearing;
        if hearing.has_news && !hearing.is_behind { now.min(hearing.due_at) } else { hearing.due_at }
    }

    /// Takes in a share of the cores' interest, and asks the server for new subscriptions. A server that has much to answer
    /// gets no more for now, since messages would wait behind it. True if more interest waits that can be taken in at once.
    pub(super) fn hear(&mut self, now: Instant) -> bool {
        self.hearing.has_news = false;
        let is_retry = now.duration_since(self.hearing.retried_at) >= RETRIED_EVERY;
        if is_retry {
            self.hearing.retried_at = now;
        }
        let is_silent = self.lasting.progress.is_silent;
        let is_behind = !is_silent && self.current().is_some_and(|connection| connection.commands.is_behind());
        let (current, message_bytes_max) = (self.current_index(), self.client.max_payload());
        let lasting = &mut *self.lasting;
        let mut share = if is_behind { 0 } else { SHARE_BYTES };
        while share > 0
            && let Some((core, batch)) = lasting.uplink.take_interest()
        {
            lasting.table.hear(core, &batch, now);
            let commands = current.map(|at| &mut self.connections[at].commands);
            lasting.hear_items(core, &batch, Out { commands, message_bytes_max }, now);
            share = share.saturating_sub(batch.len());
        }
        let next = lasting.table.expire(now);
        if is_retry {
            lasting.table.retry();
        }
        self.ask();
        self.lasting.tell_news();
        self.lasting.to_cores.send();
        self.lasting.show_counts();
        let has_more = self.lasting.uplink.has_interest();
        self.hearing.is_behind = is_behind && has_more;
        let longest = match has_more {
            true if is_behind => ANSWER_PAUSE,
            true => Duration::ZERO,
            false => RETRIED_EVERY,
        };
        self.hearing.due_at = next.map_or(now + longest, |next| next.min(now + longest));
        has_more && !is_behind
    }

    /// Asks the server for new subscriptions, ends old ones, and has it confirm all interest so far.
    fn ask(&mut self) {
        let Some(at) = self.current_index() else { return };
        if self.lasting.stream.is_being_asked(Instant::now()) {
            return;
        }
        let (lasting, commands) = (&mut *self.lasting, &mut self.connections[at].commands);
        let leaving = lasting.table.narrow_again();
        while let Some((sid, name)) = lasting.table.ask() {
            commands.push(Command::Subscribe(sid, lasting.subject(&name), lasting.stream.live_subject(&name)));
        }
        if !leaving.is_empty() {
            commands.push(Command::Ask(Asked::Dissolve(leaving)));
        }
        for sid in std::mem::take(&mut lasting.table.ended) {
            commands.push(Command::Unsubscribe(sid));
        }
        let heard = lasting.table.heard();
        if lasting.progress.ask(heard) {
            commands.push(Command::Ask(Asked::Interest(heard.to_vec())));
        }
    }
}
