//! A core's statistics: plain numbers on the message path, copied once a turn to a place that other threads can read.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::token::{Invalid, KeyNumbers, Tally};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What a server has done since its start: the sums of all cores.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        /// One core's numbers, for other threads to read. Only the core writes them.
        #[derive(Debug, Default)]
        pub(crate) struct SharedStats {
            $($name: AtomicU64,)+
        }

        impl SharedStats {
            /// Copies a core's numbers here. Plain stores are enough, because there is only one writer.
            pub(crate) fn store(&self, stats: &Stats) {
                $(self.$name.store(stats.$name, Ordering::Relaxed);)+
            }

            /// Adds this core's numbers to a sum.
            pub(crate) fn add_to(&self, stats: &mut Stats) {
                $(stats.$name += self.$name.load(Ordering::Relaxed);)+
            }
        }

        /// One line of `name=number`, for a log.
        impl fmt::Display for Stats {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut space = "";
                $(write!(f, "{space}{}={}", stringify!($name), self.$name)?; space = " ";)+
                let _ = space;
                Ok(())
            }
        }
    };
}

counters! {
    /// Connections open now.
    connections,
    /// Connections accepted.
    accepted,
    /// Connections turned away with 503, because as many were open as their listener takes (`max-connections`, or 32 for
    /// pages) or the server was stopping.
    turned_away,
    /// Requests over `max-connections` that were served nevertheless, on a reserved place: `/healthz` and `POST /publish`.
    served_when_full,
    /// TLS handshakes completed.
    tls_handshakes,
    /// TLS handshakes that failed: the client speaks no TLS, or knows no version, suite or certificate of the server's, or
    /// has gone.
    tls_failed,
    /// TLS handshakes ended because too many had begun, and this one was slow.
    tls_gave_way,
    /// Established TLS connections ended by a fault: a record was changed on its way, must not come or is too long, the
    /// peer sent an alert, or it used up what the server allows it of empty records or key updates.
    tls_faults,
    /// Key updates of TLS clients. Each costs the server as much as five records.
    tls_key_updates,
    /// Times that `accept` ran out of file descriptors.
    out_of_fds,
    /// Subscriptions held now.
    subscriptions,
    /// Channels and patterns known now: those with a subscriber here or on a peer core, and for half a second those that
    /// had one.
    channels,
    /// Channels with a history now.
    history_channels,
    /// Messages in the history now.
    history_messages,
    /// The memory of the history now, in bytes.
    history_bytes,
    /// Messages dropped from the history because of `history-budget`, before their channel's number and age.
    history_over_budget,
    /// Publishes refused with 503 `history-unavailable`, because `history-file` could not take them.
    history_refused,
    /// Subscriptions that were given what they had missed, or the last messages.
    caught_up,
    /// Subscriptions that could not be given all of what they had missed, because it is not kept any more.
    catch_ups_lost,
    /// Messages received over WebSocket.
    received,
    /// HTTP requests received.
    requests,
    /// Messages published: once for each channel named.
    published,
    /// Messages delivered: once for each subscription that a publish matched.
    delivered,
    /// Messages refused with an error.
    refused,
    /// Those of them that named more channels in `publish` than `max-publish-channels`.
    too_many_channels,
    /// Those of them that were refused with 403: a channel of the system's, or an upstream that is not allowed.
    forbidden,
    /// Those of them that were refused with 429 `rate-limited`, and posts to `/publish` that were over a rate.
    rate_limited,
    /// Connections closed because they sent ten times as much as a rate allows: WebSockets with 1008, others after their 429.
    floods,
    /// Connections refused with 429 because their address connected too often (`connect-rate`). Behind a proxy that tells
    /// addresses by a header, WebSocket handshakes and posts.
    connects_refused,
    /// Connections refused with 429 because their address had too many (`address-connections`).
    addresses_full,
    /// Connections that have no limit for their address, because the table of addresses was full.
    addresses_untracked,
    /// Connections of trusted proxies closed because their header of the PROXY protocol was wrong or late.
    proxies_refused,
    /// WebSocket handshakes and requests for `/publish` refused with 403 because of their `Origin`.
    origins_refused,
    /// The same because of their `Host`.
    hosts_refused,
    /// Subscriptions that ended because a new token or new rules do not allow them any more.
    subscriptions_ended,
    /// Different tokens of open connections now.
    identities,
    /// Handshakes and publishes refused with 401 because they had no token.
    tokens_missing,
    /// Valid tokens refused with 401 because they are for another user than the connection's last one.
    tokens_of_others,
    /// Connections whose token has run out while they were open.
    tokens_run_out,
    /// Messages and requests refused with 401, for any of these reasons.
    unauthorized,
    /// Connections closed for breaking the WebSocket protocol or a size limit (1002, 1007, 1009).
    faults,
    /// Connections closed with 1013 because their outbox was full.
    slow_consumers,
    /// Connections closed because their core was over its share of `memory-budget`: with 1013, or before they have upgraded.
    over_budget,
    /// Connections closed with 1001 because the server was stopping.
    going_away,
    /// Connections closed because they were silent, or their request or handshake took too long. An idle connection that
    /// ends between two requests, after `http-keep-alive`, does not count.
    timed_out,
    /// Connections closed with 1008 because a message was not complete `message-timeout` after its first byte.
    message_timeouts,
    /// Turns that came late: a core stood still, because the process was stopped or the core got no CPU. That time closes
    /// no connection.
    stalls,
    /// Connections closed with 1011 because a processor or a filter panicked.
    panics,
    /// Times that a connection had to wait for a link to a peer core that its next message needs.
    paused,
    /// Messages with so many deliveries that they took several turns.
    cut,
    /// Times that a connection had used its share of a turn and waited for the next turn, while others were read.
    put_behind,
    /// Bytes kept now of backlogs, of unfinished messages and requests, of handshakes for processors and filters, and of
    /// subscriptions.
    kept_bytes,
    /// Bytes of subscriptions kept now, on all cores together.
    subscription_bytes,
    /// Messages refused with 429 `too-many-subscriptions`.
    subscriptions_refused,
    /// Turns in which something happened.
    turns,
    /// Whole days until the first of the certificates of `tls-cert` expires; 0 if one has expired, or without TLS.
    tls_days_left,
    /// Times that new files of TLS could not be used, so that the last ones stay in use: once for each change.
    tls_reloads_failed,
    /// Messages given to NATS for other nodes: once for each channel named.
    nats_published,
    /// Messages received from NATS: once for each channel or pattern of this node that they matched.
    nats_received,
    /// Messages for other nodes that were dropped: `nats-buffer` was full, or NATS does not take them. NATS may report only
    /// some of the messages that its permissions refuse; these count as published, too.
    nats_publish_dropped,
    /// Messages from NATS that were dropped: a core was behind, they are larger than an outbox, or their subject is not a
    /// channel.
    nats_receive_dropped,
    /// Messages in flight to NATS when the connection was lost: they may not have arrived.
    nats_possibly_lost,
    /// Messages from NATS without a subscriber on this node: wider subscriptions bring them, or they are on subjects of the
    /// system.
    nats_unwanted,
    /// Times that the NATS client ended or panicked, and a new one was started.
    nats_restarts,
    /// Times that a connection to NATS was lost.
    nats_disconnects,
    /// Channels and patterns that this node is subscribed to at NATS now.
    nats_subscriptions,
    /// Channels and patterns of this node that NATS refuses now, so that nothing comes for them.
    nats_subscriptions_refused,
    /// Requests to upstream servers that were asked for and queued.
    upstream_requests,
    /// Requests to upstream servers that were refused with 503, because the queue was full.
    upstream_busy,
    /// Requests to upstream servers that were refused with 503, because their connection or its address had its share of
    /// the queue.
    upstream_over_share,
    /// Requests to upstream servers that wait or are in flight now.
    upstream_waiting,
    /// Requests that an upstream server has answered, with whatever status.
    upstream_answered,
    /// Requests that failed with 502: the upstream server could not be reached, broke the connection, or sent an invalid
    /// answer.
    upstream_failed,
    /// Requests that failed with 504: the upstream server took too long.
    upstream_timed_out,
    /// Answers and errors of upstream servers that were dropped, because the client's core did not take them.
    upstream_dropped,
    /// Tokens whose signature was checked and that were valid.
    tokens_verified,
    /// Valid tokens that their core had verified before, so that no signature was checked.
    tokens_from_cache,
    /// Bytes that verified tokens take now, on all cores together.
    token_cache_bytes,
    /// Tokens refused because they are no JSON Web Tokens, are too long, or ask for an extension.
    tokens_malformed,
    /// Tokens refused because no key has their algorithm and their `kid`.
    tokens_without_key,
    /// Tokens refused because their signature is not that of the key.
    tokens_forged,
    /// Tokens refused because they had expired when they came.
    tokens_expired,
    /// Tokens refused because their `nbf` is yet to come.
    tokens_not_yet,
    /// Tokens refused because their `iss` is not `token-issuer`.
    tokens_wrong_issuer,
    /// Tokens refused because their `aud` does not name `token-audience`.
    tokens_wrong_audience,
    /// Tokens refused because of their `sub`.
    tokens_bad_user,
    /// Tokens refused because another claim is missing, or has a value that it may not have.
    tokens_bad_claims,
    /// Keys for tokens now.
    token_keys,
    /// Times that the keys of `token-jwks` were fetched.
    token_key_fetches,
    /// Those of them that failed; the last keys stayed in use.
    token_key_failures,
}

