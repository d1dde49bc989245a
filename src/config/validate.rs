//! The checks that do not depend on the machine: values out of range, and options that contradict each other.

use std::{fmt::Display, time::Duration};

use bytesize::ByteSize;

use super::{CORES_MAX, Config, Listen, Secret};
use crate::{error::StartError, protocol::message::is_name};

/// The longest header of a frame that a server sends (RFC 6455 §5.2: 2 bytes and a 64-bit length, no mask).
const FRAME_HEADER_BYTES_MAX: usize = 10;
/// The most bytes of the lines that the server adds to a message with a history: up to 60 and the channel's name.
const NUMBERED_BYTES_MAX: usize = 60 + 255;
/// The shortest time of an option that is not in microseconds.
const TIME_MIN: Duration = Duration::from_millis(1);

impl Config {
    /// Checks the values by themselves and against each other. [`Config::resolve`], which calls this first, also checks
    /// what depends on the machine.
    ///
    /// # Errors
    /// [`StartError::Config`] with one sentence that names the option as the daemon spells it.
    pub fn validate(&self) -> Result<(), StartError> {
        self.check_listen()
            .and_then(|()| self.check_cores())
            .and_then(|()| self.check_sizes())
            .and_then(|()| self.check_counts())
            .and_then(|()| self.check_times())
            .and_then(|()| self.check_keys())
            .and_then(|()| self.check_admin())
            .and_then(|()| self.check_tls())
            .and_then(|()| self.check_token())
            .and_then(|()| self.check_access())
            .and_then(|()| self.check_rates())
            .and_then(|()| self.check_door())
            .and_then(|()| self.check_nats())
            .and_then(|()| self.check_upstream())
            .and_then(|()| self.check_channels())
            .map_err(StartError::Config)
    }

    fn check_listen(&self) -> Result<(), String> {
        if self.listen.is_empty() {
            return Err("listen: no address is given".to_owned());
        }
        check_places("listen", &self.listen)
    }

    fn check_admin(&self) -> Result<(), String> {
        #[cfg(not(feature = "admin"))]
        if !self.admin.is_empty() {
            return Err("admin: this build lacks the cargo feature `admin`".to_owned());
        }
        check_places("admin", &self.admin)?;
        let is_for_clients = |place: &&Listen| {
            let address = place.tcp().filter(|address| address.port() != 0);
            self.listen.contains(place)
                || address.is_some_and(|address| self.listen.iter().any(|listen| listen.tcp() == Some(address)))
        };
        if let Some(place) = self.admin.iter().filter(|place| !place.is_any_port()).find(is_for_clients) {
            return Err(format!("admin: {place} is in listen, too: give it an address of its own"));
        }
        match self.admin.iter().find(|place| !place.is_of_this_machine()) {
            Some(place) if self.admin_key.is_none() => {
                Err(format!("admin: {place} can be reached from other machines: set admin-key"))
            }
            _ => Ok(()),
        }
    }

    fn check_cores(&self) -> Result<(), String> {
        match (self.cores, &self.cpu_list) {
            (Some(_), Some(_)) => Err("cores and cpu-list contradict each other: give one of them".to_owned()),
            (Some(cores), None) => at_least_one("cores", cores),
            (None, Some(list)) if list.is_empty() => Err("cpu-list: it names no CPU".to_owned()),
            (None, Some(list)) if list.len() > CORES_MAX => {
                Err(format!("cpu-list: {} CPUs are more than {CORES_MAX}", list.len()))
            }
            (None, Some(list)) => match first_repeated(list) {
                Some(cpu) => Err(format!("cpu-list: CPU {cpu} is given twice")),
                None => Ok(()),
            },
            (None, None) => Ok(()),
        }
    }

    fn check_sizes(&self) -> Result<(), String> {
        at_least_one("max-message", self.message_bytes_max)?;
        at_least_one("max-head", self.head_bytes_max)?;
        at_least_one("max-http-head", self.http_head_bytes_max)?;
        if self.http_head_bytes_max > Self::HTTP_HEAD_BYTES_CEILING {
            let (head, ceiling) = (size(self.http_head_bytes_max), size(Self::HTTP_HEAD_BYTES_CEILING));
            return Err(format!("max-http-head: {head} is more than {ceiling}"));
        }
        let message = size(self.message_bytes_max);
        let outbox = size(self.outbox_bytes_max);
        if self.message_bytes_max > Self::MESSAGE_BYTES_CEILING {
            let ceiling = size(Self::MESSAGE_BYTES_CEILING);
            return Err(format!("max-message: {message} is more than {ceiling}"));
        }
        if self.head_bytes_max > self.message_bytes_max {
            let head = size(self.head_bytes_max);
            return Err(format!("max-head: {head} is more than a whole message may have, max-message {message}"));
        }
        let has_history = self.channels.iter().any(|rule| rule.history.is_some());
        let lines = if has_history { NUMBERED_BYTES_MAX } else { 0 };
        if self.outbox_bytes_max < self.message_bytes_max + FRAME_HEADER_BYTES_MAX + lines {
            let lines = if has_history { ", its number and its channel" } else { "" };
            return Err(format!(
                "outbox-max: {outbox} cannot hold one message of max-message {message}{lines} and its frame header"
            ));
        }
        match self.memory_budget_bytes {
            Some(budget) if budget < self.outbox_bytes_max as u64 => {
                Err(format!("memory-budget: {} is less than one outbox, outbox-max {outbox}", ByteSize(budget)))
            }
            _ => Ok(()),
        }
    }

