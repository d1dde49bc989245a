//! Messages from NATS on their way to the cores.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use async_nats::{Message, Subscriber};
use futures_util::{FutureExt, StreamExt};
use tokio::task::unconstrained;

use crate::{
    engine::{
        relay,
        uplink::{DOWNLINK_BYTES_MAX, Downlink},
    },
    protocol::channel::{Kind, is_open, is_system},
};

use super::{Shared, drops::Tally, link::Link, lock, watch};

/// Messages taken from one subscription before others get their turn.
const MESSAGES_PER_TURN: usize = 1024;
/// A batch of this size, in bytes, is handed over before the courier runs: after a pause the client brings several MiB at
/// once, and the core is to begin with them.
const BATCH_BYTES: usize = 256 * 1024;
/// What a delivery takes beside its name and payload, at most: tag, kind, two lengths and a frame header.
const OVERHEAD_BYTES: usize = 1 + 1 + 1 + 4 + 10;

/// What is to be sent to the cores.
pub(super) struct Inbound {
    cores: Vec<Outgoing>,
    /// A frame that is larger would close who gets it. A reload may change it.
    frame_bytes_max: Arc<AtomicUsize>,
    /// What the subjects of answers to barriers begin with.
    inbox: String,
    link: Arc<Link>,
    received: u64,
    /// Messages that were dropped, for a core was behind.
    pub(super) behind: Tally,
    /// Messages that were dropped, for no outbox would hold them.
    pub(super) too_big: Tally,
}

struct Outgoing {
    downlink: Downlink,
    batch: Vec<u8>,
}

impl Inbound {
    pub(super) fn new(
        downlinks: Vec<Downlink>,
        frame_bytes_max: Arc<AtomicUsize>,
        inbox: String,
        link: Arc<Link>,
    ) -> Self {
        let cores = downlinks.into_iter().map(|downlink| Outgoing { downlink, batch: Vec::new() }).collect();
        Self { cores, frame_bytes_max, inbox, link, received: 0, behind: Tally::default(), too_big: Tally::default() }
    }

    /// Tells a core that its interest up to this number is live.
    pub(super) fn answer(&mut self, core: usize, count: u64) {
        relay::put_answered(&mut self.cores[core].batch, count);
    }

    /// Tells all cores not to wait for answers.
    pub(super) fn be_absent(&mut self) {
        self.cores.iter_mut().for_each(|core| relay::put_absent(&mut core.batch));
    }

    /// Tells these cores that nothing will come for a name.
    pub(super) fn refuse(&mut self, mut cores: u64, name: &str, kind: Kind) {
        while cores != 0 {
            relay::put_refused(&mut self.cores[cores.trailing_zeros() as usize].batch, name.as_bytes(), kind);
            cores &= cores - 1;
        }
    }

    /// Messages dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.behind.count() + self.too_big.count() + self.link.overflowed()
    }

    /// One message for the subscribers of a name, on these cores. Past a core's limit it is dropped there.
    fn deliver(&mut self, mut cores: u64, name: &str, kind: Kind, message: &Message) {
        let (subject, payload) = (message.subject.as_str(), &message.payload[..]);
        // To NATS a pattern such as `>` matches everything; to us it does not match what is the system's.
        if is_system(subject.as_bytes()) && (self.is_own(subject) || is_open(name.as_bytes())) {
            return;
        }
        self.received += 1;
        let size = name.len() + payload.len() + OVERHEAD_BYTES;
        if size > self.frame_bytes_max.load(Ordering::Relaxed) {
            self.too_big.add(subject);
            return;
        }
        let is_text = simdutf8::basic::from_utf8(payload).is_ok();
        let mut is_dropped = false;
        while cores != 0 {
            let core = &mut self.cores[cores.trailing_zeros() as usize];
            cores &= cores - 1;
            if core.downlink.bytes() + core.batch.len() + size > DOWNLINK_BYTES_MAX.max(size) {
                is_dropped = true;
            } else {
                relay::put_delivery(&mut core.batch, name.as_bytes(), kind, is_text, payload);
                if core.batch.len() >= BATCH_BYTES {
                    let batch = Vec::with_capacity(BATCH_BYTES + BATCH_BYTES / 4);
                    core.downlink.send(std::mem::replace(&mut core.batch, batch));
                }
            }
        }
        if is_dropped {
            self.behind.add(subject);
        }
    }

    /// Whether a message is the bridge's own: not for clients, though they may be subscribed to everything. A server
    /// that answers a barrier picks any one of our subscriptions which the answer's subject matches.
    fn is_own(&self, subject: &str) -> bool {
        if let Some(number) = subject.strip_prefix(&self.inbox) {
            number.parse().iter().for_each(|&number| self.link.barrier_answered(number));
            return true;
        }
        subject.starts_with(watch::RESERVED)
    }

    /// Hands the cores what there is for them.
    fn send(&mut self) {
        for core in &mut self.cores {
            if !core.batch.is_empty() {
                core.downlink.send(std::mem::take(&mut core.batch));
            }
        }
    }
}