impl Stats {
    /// Takes over what the core's verifier has counted.
    pub(crate) fn count_tokens(&mut self, tally: &Tally) {
        self.tokens_verified = tally.verified;
        self.tokens_from_cache = tally.from_cache;
        self.token_cache_bytes = tally.cache_bytes;
        for (invalid, count) in Invalid::ALL.into_iter().zip(tally.reasons) {
            *self.counter(invalid) = count;
        }
    }

    /// Takes over the numbers of the server's keys.
    pub(crate) fn count_keys(&mut self, numbers: KeyNumbers) {
        self.token_keys = numbers.keys;
        self.token_key_fetches = numbers.fetches;
        self.token_key_failures = numbers.failures;
    }

    fn counter(&mut self, invalid: Invalid) -> &mut u64 {
        match invalid {
            Invalid::Malformed => &mut self.tokens_malformed,
            Invalid::Key => &mut self.tokens_without_key,
            Invalid::Signature => &mut self.tokens_forged,
            Invalid::Expired => &mut self.tokens_expired,
            Invalid::NotYet => &mut self.tokens_not_yet,
            Invalid::Issuer => &mut self.tokens_wrong_issuer,
            Invalid::Audience => &mut self.tokens_wrong_audience,
            Invalid::User => &mut self.tokens_bad_user,
            Invalid::Claims => &mut self.tokens_bad_claims,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_against_a_token_has_its_counter() {
        let mut tally = Tally { verified: 20, from_cache: 21, cache_bytes: 22, ..Tally::default() };
        for (at, invalid) in Invalid::ALL.into_iter().enumerate() {
            assert_eq!(invalid as usize, at, "the order of ALL");
            tally.reasons[at] = at as u64 + 1;
        }
        let mut stats = Stats::default();
        stats.count_tokens(&tally);
        assert_eq!((stats.tokens_verified, stats.tokens_from_cache, stats.token_cache_bytes), (20, 21, 22));
        for (at, invalid) in Invalid::ALL.into_iter().enumerate() {
            assert_eq!(*stats.counter(invalid), at as u64 + 1, "{}", invalid.word());
        }
    }
}
