//! Options by name and text, for those who have neither flags nor TOML.

use std::path::PathBuf;

use super::{Config, Secret, parse_bytes, parse_cpu_list, parse_duration, parse_micros, upstream::split_allow};

impl Config {
    /// The names of all options, as TOML spells them, in the order of the fields.
    pub const NAMES: [&str; 40] = [
        "listen",
        "cores",
        "cpu-list",
        "max-message",
        "max-head",
        "max-headers",
        "max-publish-channels",
        "max-http-head",
        "max-connections",
        "outbox-max",
        "memory-budget",
        "max-subscriptions",
        "subscription-bytes",
        "idle-timeout",
        "ping-interval",
        "handshake-timeout",
        "message-timeout",
        "http-keep-alive",
        "drain",
        "busy-poll",
        "coalesce",
        "send-buffer",
        "receive-buffer",
        "publish-key",
        "nats",
        "nats-creds",
        "nats-nkey",
        "nats-user",
        "nats-password-file",
        "nats-tls-ca",
        "nats-tls-cert",
        "nats-tls-key",
        "nats-tls-first",
        "nats-prefix",
        "nats-buffer",
        "upstream-allow",
        "upstream-workers",
        "upstream-queue",
        "upstream-timeout",
        "upstream-response-max",
    ];

    /// Sets one option by its name to a value that is written as for the daemon's flag; `listen` and `upstream-allow`
    /// take several values, separated by commas. Whether it fits the others is for [`Config::validate`] to say.
    ///
    /// ```
    /// let mut config = lhttp::Config::default();
    /// config.set("max-message", "16KiB")?;
    /// assert_eq!(config.message_bytes_max, 16 * 1024);
    /// assert!(config.set("max-mesage", "16KiB").is_err());
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// One sentence that names the option, and shows the value unless a secret may be in it. Nothing is changed then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        self.assign(name, value).map_err(|sentence| format!("{name}: {sentence}"))
    }

    fn assign(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "listen" => self.listen = value.split(',').map(|item| item.trim().parse()).collect::<Result<_, _>>()?,
            "cores" => self.cores = Some(number(value)?),
            "cpu-list" => self.cpu_list = Some(parse_cpu_list(value)?),
            "max-message" => self.message_bytes_max = size(value)?,
            "max-head" => self.head_bytes_max = size(value)?,
            "max-headers" => self.headers_max = number(value)?,
            "max-publish-channels" => self.publish_channels_max = number(value)?,
            "max-http-head" => self.http_head_bytes_max = size(value)?,
            "max-connections" => self.connections_max = Some(number(value)?),
            "outbox-max" => self.outbox_bytes_max = size(value)?,
            "memory-budget" => self.memory_budget_bytes = Some(parse_bytes(value)?),
            "max-subscriptions" => self.subscriptions_max = number(value)?,
            "subscription-bytes" => self.subscription_bytes_max = size(value)?,
            "idle-timeout" => self.idle_timeout = parse_duration(value)?,
            "ping-interval" => self.ping_interval = parse_duration(value)?,
            "handshake-timeout" => self.handshake_timeout = parse_duration(value)?,
            "message-timeout" => self.message_timeout = parse_duration(value)?,
            "http-keep-alive" => self.http_keep_alive = parse_duration(value)?,
            "drain" => self.drain_timeout = parse_duration(value)?,
            "busy-poll" => self.busy_poll = parse_micros(value)?,
            "coalesce" => self.coalesce = parse_micros(value)?,
            "send-buffer" => self.send_buffer_bytes = size(value)?,
            "receive-buffer" => self.receive_buffer_bytes = size(value)?,
            "publish-key" => self.publish_key = Some(Secret::from(value)),
            "nats" => self.nats = Some(Secret::from(value)),
            "nats-creds" => self.nats_creds = Some(PathBuf::from(value)),
            "nats-nkey" => self.nats_nkey = Some(PathBuf::from(value)),
            "nats-user" => self.nats_user = Some(value.to_owned()),
            "nats-password-file" => self.nats_password_file = Some(PathBuf::from(value)),
            "nats-tls-ca" => self.nats_tls_ca = Some(PathBuf::from(value)),
            "nats-tls-cert" => self.nats_tls_cert = Some(PathBuf::from(value)),
            "nats-tls-key" => self.nats_tls_key = Some(PathBuf::from(value)),
            "nats-tls-first" => self.nats_tls_first = switch(value)?,
            "nats-prefix" => self.nats_prefix = Some(value.to_owned()),
            "nats-buffer" => self.nats_buffer_bytes = size(value)?,
            "upstream-allow" => self.upstream_allow = split_allow(value),
            "upstream-workers" => self.upstream_workers = number(value)?,
            "upstream-queue" => self.upstream_queue_max = number(value)?,
            "upstream-timeout" => self.upstream_timeout = parse_duration(value)?,
            "upstream-response-max" => self.upstream_response_bytes_max = size(value)?,
            _ => return Err(format!("there is no such option, only {}", Self::NAMES.join(", "))),
        }
        Ok(())
    }
}

fn size(text: &str) -> Result<usize, String> {
    usize::try_from(parse_bytes(text)?).map_err(|_| format!("{text} is more than this machine can address"))
}

fn switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("{text:?} is neither true nor false"))
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number that fits: write such as 2"))
}
