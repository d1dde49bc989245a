//! Numbers by reason: why a connection ended, and why a message was refused.

#[cfg(any(test, feature = "fuzz"))]
use crate::engine::stats::declared;
use crate::{
    engine::{arrival::Transport, stats::Stats},
    error::{Fault, Reason},
};

/// Why a connection ended. The first reason counts: a client that is closed, and then breaks its socket, was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The client closed it.
    Client,
    /// Its socket broke.
    Lost,
    /// Its last HTTP request was answered.
    Done,
    /// The client was silent.
    Idle,
    /// A request or a handshake took too long.
    Late,
    /// A message took too long.
    MessageLate,
    /// A request cannot be served.
    BadRequest,
    /// The client broke the WebSocket protocol.
    Protocol,
    /// A message is too big.
    TooBig,
    /// The client has no token, a bad one, or one that has run out; or a filter refused it.
    Unauthorized,
    /// The client sent ten times as much as it may.
    Rate,
    /// Its outbox is full.
    SlowConsumer,
    /// The core keeps too much.
    OverBudget,
    /// The server stops.
    Shutdown,
    /// A processor or filter panicked.
    Panicked,
    /// The code that is plugged in closed it.
    Server,
    /// There are too many connections, or the server stops and takes no new ones.
    Full,
    /// Its TLS handshake failed.
    TlsFailed,
    /// Its TLS handshake gave way to others.
    TlsGaveWay,
}

impl Why {
    /// Why a connection ends after an answer with this HTTP status.
    pub(crate) fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Unauthorized,
            408 => Self::Late,
            429 | 503 => Self::Full,
            400.. => Self::BadRequest,
            _ => Self::Done,
        }
    }
}

impl From<Fault> for Why {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::TOO_BIG => Self::TooBig,
            Fault::MESSAGE_TIMEOUT => Self::MessageLate,
            Fault::RATE_LIMITED => Self::Rate,
            _ => Self::Protocol,
        }
    }
}

impl Stats {
    /// Counts a connection that ends.
    pub(crate) fn count_end(&mut self, why: Why) {
        self.faults += u64::from(matches!(why, Why::Protocol | Why::TooBig));
        self.timed_out += u64::from(matches!(why, Why::Idle | Why::Late));
        *self.ended(why) += 1;
    }

    fn ended(&mut self, why: Why) -> &mut u64 {
        match why {
            Why::Client => &mut self.ended_by_client,
            Why::Lost => &mut self.ended_lost,
            Why::Done => &mut self.ended_done,
            Why::Idle => &mut self.ended_idle,
            Why::Late => &mut self.ended_late,
            Why::MessageLate => &mut self.message_timeouts,
            Why::BadRequest => &mut self.ended_bad_request,
            Why::Protocol => &mut self.ended_protocol,
            Why::TooBig => &mut self.ended_too_big,
            Why::Unauthorized => &mut self.ended_unauthorized,
            Why::Rate => &mut self.floods,
            Why::SlowConsumer => &mut self.slow_consumers,
            Why::OverBudget => &mut self.over_budget,
            Why::Shutdown => &mut self.going_away,
            Why::Panicked => &mut self.ended_panicked,
            Why::Server => &mut self.ended_by_server,
            Why::Full => &mut self.ended_full,
            Why::TlsFailed => &mut self.tls_failed,
            Why::TlsGaveWay => &mut self.tls_gave_way,
        }
    }

    /// Counts a message that is refused with this word.
    pub(crate) fn count_refusal(&mut self, word: &str) {
        self.refused += 1;
        let reason = Reason::ALL.into_iter().find(|reason| reason.word() == word);
        self.rate_limited += u64::from(reason == Some(Reason::RateLimited));
        *self.refused_for(reason) += 1;
    }

