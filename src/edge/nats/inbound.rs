//! Messages from NATS on their way to the cores, and what the server answers.

use std::sync::{
    Arc, MutexGuard,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    engine::{
        relay,
        uplink::{DOWNLINK_BYTES_MAX, Downlink},
    },
    protocol::channel::Kind,
};

use super::{
    Shared,
    audience::{Audience, Target},
    drops::Tally,
    lock,
    overlap::Overlap,
    refusal::Refusal,
    server::{Asked, Command, Server, Waiting},
    table::{News, Table},
};

/// A batch of this size, in bytes, is handed over before the rest is taken in: after a pause the server brings several MiB
/// at once, and the core is to begin with them.
const BATCH_BYTES: usize = 256 * 1024;
/// What a delivery takes beside its name and payload, at most: tag, kind, two lengths and a frame header.
const OVERHEAD_BYTES: usize = 1 + 1 + 1 + 4 + 10;

/// What is to be sent to the cores.
pub(super) struct Inbound {
    cores: Vec<Outgoing>,
    /// A frame that is larger would close who gets it. A reload may change it.
    frame_bytes_max: Arc<AtomicUsize>,
    pub(super) received: u64,
    /// Messages of a wide subscription that nobody here wants.
    pub(super) unwanted: u64,
    /// While one connection takes over from another, both bring messages.
    pub(super) overlap: Option<Overlap>,
    /// Messages that were dropped, for a core was behind.
    pub(super) behind: Tally,
    /// Messages that were dropped, for no outbox would hold them.
    pub(super) too_big: Tally,
    /// Messages that were dropped, for their subject is no channel.
    pub(super) odd: Tally,
}

struct Outgoing {
    downlink: Downlink,
    batch: Vec<u8>,
}

impl Inbound {
    pub(super) fn new(downlinks: Vec<Downlink>, frame_bytes_max: Arc<AtomicUsize>) -> Self {
        let cores = downlinks.into_iter().map(|downlink| Outgoing { downlink, batch: Vec::new() }).collect();
        Self {
            cores,
            frame_bytes_max,
            received: 0,
            unwanted: 0,
            overlap: None,
            behind: Tally::default(),
            too_big: Tally::default(),
            odd: Tally::default(),
        }
    }

    /// Tells a core that its interest up to this number is live.
    pub(super) fn answer(&mut self, core: usize, count: u64) {
        relay::put_answered(&mut self.cores[core].batch, count);
    }

    /// Tells all cores not to wait for answers.
    pub(super) fn be_absent(&mut self) {
        self.cores.iter_mut().for_each(|core| relay::put_absent(&mut core.batch));
    }

    /// Tells cores that nothing will come for some names, and that something will for others.
    pub(super) fn tell(&mut self, refused: &[News], accepted: &[News]) {
        for (news, put) in
            [(refused, relay::put_refused as fn(&mut Vec<u8>, &[u8], Kind)), (accepted, relay::put_accepted)]
        {
            for (cores, name, kind) in news {
                each(*cores, |core| put(&mut self.cores[core].batch, name.as_bytes(), *kind));
            }
        }
    }

    /// Messages dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.behind.count() + self.too_big.count() + self.odd.count()
    }

    /// One message for an audience, on these cores. Past a core's limit it is dropped there.
    fn deliver(&mut self, cores: u64, audience: Audience<'_>, subject: &[u8], payload: &[u8]) {
        self.received += 1;
        let name = match audience {
            Audience::Name(name, _) => name.as_bytes(),
            Audience::Channel(name, _) => name,
        };
        let size = name.len() + payload.len() + OVERHEAD_BYTES;
        if size > self.frame_bytes_max.load(Ordering::Relaxed) {
            self.too_big.add_bytes(subject);
            return;
        }
        let is_text = simdutf8::basic::from_utf8(payload).is_ok();
        let mut is_dropped = false;
        each(cores, |core| {
            let core = &mut self.cores[core];
            if core.downlink.bytes() + core.batch.len() + size > DOWNLINK_BYTES_MAX.max(size) {
                is_dropped = true;
                return;
            }
            match audience {
                Audience::Name(_, kind) => relay::put_delivery(&mut core.batch, name, kind, is_text, payload),
                Audience::Channel(_, is_all) => relay::put_wide(&mut core.batch, name, is_all, is_text, payload),
            }
            if core.batch.len() >= BATCH_BYTES {
                let batch = Vec::with_capacity(BATCH_BYTES + BATCH_BYTES / 4);
                core.downlink.send(std::mem::replace(&mut core.batch, batch));
            }
        });
        if is_dropped {
            self.behind.add_bytes(subject);
        }
    }

    /// Hands the cores what there is for them.
    pub(super) fn send(&mut self) {
        for core in &mut self.cores {
            if !core.batch.is_empty() {
                core.downlink.send(std::mem::take(&mut core.batch));
            }
        }
    }
}

/// Calls `of` with the number of each core of a set.
fn each(mut cores: u64, mut of: impl FnMut(usize)) {
    while cores != 0 {
        of(cores.trailing_zeros() as usize);
        cores &= cores - 1;
    }
}

/// What one connection brings at once.
pub(super) struct Receiver<'s> {
    shared: &'s Shared,
    table: MutexGuard<'s, Table>,
    inbound: MutexGuard<'s, Inbound>,
    /// The next connection is taking over from this one.
    is_leaving: bool,
}

