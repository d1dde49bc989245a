//! One line a minute, only when something happened: which of the server's defences acted, and how often.

use std::time::{Duration, Instant};

use lhttp::Stats;
use log::Level;

use super::logger;

/// The shortest time between two such lines.
pub(crate) const EVERY: Duration = Duration::from_secs(60);

/// A counter's name and value, with a description.
struct Defence {
    name: &'static str,
    count: fn(&Stats) -> u64,
    words: &'static str,
}

macro_rules! defences {
    ($($name:ident: $words:literal,)+) => {
        [$(Defence { name: stringify!($name), count: |stats| stats.$name, words: $words },)+]
    };
}

/// The counters of events that a bound has stopped. A new counter needs a line here or in the test below.
const DEFENCES: &[Defence] = &defences! {
    turned_away: "connections turned away, too many or while stopping",
    out_of_fds: "times without a file descriptor to accept with",
    refused: "messages refused",
    subscriptions_refused: "of these for too many subscriptions",
    too_many_channels: "of these for too many channels",
    forbidden: "of these because they are forbidden",
    unauthorized: "messages and requests refused without a valid token",
    tokens_missing: "of these without any",
    tokens_of_others: "of these with another user's",
    tokens_malformed: "tokens refused that are none",
    tokens_without_key: "tokens refused for which there is no key",
    tokens_forged: "tokens refused with a wrong signature",
    tokens_expired: "tokens refused that had expired",
    tokens_not_yet: "tokens refused that are not valid yet",
    tokens_wrong_issuer: "tokens refused of another issuer",
    tokens_wrong_audience: "tokens refused that are for others",
    tokens_bad_user: "tokens refused because of their sub",
    tokens_bad_claims: "tokens refused because of another claim",
    token_key_failures: "times that the keys for tokens could not be fetched",
    tokens_run_out: "tokens of open connections run out",
    subscriptions_ended: "subscriptions ended because rules or tokens do not allow them any more",
    rate_limited: "messages and posts over a rate refused",
    floods: "connections closed at ten times a rate",
    connects_refused: "connections refused, their address connects too often",
    addresses_full: "connections refused, their address has too many",
    addresses_untracked: "connections whose address is not counted, the table is full",
    proxies_refused: "connections of proxies closed for their PROXY header",
    origins_refused: "requests of other pages refused",
    hosts_refused: "requests for other hosts refused",
    faults: "connections closed for breaking the protocol or a size limit",
    slow_consumers: "slow readers closed",
    over_budget: "connections closed at the memory budget",
    timed_out: "silent or late connections closed",
    message_timeouts: "connections closed because a message took too long",
    stalls: "times that a core stood still",
    cut: "messages carried out in several turns",
    put_behind: "times that a connection had used its share of a turn",
    panics: "connections closed because an extension panicked",
    tls_failed: "TLS handshakes failed",
    tls_faults: "TLS connections closed for a wrong record",
    tls_gave_way: "slow TLS handshakes ended, too many had begun",
    tls_reloads_failed: "times that new files of TLS could not be used",
    history_over_budget: "messages of the history dropped early, its budget was used up",
    history_refused: "publishes refused, the file of the history could not take them",
    catch_ups_lost: "subscriptions that could not get all that they had missed",
    nats_publish_dropped: "messages for NATS dropped",
    nats_receive_dropped: "messages from NATS dropped",
    nats_restarts: "times that the NATS client began anew",
    nats_possibly_lost: "messages perhaps lost on their way to NATS",
    nats_disconnects: "connections to NATS lost",
    upstream_busy: "upstream requests refused, the queue was full",
    upstream_over_share: "upstream requests refused, over the share of their connection or address",
    upstream_failed: "upstream requests failed",
    upstream_timed_out: "upstream requests timed out",
    upstream_dropped: "upstream answers dropped",
};

/// The numbers of the last line.
pub(crate) struct Summary {
    said: Stats,
    log_dropped: u64,
    since: Instant,
}

impl Summary {
    pub(crate) fn new() -> Self {
        Self { said: Stats::default(), log_dropped: 0, since: Instant::now() }
    }