    fn check_counts(&self) -> Result<(), String> {
        at_least_one("max-headers", self.headers_max)?;
        if self.headers_max > Self::HEADERS_CEILING {
            return Err(format!("max-headers: {} is more than {}", self.headers_max, Self::HEADERS_CEILING));
        }
        at_least_one("max-publish-channels", self.publish_channels_max)?;
        if self.publish_channels_max > Self::PUBLISH_CHANNELS_CEILING {
            let (given, ceiling) = (self.publish_channels_max, Self::PUBLISH_CHANNELS_CEILING);
            return Err(format!("max-publish-channels: {given} is more than {ceiling}"));
        }
        at_least_one("max-subscriptions", self.subscriptions_max)?;
        at_least_one("subscription-bytes", self.subscription_bytes_max)?;
        if self.subscription_bytes_max > Self::SUBSCRIPTION_BYTES_CEILING {
            let (given, ceiling) = (size(self.subscription_bytes_max), size(Self::SUBSCRIPTION_BYTES_CEILING));
            return Err(format!("subscription-bytes: {given} is more than {ceiling}"));
        }
        self.connections_max.map_or(Ok(()), |connections| at_least_one("max-connections", connections))
    }

    fn check_times(&self) -> Result<(), String> {
        let times = [
            ("idle-timeout", self.idle_timeout),
            ("ping-interval", self.ping_interval),
            ("handshake-timeout", self.handshake_timeout),
            ("message-timeout", self.message_timeout),
            ("http-keep-alive", self.http_keep_alive),
            ("drain-delay", self.drain_delay),
            ("drain", self.drain_timeout),
        ];
        if let Some((name, given)) = times.into_iter().find(|(_, given)| *given > Self::TIMEOUT_CEILING) {
            return Err(format!("{name}: {} is more than a year", time(given)));
        }
        // The server counts them in milliseconds, and a shorter time would become zero: never, or at once.
        if let Some((name, given)) = times.into_iter().find(|(_, given)| !given.is_zero() && *given < TIME_MIN) {
            return Err(format!("{name}: {} is less than {}", time(given), time(TIME_MIN)));
        }
        if self.handshake_timeout.is_zero() {
            return Err("handshake-timeout: it must be more than 0".to_owned());
        }
        let short = [("busy-poll", self.busy_poll), ("coalesce", self.coalesce)];
        if let Some((name, given)) = short.into_iter().find(|(_, given)| *given > Self::HOLD_CEILING) {
            return Err(format!("{name}: {} is more than {}", time(given), time(Self::HOLD_CEILING)));
        }
        let both = !self.ping_interval.is_zero() && !self.idle_timeout.is_zero();
        if both && self.ping_interval >= self.idle_timeout {
            return Err(format!(
                "ping-interval: {} must be less than idle-timeout {}, or no pong can come in time",
                time(self.ping_interval),
                time(self.idle_timeout)
            ));
        }
        Ok(())
    }

    /// Whether connections of one address are limited.
    pub(crate) fn limits_addresses(&self) -> bool {
        self.connect_rate > 0 || self.address_connections > 0
    }

    fn check_rates(&self) -> Result<(), String> {
        let rates = [
            ("message-rate", self.message_rate),
            ("byte-rate", self.byte_rate),
            ("subscribe-rate", self.subscribe_rate),
            ("connect-rate", self.connect_rate),
        ];
        match rates.into_iter().find(|(_, rate)| *rate > Self::RATE_CEILING) {
            Some((name, rate)) => Err(format!("{name}: {rate} is more than {}", Self::RATE_CEILING)),
            None => Ok(()),
        }
    }

    /// Checks how clients give their tokens.
    fn check_door(&self) -> Result<(), String> {
        if self.require_token && !self.has_tokens() {
            return Err("require-token: without token-key or token-jwks nobody could connect".to_owned());
        }
        match &self.token_cookie {
            Some(name) if !is_name(name.as_bytes()) => {
                Err(format!("token-cookie: {name:?} is not the name of a cookie: 1 to 64 letters, digits and marks"))
            }
            Some(_) if !self.has_tokens() => {
                Err("token-cookie: it has no effect without token-key or token-jwks".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn check_keys(&self) -> Result<(), String> {
        let keys = [("publish-key", &self.publish_key), ("admin-key", &self.admin_key)];
        let is_wrong = |(_, key): &(_, &Option<Secret>)| key.as_ref().is_some_and(|key| !key.is_header_safe());
        match keys.into_iter().find(is_wrong) {
            Some((name, _)) => Err(format!("{name}: it must be visible ASCII without spaces, at least one character")),
            None => Ok(()),
        }
    }
}

/// Checks that no place is given twice. Port 0 twice is two free ports. Any other address twice would be bound twice without
/// an error, because the cores share a port anyway.
fn check_places(name: &str, places: &[Listen]) -> Result<(), String> {
    let fixed: Vec<_> = places.iter().filter(|place| !place.is_any_port()).collect();
    if let Some(place) = first_repeated(&fixed) {
        return Err(format!("{name}: {place} is given twice"));
    }
    let addresses: Vec<_> = fixed.iter().filter_map(|place| place.tcp()).collect();
    match first_repeated(&addresses) {
        Some(address) => Err(format!("{name}: {address} is given with tls:// and without")),
        None => Ok(()),
    }
}

fn at_least_one(name: &str, value: usize) -> Result<(), String> {
    if value == 0 { Err(format!("{name}: it must be at least 1")) } else { Ok(()) }
}

/// The lists here are short, addresses and CPUs, so each item is simply compared with those before it.
fn first_repeated<T: PartialEq>(items: &[T]) -> Option<&T> {
    items.iter().enumerate().find(|(index, item)| items[..*index].contains(item)).map(|(_, item)| item)
}

fn size(bytes: usize) -> impl Display {
    ByteSize(bytes as u64)
}

fn time(given: Duration) -> impl Display {
    humantime::format_duration(given)
}
