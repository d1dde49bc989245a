//! Publishes on their way to NATS.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_nats::{PublishErrorKind, Subject};
use bytes::Bytes;
use tokio::{task::unconstrained, time::sleep};

use crate::{
    config::memory,
    engine::{
        relay::{self, Item},
        uplink,
    },
    protocol::{channel, frame},
};

use super::{Shared, kept::Kept, link::Link, lock};

/// What the client may keep, in bytes of batches, beside what waits in the uplink. It limits messages by their number only,
/// and few of them reach this.
const CLIENT_BYTES_MAX: usize = 1024 * 1024;
const _: () = assert!(CLIENT_BYTES_MAX <= memory::NATS_CLIENT_BYTES);
/// How long to wait for the client to take some of that. It does not tell when it has.
const CLIENT_WAIT: Duration = Duration::from_millis(1);

/// Publishes the cores' batches, one after the other. While NATS does not take them this waits, and the uplink fills.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut with_client = WithClient::default();
    loop {
        let is_open = shared.link.is_open();
        if is_open && !with_client.has_room(&shared.link) {
            wait_for_client().await;
            shared.gather();
            continue;
        }
        // In an outage all waits here, where there is a limit; the client would keep it.
        let next = if is_open { shared.next_batch() } else { None };
        let Some((batch, cost)) = next else {
            shared.publishes.notified().await;
            shared.gather();
            continue;
        };
        let held = Held { shared: &shared, cost };
        shared.at_hand.store(relay::messages(&batch), Ordering::Relaxed);
        // The client's queue is what yields; else the runtime would end its turn after each 128 messages.
        let mut publishing = std::pin::pin!(unconstrained(publish(&shared, Bytes::from(batch))));
        loop {
            tokio::select! {
                () = &mut publishing => break,
                () = shared.publishes.notified() => shared.gather(),
            }
        }
        drop(held);
        with_client.add(&shared.link, cost);
    }
}

impl Kept {
    /// Takes in what the cores have sent, if much has come together, and drops what does not fit.
    fn gather(&self) {
        if self.uplink.is_filling() {
            lock(&self.backlog).gather(&self.uplink);
        }
    }

    /// The oldest batch that waits.
    fn next_batch(&self) -> Option<(Vec<u8>, usize)> {
        let mut backlog = lock(&self.backlog);
        while let Some((batch, cost)) = backlog.pop() {
            if !batch.is_empty() {
                return Some((batch, cost));
            }
        }
        let batch = self.uplink.take()?;
        let cost = uplink::cost(&batch);
        Some((batch, cost))
    }

    /// How many messages wait, which nobody will send.
    pub(super) fn give_up_waiting(&self) -> u64 {
        let mut count = 0;
        while let Some((batch, cost)) = self.next_batch() {
            count += relay::messages(&batch);
            self.uplink.release(cost);
        }
        count
    }
}

/// A batch that is being published. If the client ends under it, its room is free again.
struct Held<'s> {
    shared: &'s Shared,
    cost: usize,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.shared.uplink.release(self.cost);
    }
}

/// Lets the client take some of what it was given.
async fn wait_for_client() {
    sleep(CLIENT_WAIT).await;
}

/// Batches of which the client may still keep a part, oldest first.
#[derive(Debug, Default)]
struct WithClient {
    /// The number of a batch's last message, and what the batch costs.
    batches: VecDeque<(u64, usize)>,
    bytes: usize,
}

impl WithClient {
    /// All of a batch was handed to the client.
    fn add(&mut self, link: &Link, cost: usize) {
        self.batches.push_back((link.handed(), cost));
        self.bytes += cost;
    }

    /// Whether the client may be given more.
    fn has_room(&mut self, link: &Link) -> bool {
        let taken = link.taken();
        while let Some(&(last, cost)) = self.batches.front()
            && last <= taken
        {
            self.batches.pop_front();
            self.bytes -= cost;
        }
        self.bytes < CLIENT_BYTES_MAX
    }
}

async fn publish(shared: &Shared, batch: Bytes) {
    let (mut rest, mut published) = (&batch[..], 0);
    while let Some(item) = relay::next(&mut rest) {
        let Item::Publish { channels, frame } = item else { continue };
        let payload = batch.slice_ref(frame::payload(frame));
        for name in relay::names(channels) {
            if channel::is_system(name) {
                shared.at_hand.fetch_sub(1, Ordering::Relaxed);
                continue; // other nodes do not deliver it, and it is nobody else's business
            }
            let subject = match &shared.prefix {
                Some(prefix) => Bytes::from([prefix.as_bytes(), name].concat()),
                None => batch.slice_ref(name),
            };
            let Ok(subject) = Subject::from_utf8(subject) else { continue }; // heads are UTF-8
            let sent = shared.client.publish(subject, payload.clone()).await;
            shared.at_hand.fetch_sub(1, Ordering::Relaxed);
            match sent {
                Ok(()) => {
                    shared.link.hand();
                    published += 1;
                }
                Err(error) => {
                    // Only after NATS has changed its limit: a core checks it before it publishes.
                    let is_too_big = error.kind() == PublishErrorKind::MaxPayloadExceeded;
                    log::debug!("NATS does not take a message: {error} (too big: {is_too_big})");
                    shared.uplink.count_dropped(1);
                }
            }
        }
    }
    shared.count(|counts| counts.nats_published += published);
}

#[cfg(test)]
mod tests {
    use async_nats::Statistics;

    use super::*;

    #[test]
    fn the_client_is_given_no_more_than_its_share_until_it_has_taken_some() {
        let (link, statistics) = (Link::default(), Arc::new(Statistics::default()));
        link.started(Arc::clone(&statistics));
        let mut with_client = WithClient::default();
        let batch = CLIENT_BYTES_MAX / 4;
        for _ in 0..4 {
            assert!(with_client.has_room(&link));
            link.hand();
            link.hand(); // two messages a batch
            with_client.add(&link, batch);
        }
        assert!(!with_client.has_room(&link));
        statistics.out_messages.fetch_add(1, Ordering::Relaxed);
        assert!(!with_client.has_room(&link), "half a batch keeps all of its bytes");
        statistics.out_messages.fetch_add(1, Ordering::Relaxed);
        assert!(with_client.has_room(&link));
        statistics.out_messages.fetch_add(6, Ordering::Relaxed);
        assert!(with_client.has_room(&link) && with_client.bytes == 0 && with_client.batches.is_empty());
    }
}