impl<'s> Receiver<'s> {
    pub(super) fn new(shared: &'s Shared, is_leaving: bool) -> Self {
        Self { shared, table: lock(&shared.table), inbound: lock(&shared.inbound), is_leaving }
    }

    pub(super) fn payload_bytes_max(&self) -> usize {
        self.inbound.frame_bytes_max.load(Ordering::Relaxed)
    }

    /// A message for a subscription. What is for nobody any more, or comes by a wider one as well, goes no further.
    pub(super) fn message(&mut self, sid: u64, subject: &[u8], payload: &[u8]) {
        let (table, inbound) = (&*self.table, &mut *self.inbound);
        let channel = match &self.shared.prefix {
            Some(prefix) => subject.strip_prefix(prefix.as_bytes()).unwrap_or_default(),
            None => subject,
        };
        let (cores, audience) = match table.target(sid, channel, self.is_leaving) {
            Target::Cores(cores, audience) => (cores, audience),
            Target::Nobody => return,
            Target::Unwanted => {
                inbound.received += 1;
                inbound.unwanted += 1;
                return;
            }
            Target::Odd => {
                inbound.received += 1;
                return inbound.odd.add_bytes(subject);
            }
        };
        if inbound.overlap.as_mut().is_none_or(|overlap| !overlap.is_twin(self.is_leaving, sid, payload)) {
            inbound.deliver(cores, audience, subject, payload);
        }
    }

    /// A message was skipped.
    pub(super) fn too_big(&mut self, subject: &[u8]) {
        self.inbound.received += 1;
        self.inbound.too_big.add_bytes(subject);
    }

    /// The server has answered.
    pub(super) fn answered(&mut self, server: &Server, waiting: Waiting) {
        self.shared.confirmed(server.published_before + waiting.published);
        if self.is_leaving {
            return;
        }
        match waiting.asked {
            Asked::Client | Asked::Arrival => {}
            Asked::Subscription(sid) => self.table.confirm(sid),
            Asked::Interest(heard) => {
                self.tell();
                self.shared.tell_answers(&mut self.table, &mut self.inbound, &heard);
            }
            Asked::Dissolve(wides) => self.table.dissolve(&wides),
        }
        for sid in std::mem::take(&mut self.table.ended) {
            server.command(Command::Unsubscribe(sid));
        }
    }

    /// The server has refused something.
    pub(super) fn error(&mut self, server: &Server, text: &str) {
        let refused = server.subscription_asked_for().filter(|_| !self.is_leaving);
        let mut refusals = lock(&self.shared.refusals);
        match (Refusal::parse(text), refused) {
            (Some(Refusal::Publish(subject)), _) => refusals.publishes.add(self.shared.channel(&subject)),
            (refusal, Some(sid)) => {
                if let Some(name) = self.table.refuse_asked(sid) {
                    match refusal {
                        Some(_) => refusals.subscriptions.add(&name),
                        None => refusals.limited(text, &name),
                    }
                    if !self.table.asked.is_empty() {
                        self.shared.interest.notify_one(); // another one takes its place
                    }
                }
            }
            _ => refusals.others.add(text),
        }
        drop(refusals);
        self.shared.link.changed.notify_one();
    }

    /// Cores are told what has become of names before they are told that it is so.
    fn tell(&mut self) {
        let (refused, accepted) = (self.table.take_untold(), self.table.take_accepted());
        self.inbound.tell(&refused, &accepted);
    }

    /// That was all, for now.
    pub(super) fn done(mut self) {
        self.tell();
        self.inbound.send();
        let (received, dropped, unwanted) = (self.inbound.received, self.inbound.dropped(), self.inbound.unwanted);
        self.shared.count(|counts| {
            counts.nats_received = received;
            counts.nats_receive_dropped = dropped;
            counts.nats_unwanted = unwanted;
        });
    }
}

#[cfg(test)]
mod tests {
    use mio::{Poll, Token};

    use super::*;
    use crate::engine::{
        uplink::{Uplink, link_bridge},
        wake::waker,
    };

    /// More than what is sent here.
    const FRAME_BYTES_MAX: usize = 1 << 20;

    #[test]
    fn what_the_server_brings_at_once_is_not_too_much_and_the_core_can_begin_with_it() {
        const BROUGHT: usize = 8 << 20;
        let poll = Poll::new().expect("a poll");
        let wake = waker(poll.registry(), Token(0)).expect("a waker");
        let (downlink, link) = link_bridge(&Uplink::new(0, |_| {}), 1, wake);
        let mut inbound = Inbound::new(vec![downlink], Arc::new(FRAME_BYTES_MAX.into()));
        let payload = [b'x'; 1000];
        let deliver = |inbound: &mut Inbound| {
            inbound.deliver(1, Audience::Name("room", Kind::Exact), b"room", &payload);
        };
        for _ in 0..BROUGHT / 1000 {
            deliver(&mut inbound);
        }
        assert_eq!((inbound.received, inbound.dropped()), ((BROUGHT / 1000) as u64, 0));
        assert!(link.waiting() >= BROUGHT / BATCH_BYTES - 1, "{} batches", link.waiting());
        while inbound.dropped() == 0 {
            deliver(&mut inbound);
            assert!(inbound.received as usize * 1000 <= DOWNLINK_BYTES_MAX, "there is a limit");
        }
    }
}
