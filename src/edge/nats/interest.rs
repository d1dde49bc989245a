//! Has NATS bring what the cores want.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};

use super::{
    Shared, lock,
    server::{Asked, Command},
    watch,
};

/// How often NATS is asked again for what it has refused: a limit may have been raised, or somebody has left room.
const RETRIED_EVERY: Duration = Duration::from_secs(5);

/// Keeps the table, and asks for what is in it.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut retried_at = Instant::now();
    loop {
        let now = Instant::now();
        let is_retry = now.duration_since(retried_at) >= RETRIED_EVERY;
        if is_retry {
            retried_at = now;
        }
        let next = hear(&shared, now, is_retry);
        let wait = next.map_or(RETRIED_EVERY, |next| next.saturating_duration_since(now).min(RETRIED_EVERY));
        let _ = timeout(wait, shared.interest.notified()).await;
    }
}

/// Takes in all interest that has come, and asks the server for what is new. Gives when there is something to end.
fn hear(shared: &Shared, now: Instant, is_retry: bool) -> Option<Instant> {
    let mut table = lock(&shared.table);
    while let Some((core, batch)) = shared.uplink.take_interest() {
        table.hear(core, &batch, now);
    }
    let next = table.expire(now);
    if is_retry {
        table.retry();
    }
    if let Some(server) = shared.server() {
        let leaving = table.narrow_again();
        while let Some((sid, name)) = table.ask() {
            server.command(Command::Subscribe(sid, shared.subject(&name)));
        }
        if !leaving.is_empty() {
            server.command(Command::Ask(Asked::Dissolve(leaving)));
        }
        for sid in std::mem::take(&mut table.ended) {
            server.command(Command::Unsubscribe(sid));
        }
        watch::ask_for_interest(shared, &server, table.heard());
    }
    let (refused, accepted) = (table.take_untold(), table.take_accepted());
    let (subscriptions, refused_count) = (table.subscriptions(), table.refused as u64);
    let mut inbound = lock(&shared.inbound);
    inbound.tell(&refused, &accepted);
    inbound.send();
    drop((inbound, table));
    shared.count(|counts| {
        counts.nats_subscriptions = subscriptions;
        counts.nats_subscriptions_refused = refused_count;
    });
    next
}