    /// Logs what has happened since the last line, if anything has.
    pub(crate) fn say(&mut self, now: &Stats) {
        let log_dropped = logger::dropped();
        let acts = acts(&self.said, now, log_dropped - self.log_dropped);
        if !acts.is_empty() {
            let time = Duration::from_secs(self.since.elapsed().as_secs().max(1));
            let sentence = format!("defences in the last {}: {}", humantime::format_duration(time), words(&acts));
            let counters: Vec<_> = acts.iter().map(|act| (act.name, act.count)).collect();
            logger::log_counters(Level::Info, module_path!(), &sentence, &counters);
        }
        *self = Self { said: *now, log_dropped, since: Instant::now() };
    }
}

/// What a defence has done since the last line.
struct Act {
    name: &'static str,
    count: u64,
    words: &'static str,
}

/// The acts between the two.
fn acts(before: &Stats, now: &Stats, log_dropped: u64) -> Vec<Act> {
    let counted = DEFENCES.iter().map(|&Defence { name, count, words }| {
        // A core that is behind with its numbers is no event.
        Act { name, count: count(now).saturating_sub(count(before)), words }
    });
    let dropped = Act { name: "log_dropped", count: log_dropped, words: "log lines dropped" };
    counted.chain([dropped]).filter(|act| act.count > 0).collect()
}

/// The acts in a sentence.
fn words(acts: &[Act]) -> String {
    let words: Vec<String> =
        acts.iter().map(|Act { name, count, words }| format!("{count} {words} ({name})")).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counters of events that no bound causes.
    const OTHERS: &[&str] = &[
        "connections",
        "tcp_connections",
        "tls_connections",
        "unix_connections",
        "websockets",
        "accepted",
        "subscriptions",
        "channels",
        "received",
        "requests",
        "read_bytes",
        "written_bytes",
        "served_when_full", // turned_away covers it
        "published",
        "delivered",
        "paused",     // normal for a busy server
        "going_away", // the end was asked for
        "kept_bytes",
        "kept_bytes_max",
        "backlogs",
        "backlog_bytes",
        "subscription_bytes",
        "identities",
        "tokens_verified",
        "tokens_from_cache",
        "token_cache_bytes",
        "token_keys",
        "token_key_fetches",
        "turns",
        "relay_batches",
        "relay_bytes",
        "relay_waiting_bytes",
        "history_channels",
        "history_messages",
        "history_bytes",
        "caught_up",
        "tls_days_left",
        "tls_expiry",
        "tls_handshakes",
        "tls_key_updates",
        "nats_connected", // nats_disconnects covers it
        "nats_waiting_bytes",
        "nats_published",
        "nats_received",
        "nats_unwanted", // wider subscriptions bring them
        "nats_subscriptions",
        "nats_subscriptions_refused", // a current number, and the log has each change
        "upstream_requests",
        "upstream_waiting",
        "upstream_answered",
    ];

    /// The beginnings of the names of counters by reason: `faults`, `timed_out` and `refused` cover those that matter.
    const PARTS: [&str; 2] = ["ended_", "refused_"];

    #[test]
    fn every_counter_is_a_defences_or_is_known_not_to_be() {
        let is_other = |name| OTHERS.contains(&name) || PARTS.iter().any(|part| name.starts_with(part));
        let counters = Stats::default().to_string();
        let names: Vec<&str> = counters.split(' ').filter_map(|counter| Some(counter.split_once('=')?.0)).collect();
        assert!(names.len() >= DEFENCES.len() + OTHERS.len(), "a list names something twice, or no counter: {names:?}");
        for name in names {
            let is_defence = DEFENCES.iter().any(|defence| defence.name == name);
            assert!(is_defence != is_other(name), "{name}: put it into DEFENCES or into OTHERS, not into both");
        }
    }

    #[test]
    fn only_events_since_the_last_line_are_logged() {
        let mut before = Stats::default();
        let said = |before: &Stats, now: &Stats, dropped| words(&acts(before, now, dropped));
        assert_eq!(said(&before, &before, 0), "");
        before.refused = 5;
        before.received = 100;
        let mut now = before;
        now.received = 200;
        assert_eq!(said(&before, &now, 0), "", "only friendly traffic");
        now.refused = 8;
        now.slow_consumers = 1;
        let expected =
            "3 messages refused (refused), 1 slow readers closed (slow_consumers), 2 log lines dropped (log_dropped)";
        assert_eq!(said(&before, &now, 2), expected);
        assert_eq!(said(&now, &before, 0), "", "a core that is behind with its numbers is no event");
    }
}
