//! The path to the cores: messages from NATS and news of subscriptions, in one batch for each core.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    engine::{
        bridge_link::{DOWNLINK_BYTES_MAX, Downlink},
        relay::{self, ClusterItem, MemberItem, StreamMessage},
    },
    protocol::channel::Kind,
};

use super::{audience::Audience, table::News, tally::Tally};

/// A batch of this many bytes goes to its core before the rest is read: after a pause the server sends several MiB at once,
/// and the core should begin with them.
const BATCH_BYTES: usize = 256 * 1024;
/// The most bytes of a delivery beside its name and payload: tag, kind, two lengths and a frame header.
const OVERHEAD_BYTES: usize = 1 + 1 + 1 + 4 + 10;
/// The same for a message of the stream, with the two lines that it gets.
const STREAM_OVERHEAD_BYTES: usize = 128;

/// The batches for the cores.
pub(super) struct ToCores {
    cores: Vec<Outgoing>,
    /// The largest frame: a larger one would close its receivers. A reload may change it.
    frame_bytes_max: Arc<AtomicUsize>,
    /// Messages received so far.
    pub(super) received: u64,
    /// Messages of a wide subscription that nobody here wants.
    pub(super) unwanted: u64,
    /// Messages that were dropped because a core was behind.
    pub(super) behind: Tally,
    /// Messages that were dropped because they do not fit an outbox.
    pub(super) too_big: Tally,
    /// Messages that were dropped because their subject is no channel.
    pub(super) odd: Tally,
}

struct Outgoing {
    downlink: Downlink,
    batch: Vec<u8>,
}

impl ToCores {
    pub(super) fn new(downlinks: Vec<Downlink>, frame_bytes_max: Arc<AtomicUsize>) -> Self {
        let cores = downlinks.into_iter().map(|downlink| Outgoing { downlink, batch: Vec::new() }).collect();
        Self {
            cores,
            frame_bytes_max,
            received: 0,
            unwanted: 0,
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

    /// Tells cores of names that NATS has refused, and of names that it has accepted since.
    pub(super) fn tell(&mut self, refused: &[News], accepted: &[News]) {
        for (news, put) in
            [(refused, relay::put_refused as fn(&mut Vec<u8>, &[u8], Kind)), (accepted, relay::put_accepted)]
        {
            for (cores, name, kind) in news {
                each(*cores, |core| put(&mut self.cores[core].batch, name.as_bytes(), *kind));
            }
        }
    }

    /// The largest payload that may be delivered, in bytes.
    pub(super) fn payload_bytes_max(&self) -> usize {
        self.frame_bytes_max.load(Ordering::Relaxed)
    }

    /// Messages dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.behind.count() + self.too_big.count() + self.odd.count()
    }

    /// Whether a core is not behind.
    pub(super) fn has_room(&self, core: usize) -> bool {
        let core = &self.cores[core];
        core.downlink.bytes() + core.batch.len() < DOWNLINK_BYTES_MAX / 2
    }

    /// Tells the home of a channel something about the stream.
    pub(super) fn tell_home(&mut self, core: usize, item: &ClusterItem<'_>) {
        relay::put_cluster(&mut self.cores[core].batch, item);
    }

    /// Tells a home something about members of other nodes, or asks it for its own.
    pub(super) fn tell_member(&mut self, core: usize, item: &MemberItem<'_>) {
        let Outgoing { downlink, batch } = &mut self.cores[core];
        relay::put_member(batch, item);
        if batch.len() >= BATCH_BYTES {
            downlink.send(std::mem::take(batch));
        }
    }

    /// Tells all homes.
    pub(super) fn tell_members(&mut self, item: &MemberItem<'_>) {
        (0..self.cores.len()).for_each(|core| self.tell_member(core, item));
    }

    /// The number of cores.
    pub(super) fn len(&self) -> usize {
        self.cores.len()
    }

    /// Delivers a message of the stream to the home of its channel. Returns false if the home is over its limit.
    pub(super) fn deliver_to_home(&mut self, core: usize, message: StreamMessage<'_>) -> bool {
        self.received += 1;
        let size = message.name.len() + message.message.len() + STREAM_OVERHEAD_BYTES;
        if size > self.frame_bytes_max.load(Ordering::Relaxed) {
            self.too_big.add_bytes(message.name);
            return true; // it never fits
        }
        let Outgoing { downlink, batch } = &mut self.cores[core];
        if downlink.bytes() + batch.len() + size > DOWNLINK_BYTES_MAX.max(size) {
            self.behind.add_bytes(message.name);
            return false;
        }
        relay::put_cluster(batch, &ClusterItem::Message(message));
        if batch.len() >= BATCH_BYTES {
            downlink.send(std::mem::replace(batch, Vec::with_capacity(BATCH_BYTES + BATCH_BYTES / 4)));
        }
        true
    }

    /// Delivers a message to an audience on these cores. A core that is over its limit loses it.
    pub(super) fn deliver(&mut self, cores: u64, audience: Audience<'_>, subject: &[u8], payload: &[u8]) {
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

    /// Sends the batches.
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

#[cfg(test)]
mod tests {
    use mio::{Poll, Token};

    use super::*;
    use crate::engine::{
        bridge_link::{Uplink, link_bridge},
        wake::waker,
    };

    /// A limit that these messages do not reach.
    const FRAME_BYTES_MAX: usize = 1 << 20;

    #[test]
    fn a_burst_of_the_server_is_not_dropped_and_comes_in_several_batches() {
        const BROUGHT: usize = 8 << 20;
        let poll = Poll::new().expect("a poll");
        let wake = waker(poll.registry(), Token(0)).expect("a waker");
        let (downlink, link) = link_bridge(&Uplink::new(0, || {}), 1, wake);
        let mut to_cores = ToCores::new(vec![downlink], Arc::new(FRAME_BYTES_MAX.into()));
        let payload = [b'x'; 1000];
        let deliver = |to_cores: &mut ToCores| {
            to_cores.deliver(1, Audience::Name("room", Kind::Exact), b"room", &payload);
        };
        for _ in 0..BROUGHT / 1000 {
            deliver(&mut to_cores);
        }
        assert_eq!((to_cores.received, to_cores.dropped()), ((BROUGHT / 1000) as u64, 0));
        assert!(link.waiting() >= BROUGHT / BATCH_BYTES - 1, "{} batches", link.waiting());
        while to_cores.dropped() == 0 {
            deliver(&mut to_cores);
            assert!(to_cores.received as usize * 1000 <= DOWNLINK_BYTES_MAX, "there is a limit");
        }
    }
}
