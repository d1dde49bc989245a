//! Has NATS bring what the cores want.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::yield_now,
    time::{Instant, timeout},
};

use super::{
    Shared, lock,
    server::{Asked, Command},
    watch,
};

/// How often NATS is asked again for what it has refused: a limit may have been raised, or somebody has left room.
const RETRIED_EVERY: Duration = Duration::from_secs(5);
/// Bytes of interest that are taken in before what is read, published and answered gets its turn.
const SHARE_BYTES: usize = 16 * 1024;
/// How soon interest that waits for the server to answer is looked at again.
const ANSWER_PAUSE: Duration = Duration::from_millis(2);

/// What is left after a share of the interest was taken in.
struct Left {
    /// When there is something to end.
    next: Option<Instant>,
    /// More interest waits.
    has_more: bool,
    /// It waits for the server's answers.
    is_behind: bool,
}

/// Keeps the table, and asks for what is in it.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut retried_at = Instant::now();
    loop {
        let now = Instant::now();
        let is_retry = now.duration_since(retried_at) >= RETRIED_EVERY;
        if is_retry {
            retried_at = now;
        }
        let Left { next, has_more, is_behind } = hear(&shared, now, is_retry);
        if has_more && !is_behind {
            yield_now().await;
            continue;
        }
        let longest = if has_more { ANSWER_PAUSE } else { RETRIED_EVERY };
        let wait = next.map_or(longest, |next| next.saturating_duration_since(now).min(longest));
        if is_behind {
            let _ = timeout(wait, std::future::pending::<()>()).await; // news do not make it sooner
            continue;
        }
        let _ = timeout(wait, shared.interest.notified()).await;
    }
}

/// Takes in a share of the interest that has come, and asks the server for what is new. A server that has much to answer
/// gets no more for now: what others publish would wait behind it.
fn hear(shared: &Shared, now: Instant, is_retry: bool) -> Left {
    let mut table = lock(&shared.table);
    let (server, is_silent) = (shared.server(), shared.link.is_silent());
    let is_behind = !is_silent && server.as_ref().is_some_and(|server| server.is_behind());
    let mut share = if is_behind { 0 } else { SHARE_BYTES };
    while share > 0
        && let Some((core, batch)) = shared.uplink.take_interest()
    {
        table.hear(core, &batch, now);
        share = share.saturating_sub(batch.len());
    }
    let next = table.expire(now);
    if is_retry {
        table.retry();
    }
    if let Some(server) = server {
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
    let has_more = shared.uplink.has_interest();
    Left { next, has_more, is_behind: is_behind && has_more }
}
