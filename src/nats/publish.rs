//! Publishes the cores' messages at NATS, batch after batch.
//!
//! While NATS is away or slow the batches wait in the uplink and the backlog, where `nats-buffer` bounds them. The client
//! gets a batch only when it has room, since it would keep everything it is given.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::{Client, PublishErrorKind, Subject};
use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    engine::{
        bridge_link::{self, Uplink},
        relay::{self, Item},
    },
    protocol::{channel, frame},
};

use super::{backlog::Backlog, client_room::WithClient, reconnect::ClientState};

/// How long to wait for the client to take some of them. The client does not report when it has.
const CLIENT_WAIT: Duration = Duration::from_millis(1);

/// Takes batches from the uplink and gives them to the client.
pub(super) struct Publisher {
    uplink: Uplink,
    /// Batches that were taken from the uplink while NATS was away or slow. A core that finds the uplink full sorts it into
    /// the backlog if the bridge has not; so this has a lock, which no core waits for.
    backlog: Arc<Mutex<Backlog>>,
    /// Stands before a channel's name in a subject, with a dot at its end.
    prefix: Option<String>,
    batch: Option<Batch>,
    with_client: WithClient,
    /// Messages of batches that were published.
    published: u64,
    /// The uplink or the backlog may hold a batch.
    has_more: bool,
    /// When to look whether the client has room again.
    retry_at: Option<Instant>,
}

/// The batch that is being published.
struct Batch {
    bytes: Bytes,
    cost: usize,
    /// Where the next message is, and how many of its channels are done.
    at: usize,
    channels_done: usize,
    /// Messages that are not published yet.
    left: u64,
    published: u64,
}

impl Publisher {
    pub(super) fn new(uplink: Uplink, prefix: Option<String>) -> Self {
        let backlog = Arc::new(Mutex::new(Backlog::new()));
        let of_cores = Arc::clone(&backlog);
        uplink.sort_by(move |uplink| {
            if let Ok(mut backlog) = of_cores.try_lock() {
                backlog.gather(uplink);
            }
        });
        let with_client = WithClient::default();
        Self { uplink, backlog, prefix, batch: None, with_client, published: 0, has_more: true, retry_at: None }
    }

    /// A new client begins.
    pub(super) fn begin(&mut self) {
        (self.with_client, self.has_more, self.retry_at) = (WithClient::default(), true, None);
    }

    /// The client has ended. Gives how many messages of the batch at hand are lost.
    pub(super) fn client_has_ended(&mut self) -> u64 {
        self.batch.take().map_or(0, |batch| {
            self.uplink.release(batch.cost);
            batch.left
        })
    }

    /// The cores have sent something.
    pub(super) fn wake(&mut self) {
        self.has_more = true;
        self.gather();
    }

    /// Takes in the cores' batches if they are large, and drops messages that do not fit.
    fn gather(&mut self) {
        if self.uplink.is_filling() {
            lock(&self.backlog).gather(&self.uplink);
        }
    }

    /// Loads the next batch if the client, which has taken this many messages, has room for it.
    pub(super) fn load(&mut self, taken: u64, now: Instant) {
        if self.batch.is_some() || !self.has_more {
            return;
        }
        if !self.with_client.has_room(taken) {
            if self.retry_at.is_none_or(|at| at <= now) {
                self.gather();
                self.retry_at = Some(now + CLIENT_WAIT);
            }
            return;
        }
        self.retry_at = None;
        let next = self.next_batch();
        self.has_more = next.is_some();
        self.batch = next.map(|(bytes, cost)| {
            let left = relay::messages(&bytes);
            Batch { bytes: bytes.into(), cost, at: 0, channels_done: 0, left, published: 0 }
        });
    }

    /// True if a batch is loaded.
    pub(super) fn has_batch(&self) -> bool {
        self.batch.is_some()
    }

    /// When to call [`Publisher::load`] again if nothing happens.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Gives the loaded batch to the client, and more batches while the client may get them. May be dropped at any time,
    /// and goes on where it was when called again.
    pub(super) async fn publish(&mut self, client: &Client, state: &ClientState) {
        while self.batch.is_some() {
            self.publish_batch(client).await;
            self.finish_batch();
            if state.may_publish() {
                self.load(state.taken(), Instant::now());
            }
        }
    }

