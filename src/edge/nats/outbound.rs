//! Publishes on their way to NATS.

use std::sync::{Arc, atomic::Ordering};

use async_nats::{PublishErrorKind, Subject};
use bytes::Bytes;
use tokio::task::unconstrained;

use crate::{
    engine::{
        relay::{self, Item},
        uplink,
    },
    protocol::frame,
};

use super::Shared;

/// Publishes the cores' batches, one after the other. While NATS does not take them this waits, and the uplink fills.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        // In an outage all is left in the uplink, which drops what is oldest; the client would keep that.
        let next = if shared.link.is_up() { shared.uplink.take() } else { None };
        let Some(batch) = next else {
            shared.publishes.notified().await;
            continue;
        };
        let cost = uplink::cost(&batch);
        shared.at_hand.store(relay::messages(&batch), Ordering::Relaxed);
        // The client's queue is what yields; else the runtime would end its turn after each 128 messages.
        unconstrained(publish(&shared, Bytes::from(batch))).await;
        shared.uplink.release(cost);
    }
}

async fn publish(shared: &Shared, batch: Bytes) {
    let (mut rest, mut published) = (&batch[..], 0);
    while let Some(item) = relay::next(&mut rest) {
        let Item::Publish { channels, frame } = item else { continue };
        let payload = batch.slice_ref(frame::payload(frame));
        for name in relay::names(channels) {
            let Ok(subject) = Subject::from_utf8(batch.slice_ref(name)) else { continue }; // heads are UTF-8
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