/// The courier: one batch and one wake for each core, of all that the receivers have put together meanwhile.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        shared.deliveries.notified().await;
        let (received, dropped) = {
            let mut inbound = lock(&shared.inbound);
            inbound.send();
            (inbound.received, inbound.dropped())
        };
        shared.count(|counts| {
            counts.nats_received = received;
            counts.nats_receive_dropped = dropped;
        });
    }
}

/// Receives what one subscription brings, until it is aborted.
///
/// It never waits for anything but messages, and does not yield to the client while there are any in its queue: so that
/// queue does not fill, and nothing is dropped there, out of our sight.
pub(super) async fn receive(
    shared: Arc<Shared>,
    name: Box<str>,
    kind: Kind,
    cores: Arc<AtomicU64>,
    subscriber: Subscriber,
) {
    let mut subscriber = pin!(subscriber);
    let receiving = async {
        while let Some(message) = subscriber.next().await {
            let cores = cores.load(Ordering::Relaxed);
            let mut inbound = lock(&shared.inbound);
            inbound.deliver(cores, &name, kind, &message);
            for _ in 1..MESSAGES_PER_TURN {
                let Some(Some(message)) = subscriber.next().now_or_never() else { break };
                inbound.deliver(cores, &name, kind, &message);
            }
            drop(inbound);
            shared.deliveries.notify_one();
        }
    };
    unconstrained(receiving).await;
}

#[cfg(test)]
mod tests {
    use mio::{Poll, Token};

    use super::*;
    use crate::engine::{
        inbox::waker,
        uplink::{BridgeLink, Uplink, link_bridge},
    };

    /// More than what is sent here.
    const FRAME_BYTES_MAX: usize = 1 << 20;

    fn message(subject: &str) -> Message {
        let payload = vec![b'x'; 1000].into();
        let (reply, headers, status, description) = (None, None, None, None);
        Message { subject: subject.into(), reply, payload, headers, status, description, length: 1000 }
    }

    /// For one core, whose end of the link keeps what is sent to it.
    fn inbound() -> (Inbound, BridgeLink) {
        let poll = Poll::new().expect("a poll");
        let wake = waker(poll.registry(), Token(0)).expect("a waker");
        let (downlink, link) = link_bridge(&Uplink::new(0, |_| {}), 1, wake);
        let frame_bytes_max = Arc::new(FRAME_BYTES_MAX.into());
        (Inbound::new(vec![downlink], frame_bytes_max, "_INBOX.x.".to_owned(), Arc::default()), link)
    }

    #[test]
    fn a_subject_of_the_systems_is_delivered_to_those_alone_who_named_it() {
        let (mut inbound, _link) = inbound();
        for (name, kind, subject, is_delivered) in [
            (">", Kind::Pattern, "room", true),
            (">", Kind::Pattern, "_INBOX.other.1", false),
            (">", Kind::Pattern, "$JS.API.INFO", false),
            ("*.a", Kind::Pattern, "_x.a", false),
            ("*.>", Kind::Pattern, "$SYS.a", false),
            ("_x.>", Kind::Pattern, "_x.a", true),
            ("$x", Kind::Exact, "$x", true),
            ("_lhttp.x", Kind::Exact, "_lhttp.x", false),
            ("a.*", Kind::Pattern, "a._b", true),
        ] {
            let before = inbound.received;
            inbound.deliver(1, name, kind, &message(subject));
            assert_eq!(inbound.received - before, u64::from(is_delivered), "{subject} for {name}");
        }
    }

    #[test]
    fn what_the_client_brings_at_once_is_not_too_much_and_the_core_can_begin_with_it() {
        const BROUGHT: usize = 8 << 20;
        let (mut inbound, link) = inbound();
        let message = message("room");
        for _ in 0..BROUGHT / 1000 {
            inbound.deliver(1, "room", Kind::Exact, &message);
        }
        assert_eq!((inbound.received, inbound.dropped()), ((BROUGHT / 1000) as u64, 0));
        assert!(link.waiting() >= BROUGHT / BATCH_BYTES - 1, "{} batches", link.waiting());
        while inbound.dropped() == 0 {
            inbound.deliver(1, "room", Kind::Exact, &message);
            assert!(inbound.received as usize * 1000 <= DOWNLINK_BYTES_MAX, "there is a limit");
        }
    }
}