    /// Gives the rest of the loaded batch to the client. Notes each message that is done, so it may be dropped, too.
    async fn publish_batch(&mut self, client: &Client) {
        let Some(batch) = &mut self.batch else { return };
        let bytes = batch.bytes.clone();
        loop {
            let mut rest = &bytes[batch.at..];
            let Some(item) = relay::next(&mut rest) else { return };
            if let Item::Publish { channels, frame } = item {
                let payload = bytes.slice_ref(frame::payload(frame));
                for name in relay::names(channels).skip(batch.channels_done) {
                    // Other nodes do not deliver system channels, and no other program needs them.
                    if !channel::is_system(name)
                        && let Ok(subject) = Subject::from_utf8(match &self.prefix {
                            Some(prefix) => Bytes::from([prefix.as_bytes(), name].concat()),
                            None => bytes.slice_ref(name),
                        })
                    {
                        match client.publish(subject, payload.clone()).await {
                            Ok(()) => {
                                self.with_client.handed += 1;
                                batch.published += 1;
                            }
                            Err(error) => {
                                // Only after NATS has changed its limit: a core checks it before it publishes.
                                let is_too_big = error.kind() == PublishErrorKind::MaxPayloadExceeded;
                                log::debug!("NATS refuses a message: {error} (too large: {is_too_big})");
                                self.uplink.count_dropped(1);
                            }
                        }
                    }
                    batch.left = batch.left.saturating_sub(1);
                    batch.channels_done += 1;
                }
            }
            batch.at = bytes.len() - rest.len();
            batch.channels_done = 0;
        }
    }

    /// The loaded batch is done: its bytes are free in the uplink, and count as the client's.
    fn finish_batch(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.uplink.release(batch.cost);
            self.with_client.add(batch.cost);
            self.published += batch.published;
        }
    }

    /// Messages that clients have taken so far, batch by batch.
    pub(super) fn published(&self) -> u64 {
        self.published
    }

    /// Of the messages that were given to the client, those that it has not taken.
    pub(super) fn unsent(&self, taken: u64) -> u64 {
        self.with_client.handed.saturating_sub(taken)
    }

    /// Drops everything that waits. Gives the number of messages.
    pub(super) fn give_up_waiting(&mut self) -> u64 {
        let mut count = self.batch.as_ref().map_or(0, |batch| batch.left);
        while let Some((batch, cost)) = self.next_batch() {
            count += relay::messages(&batch);
            self.uplink.release(cost);
        }
        count
    }

    /// The oldest batch that waits, with its cost.
    fn next_batch(&self) -> Option<(Vec<u8>, usize)> {
        let mut backlog = lock(&self.backlog);
        while let Some((batch, cost)) = backlog.pop() {
            if !batch.is_empty() {
                return Some((batch, cost));
            }
        }
        let batch = self.uplink.take()?;
        let cost = bridge_link::cost(&batch);
        Some((batch, cost))
    }
}

/// Nothing panics half way while it holds the lock.
fn lock(backlog: &Mutex<Backlog>) -> MutexGuard<'_, Backlog> {
    backlog.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use async_nats::ConnectOptions;
    use tokio::{runtime::Builder, time::timeout};

    use super::*;
    use crate::engine::relay::Relays;

    #[test]
    fn publishing_goes_on_where_it_was_interrupted() {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            // It never connects, so it takes as many messages as its queue holds.
            let client = ConnectOptions::new().retry_on_initial_connect().client_capacity(5).connect("127.0.0.1:1");
            let client = client.await.expect("it is an address");
            let (uplink, mut relays) = (Uplink::new(1 << 20, || {}), Relays::new(0, 1));
            let bridge = relays.add_bridge();
            for _ in 0..4 {
                relays.publish(bridge, [&b"a"[..], b"b"].into_iter(), b"\x81\x02hi");
            }
            uplink.send(0, None, relays.take(bridge).into_iter());
            let mut publisher = Publisher::new(uplink.clone(), None);
            publisher.load(0, Instant::now());
            for _ in 0..3 {
                timeout(Duration::ZERO, publisher.publish_batch(&client)).await.expect_err("the queue is full");
                assert_eq!(publisher.unsent(0), 5);
            }
            assert_eq!(publisher.client_has_ended(), 3, "of 8 messages");
            assert!(uplink.is_empty());
        });
    }
}
