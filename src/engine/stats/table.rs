//! Every number of a server, declared once: it is a field of [`Stats`], a metric of `GET /metrics`, and a line of
//! docs/METRICS.md.
//!
//! `field: Counter("name")` is the metric `lhttp_name_total`, and `Gauge("name")` is `lhttp_name`. With a label it is one of
//! the series of this name. `Derived("name")` is no metric, because it follows from the series of that name: most are sums of
//! some.

use std::sync::atomic::{AtomicU64, Ordering};

counters! {
    /// Connections open now.
    connections: Derived("connections"),
    /// Those of them over TCP without TLS.
    tcp_connections: Gauge("connections", "transport" = "tcp"),
    /// Those of them over TLS.
    tls_connections: Gauge("connections", "transport" = "tls"),
    /// Those of them over a unix socket.
    unix_connections: Gauge("connections", "transport" = "unix"),
    /// WebSocket connections open now, without those that are being closed.
    websockets: Gauge("websockets"),
    /// Connections accepted.
    accepted: Counter("connections_accepted"),
    /// Connections turned away with 503, because as many were open as their listener takes (`max-connections`, or 32 for
    /// pages) or the server was stopping.
    turned_away: Counter("connections_turned_away"),
    /// Requests over `max-connections` that were served nevertheless, on a reserved place: `/healthz` and `POST
    /// /publish`.
    served_when_full: Counter("http_requests_served_when_full"),
    /// TLS handshakes completed.
    tls_handshakes: Counter("tls_handshakes"),
    /// TLS handshakes that failed: the client speaks no TLS, or knows no version, suite or certificate of the server's,
    /// or has gone.
    tls_failed: Counter("connections_ended", "reason" = "tls_failed"),
    /// TLS handshakes ended because too many had begun, and this one was slow.
    tls_gave_way: Counter("connections_ended", "reason" = "tls_gave_way"),
    /// Established TLS connections ended by a fault: a record was changed on its way, must not come or is too long, the
    /// peer sent an alert, or it used up what the server allows it of empty records or key updates.
    tls_faults: Counter("tls_faults"),
    /// Key updates of TLS clients. Each costs the server as much as five records.
    tls_key_updates: Counter("tls_key_updates"),
    /// Times that `accept` ran out of file descriptors.
    out_of_fds: Counter("accepts_out_of_descriptors"),
    /// Subscriptions held now.
    subscriptions: Gauge("subscriptions"),
    /// Channels and patterns known now: those with a subscriber here or on a peer core, and for half a second those that
    /// had one.
    channels: Gauge("channels"),
    /// Channels with a history now.
    history_channels: Gauge("history_channels"),
    /// Messages in the history now.
    history_messages: Gauge("history_messages"),
    /// The memory of the history now, in bytes.
    history_bytes: Gauge("history_bytes"),
    /// Messages dropped from the history because of `history-budget`, before their channel's number and age.
    history_over_budget: Counter("history_messages_dropped"),
    /// Publishes refused with 503 `history-unavailable`, because `history-file` could not take them.
    history_refused: Counter("history_publishes_refused"),
    /// Subscriptions that were given what they had missed, or the last messages.
    caught_up: Counter("catch_ups"),
    /// Subscriptions that could not be given all of what they had missed, because it is not kept any more.
    catch_ups_lost: Counter("catch_ups_incomplete"),
    /// Messages received over WebSocket.
    received: Counter("messages_received"),
    /// HTTP requests received.
    requests: Counter("http_requests"),
    /// Bytes read from connections, without those of TLS itself.
    read_bytes: Counter("received_bytes"),
    /// Bytes written to connections, without those of TLS itself.
    written_bytes: Counter("sent_bytes"),
    /// Messages published: once for each channel named.
    published: Counter("messages_published"),
    /// Messages delivered: once for each subscription that a publish matched.
    delivered: Counter("messages_delivered"),
    /// Messages refused with an error.
    refused: Derived("messages_refused"),
    /// Messages refused because they named more channels in `publish` than `max-publish-channels`.
    too_many_channels: Counter("messages_refused", "reason" = "too-many-channels"),
    /// Messages refused with 403 `forbidden`: a channel of the system's, or a channel or upstream that is not allowed.
    forbidden: Counter("messages_refused", "reason" = "forbidden"),
    /// Messages refused with 429 `rate-limited`, and posts to `/publish` that were over a rate.
    rate_limited: Counter("rate_limited"),
    /// Connections closed because they sent ten times as much as a rate allows: WebSockets with 1008, others after their
    /// 429.
    floods: Counter("connections_ended", "reason" = "rate"),
    /// Connections refused with 429 because their address connected too often (`connect-rate`). Behind a proxy that
    /// tells addresses by a header, WebSocket handshakes and posts.
    connects_refused: Counter("connections_refused", "reason" = "connect_rate"),
    /// Connections refused with 429 because their address had too many (`address-connections`).
    addresses_full: Counter("connections_refused", "reason" = "address_connections"),
    /// Connections that have no limit for their address, because the table of addresses was full.
    addresses_untracked: Counter("connections_untracked"),
    /// Connections of trusted proxies closed because their header of the PROXY protocol was wrong or late.
    proxies_refused: Counter("connections_refused", "reason" = "proxy_header"),
    /// WebSocket handshakes and requests for `/publish` refused with 403 because of their `Origin`.
    origins_refused: Counter("http_requests_refused", "reason" = "origin"),
    /// The same because of their `Host`.
    hosts_refused: Counter("http_requests_refused", "reason" = "host"),
    /// Subscriptions that ended because a new token or new rules do not allow them any more.
    subscriptions_ended: Counter("subscriptions_ended"),
    /// Different tokens of open connections now.
    identities: Gauge("identities"),
    /// Handshakes and publishes refused with 401 because they had no token.
    tokens_missing: Counter("tokens_refused", "reason" = "missing"),
    /// Valid tokens refused with 401 because they are for another user than the connection's last one.
    tokens_of_others: Counter("tokens_refused", "reason" = "other_user"),
    /// Connections whose token has run out while they were open.
    tokens_run_out: Counter("tokens_run_out"),
    /// Messages and requests refused with 401, for any of these reasons.
    unauthorized: Counter("unauthorized"),
    /// Connections closed for breaking the WebSocket protocol or a size limit (1002, 1007, 1009).
    faults: Derived("connections_ended"),
    /// Connections closed with 1013 because their outbox was full.
    slow_consumers: Counter("connections_ended", "reason" = "slow_consumer"),
    /// Connections closed because their core was over its share of `memory-budget`: with 1013, or before they have
    /// upgraded.
    over_budget: Counter("connections_ended", "reason" = "over_budget"),
    /// Connections closed with 1001 because the server was stopping.
    going_away: Counter("connections_ended", "reason" = "shutdown"),
    /// Connections closed because they were silent, or their request or handshake took too long. An idle connection that
    /// ends between two requests, after `http-keep-alive`, does not count.
    timed_out: Derived("connections_ended"),
    /// Connections closed with 1008 because a message was not complete `message-timeout` after its first byte.
    message_timeouts: Counter("connections_ended", "reason" = "message_timeout"),
    /// Connections closed by the client: by a close frame, or the end of its input.
    ended_by_client: Counter("connections_ended", "reason" = "client"),
    /// Connections whose socket broke: most were reset by the peer.
    ended_lost: Counter("connections_ended", "reason" = "lost"),
    /// HTTP connections that ended after their last answer.
    ended_done: Counter("connections_ended", "reason" = "done"),
    /// WebSocket connections closed with 1008 because they were silent for `idle-timeout`.
    ended_idle: Counter("connections_ended", "reason" = "idle"),
    /// Connections closed because their request or handshake took too long.
    ended_late: Counter("connections_ended", "reason" = "handshake_timeout"),
    /// Connections closed because of an HTTP request that cannot be served.
    ended_bad_request: Counter("connections_ended", "reason" = "bad_request"),
    /// Connections closed for breaking the WebSocket protocol (1002, 1007).
    ended_protocol: Counter("connections_ended", "reason" = "protocol"),
    /// Connections closed with 1009 because a message was over `max-message`.
    ended_too_big: Counter("connections_ended", "reason" = "too_big"),
    /// Connections closed because their token was missing, refused or had run out, or because a filter refused them.
    ended_unauthorized: Counter("connections_ended", "reason" = "unauthorized"),
    /// Connections closed with 1011 because a processor or a filter panicked.
    ended_panicked: Counter("connections_ended", "reason" = "panic"),
    /// Connections closed by the code that is plugged in, with a close of its own.
    ended_by_server: Counter("connections_ended", "reason" = "server"),
    /// Connections turned away with 503 or 429 after they were accepted, and those over the limit that gave way to others.
    ended_full: Counter("connections_ended", "reason" = "full"),
    /// Turns that came late: a core stood still, because the process was stopped or the core got no CPU. That time
    /// closes no connection.
    stalls: Counter("stalls"),
    /// Connections closed with 1011 because a processor or a filter panicked.
    panics: Counter("panics"),
    /// Times that a connection had to wait for a link to a peer core that its next message needs.
    paused: Counter("reads_paused"),
    /// Messages with so many deliveries that they took several turns.
    cut: Counter("messages_cut"),
    /// Times that a connection had used its share of a turn and waited for the next turn, while others were read.
    put_behind: Counter("reads_put_behind"),
    /// Bytes kept now of backlogs, of unfinished messages and requests, of handshakes for processors and filters, and of
    /// subscriptions.
    kept_bytes: Gauge("kept_bytes"),
    /// The most bytes that the server keeps: the part of `memory-budget` that counts for them.
    kept_bytes_max: Gauge("kept_limit_bytes"),
    /// Connections with a backlog now: their socket has not taken all that they were sent.
    backlogs: Gauge("backlogs"),
    /// Bytes of backlogs now. Connections share them.
    backlog_bytes: Gauge("backlog_bytes"),
    /// Bytes of subscriptions kept now, on all cores together.
    subscription_bytes: Gauge("subscription_bytes"),
    /// Messages refused with 429 `too-many-subscriptions`.
    subscriptions_refused: Counter("messages_refused", "reason" = "too-many-subscriptions"),
    /// Messages refused because they are not LHTTP.
    refused_not_lhttp: Counter("messages_refused", "reason" = "not-lhttp"),
    /// Messages refused because of their first line.
    refused_bad_start_line: Counter("messages_refused", "reason" = "bad-start-line"),
    /// Messages refused because of a header.
    refused_bad_header: Counter("messages_refused", "reason" = "bad-header"),
    /// Messages refused because of an invalid channel or pattern.
    refused_bad_channel: Counter("messages_refused", "reason" = "bad-channel"),
    /// Messages refused because of the parts of their body.
    refused_bad_multipart: Counter("messages_refused", "reason" = "bad-multipart"),
    /// Messages refused because `upstream` is not `METHOD URL`.
    refused_bad_upstream: Counter("messages_refused", "reason" = "bad-upstream"),
    /// Messages refused because they need a token.
    refused_unauthorized: Counter("messages_refused", "reason" = "unauthorized"),
    /// Messages refused because the token of their client has run out.
    refused_token_expired: Counter("messages_refused", "reason" = "token-expired"),
    /// Messages refused because they are too big to be passed on.
    refused_message_too_big: Counter("messages_refused", "reason" = "message-too-big"),
    /// Messages refused because their head is too big.
    refused_head_too_big: Counter("messages_refused", "reason" = "head-too-big"),
    /// Messages refused because too many acknowledgements of their connection wait.
    refused_too_many_acks: Counter("messages_refused", "reason" = "too-many-acks"),
    /// Messages refused because their connection sent too much in a second.
    refused_rate_limited: Counter("messages_refused", "reason" = "rate-limited"),
    /// Messages refused because the queue for upstream servers was full.
    refused_upstream_busy: Counter("messages_refused", "reason" = "upstream-busy"),
    /// Messages refused in other words: those of filters, and the rare ones of PROTOCOL.md.
    refused_other: Counter("messages_refused", "reason" = "other"),
    /// Turns in which something happened.
    turns: Derived("turn_duration_seconds"),
    /// Batches of publishes and interest handed to other cores.
    relay_batches: Counter("relay_batches"),
    /// Bytes of the batches handed to other cores.
    relay_bytes: Counter("relay_sent_bytes"),
    /// Bytes of batches that wait now because the link to another core is full.
    relay_waiting_bytes: Gauge("relay_waiting_bytes"),
    /// Whole days until the first of the certificates of `tls-cert` expires; 0 if one has expired, or without TLS.
    tls_days_left: Derived("tls_certificate_expiry_timestamp_seconds"),
    /// When the first of the certificates of `tls-cert` expires, in seconds since 1970; 0 without TLS.
    tls_expiry: Gauge("tls_certificate_expiry_timestamp_seconds"),
    /// Times that new files of TLS could not be used, so that the last ones stay in use: once for each change.
    tls_reloads_failed: Counter("tls_reloads_failed"),
    /// Messages given to NATS for other nodes: once for each channel named.
    nats_published: Counter("nats_messages_published"),
    /// Messages received from NATS: once for each channel or pattern of this node that they matched.
    nats_received: Counter("nats_messages_received"),
    /// Messages for other nodes that were dropped: `nats-buffer` was full, or NATS does not take them. NATS may report
    /// only some of the messages that its permissions refuse; these count as published, too.
    nats_publish_dropped: Counter("nats_messages_dropped", "direction" = "out"),
    /// Messages from NATS that were dropped: a core was behind, they are larger than an outbox, or their subject is not
    /// a channel.
    nats_receive_dropped: Counter("nats_messages_dropped", "direction" = "in"),
    /// Messages in flight to NATS when the connection was lost: they may not have arrived.
    nats_possibly_lost: Counter("nats_messages_possibly_lost"),
    /// Messages from NATS without a subscriber on this node: wider subscriptions bring them, or they are on subjects of
    /// the system.
    nats_unwanted: Counter("nats_messages_unwanted"),
    /// Times that the NATS client ended or panicked, and a new one was started.
    nats_restarts: Counter("nats_restarts"),
    /// Times that a connection to NATS was lost.
    nats_disconnects: Counter("nats_disconnects"),
    /// 1 while the node is connected to NATS and hears from it, or else 0.
    nats_connected: Gauge("nats_connected"),
    /// Bytes of messages for other nodes that wait for NATS now; `nats-buffer` is their limit.
    nats_waiting_bytes: Gauge("nats_waiting_bytes"),
    /// Channels and patterns that this node is subscribed to at NATS now.
    nats_subscriptions: Gauge("nats_subscriptions"),
    /// Channels and patterns of this node that NATS refuses now, so that nothing comes for them.
    nats_subscriptions_refused: Gauge("nats_subscriptions_refused"),
    /// Requests to upstream servers that were asked for and queued.
    upstream_requests: Counter("upstream_requests"),
    /// Requests to upstream servers that were refused with 503, because the queue was full.
    upstream_busy: Counter("upstream_requests_refused", "reason" = "queue"),
    /// Requests to upstream servers that were refused with 503, because their connection or its address had its share of
    /// the queue.
    upstream_over_share: Counter("upstream_requests_refused", "reason" = "share"),
    /// Requests to upstream servers that wait or are in flight now.
    upstream_waiting: Gauge("upstream_requests_waiting"),
    /// Requests that an upstream server has answered, with whatever status.
    upstream_answered: Counter("upstream_requests_done", "result" = "answered"),
    /// Requests that failed with 502: the upstream server could not be reached, broke the connection, or sent an invalid
    /// answer.
    upstream_failed: Counter("upstream_requests_done", "result" = "failed"),
    /// Requests that failed with 504: the upstream server took too long.
    upstream_timed_out: Counter("upstream_requests_done", "result" = "timed_out"),
    /// Answers and errors of upstream servers that were dropped, because the client's core did not take them.
    upstream_dropped: Counter("upstream_answers_dropped"),
    /// Tokens whose signature was checked and that were valid.
    tokens_verified: Counter("tokens_verified"),
    /// Valid tokens that their core had verified before, so that no signature was checked.
    tokens_from_cache: Counter("tokens_from_cache"),
    /// Bytes that verified tokens take now, on all cores together.
    token_cache_bytes: Gauge("token_cache_bytes"),
    /// Tokens refused because they are no JSON Web Tokens, are too long, or ask for an extension.
    tokens_malformed: Counter("tokens_refused", "reason" = "malformed"),
    /// Tokens refused because no key has their algorithm and their `kid`.
    tokens_without_key: Counter("tokens_refused", "reason" = "key"),
    /// Tokens refused because their signature is not that of the key.
    tokens_forged: Counter("tokens_refused", "reason" = "signature"),
    /// Tokens refused because they had expired when they came.
    tokens_expired: Counter("tokens_refused", "reason" = "expired"),
    /// Tokens refused because their `nbf` is yet to come.
    tokens_not_yet: Counter("tokens_refused", "reason" = "not_yet"),
    /// Tokens refused because their `iss` is not `token-issuer`.
    tokens_wrong_issuer: Counter("tokens_refused", "reason" = "issuer"),
    /// Tokens refused because their `aud` does not name `token-audience`.
    tokens_wrong_audience: Counter("tokens_refused", "reason" = "audience"),
    /// Tokens refused because of their `sub`.
    tokens_bad_user: Counter("tokens_refused", "reason" = "user"),
    /// Tokens refused because another claim is missing, or has a value that it may not have.
    tokens_bad_claims: Counter("tokens_refused", "reason" = "claims"),
    /// Keys for tokens now.
    token_keys: Gauge("token_keys"),
    /// Times that the keys of `token-jwks` were fetched.
    token_key_fetches: Counter("token_key_fetches"),
    /// Times that the keys of `token-jwks` could not be fetched; the last keys stayed in use.
    token_key_failures: Counter("token_key_fetches_failed"),
}