    fn refused_for(&mut self, reason: Option<Reason>) -> &mut u64 {
        match reason {
            Some(Reason::NotLhttp) => &mut self.refused_not_lhttp,
            Some(Reason::BadStartLine) => &mut self.refused_bad_start_line,
            Some(Reason::BadHeader) => &mut self.refused_bad_header,
            Some(Reason::BadChannel) => &mut self.refused_bad_channel,
            Some(Reason::BadMultipart) => &mut self.refused_bad_multipart,
            Some(Reason::BadUpstream) => &mut self.refused_bad_upstream,
            Some(Reason::Unauthorized) => &mut self.refused_unauthorized,
            Some(Reason::TokenExpired) => &mut self.refused_token_expired,
            Some(Reason::Forbidden) => &mut self.forbidden,
            Some(Reason::MessageTooBig) => &mut self.refused_message_too_big,
            Some(Reason::HeadTooBig) => &mut self.refused_head_too_big,
            Some(Reason::TooManySubscriptions) => &mut self.subscriptions_refused,
            Some(Reason::TooManyChannels) => &mut self.too_many_channels,
            Some(Reason::TooManyAcks) => &mut self.refused_too_many_acks,
            Some(Reason::RateLimited) => &mut self.refused_rate_limited,
            Some(Reason::UpstreamBusy) => &mut self.refused_upstream_busy,
            // A request that fails later is no refused message: `upstream_failed` and `upstream_timed_out` count it.
            Some(Reason::UpstreamFailed | Reason::UpstreamTimeout) | None => &mut self.refused_other,
        }
    }

    /// Asserts that each connection is counted where it belongs: of this many, so many are open WebSockets, and so many
    /// have ended but are still there.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn invariants(&self, connections: usize, open: usize, ended: usize) {
        let over = self.tcp_connections + self.tls_connections + self.unix_connections;
        assert_eq!((over, self.websockets), (connections as u64, open as u64), "connections are counted wrongly");
        let gone = self.sum("connections_ended") - ended as u64;
        assert_eq!(self.accepted - gone, connections as u64, "not every end has a reason, or one has two");
        assert_eq!(self.refused, self.sum("messages_refused"), "a refusal has no reason, or two");
    }

    /// The sum of the series of a metric.
    #[cfg(any(test, feature = "fuzz"))]
    fn sum(&self, metric: &str) -> u64 {
        let numbers = declared().zip(self.values());
        numbers.filter(|(declared, _)| declared.metric == metric && declared.label.is_some()).map(|(_, n)| n).sum()
    }

    /// The connections over a transport that are open now.
    pub(crate) fn over(&mut self, transport: Transport) -> &mut u64 {
        match transport {
            Transport::Tcp => &mut self.tcp_connections,
            Transport::Tls => &mut self.tls_connections,
            Transport::Unix => &mut self.unix_connections,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_counts_for_the_series_with_its_word_and_other_words_for_the_rest() {
        for (at, word) in Reason::ALL.map(Reason::word).into_iter().chain(["not-json", ""]).enumerate() {
            let mut stats = Stats::default();
            stats.count_refusal(word);
            let is_other = at >= Reason::ALL.len() || matches!(word, "upstream-failed" | "upstream-timeout");
            let label = if is_other { "other" } else { word };
            let shown = declared().zip(stats.values()).find(|(declared, number)| {
                *number == 1 && declared.metric == "messages_refused" && declared.label == Some(("reason", label))
            });
            assert!(shown.is_some(), "{word}: {stats}");
            assert_eq!((stats.refused, stats.sum("messages_refused")), (1, 1), "{word}");
            assert_eq!(stats.rate_limited, u64::from(word == "rate-limited"));
        }
    }

    #[test]
    fn faults_and_timeouts_are_sums_of_reasons() {
        let mut stats = Stats::default();
        let faults =
            [Fault::TOO_BIG, Fault::NOT_UTF8, Fault::protocol("x"), Fault::MESSAGE_TIMEOUT, Fault::RATE_LIMITED];
        faults.into_iter().for_each(|fault| stats.count_end(fault.into()));
        assert_eq!((stats.faults, stats.ended_too_big, stats.ended_protocol), (3, 1, 2));
        assert_eq!((stats.message_timeouts, stats.floods, stats.timed_out), (1, 1, 0));
        [Why::Idle, Why::Late, Why::Client].into_iter().for_each(|why| stats.count_end(why));
        assert_eq!((stats.timed_out, stats.sum("connections_ended")), (2, 8));
    }

    #[test]
    fn a_status_says_why_a_connection_ends() {
        assert_eq!(
            [200, 400, 404, 413].map(Why::of_status),
            [Why::Done, Why::BadRequest, Why::BadRequest, Why::BadRequest]
        );
        assert_eq!([401, 403, 408].map(Why::of_status), [Why::Unauthorized, Why::Unauthorized, Why::Late]);
        assert_eq!([429, 503].map(Why::of_status), [Why::Full, Why::Full]);
    }
}
