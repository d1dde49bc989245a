//! The options of the upstream proxy (PROTOCOL.md §5).

#[cfg(feature = "upstream")]
mod allow;
#[cfg(feature = "upstream")]
mod prefix;

#[cfg(feature = "upstream")]
pub(crate) use self::{
    allow::{Allow, Denied},
    prefix::parse_url,
};

#[cfg(feature = "upstream")]
use self::prefix::Prefix;

use super::Config;

/// The most bytes of a reply to the sender besides the body of the upstream's answer.
const REPLY_OVERHEAD_BYTES: usize = 1024;

impl Config {
    /// Checks the options of the upstream proxy. Without a prefix there is no proxy, so they do not matter.
    pub(super) fn check_upstream(&self) -> Result<(), String> {
        if self.upstream_allow.is_empty() {
            return Ok(());
        }
        if !cfg!(feature = "upstream") {
            let sentence = "upstream-allow: this lhttpd was built without its upstream proxy (cargo feature upstream)";
            return Err(sentence.to_owned());
        }
        #[cfg(feature = "upstream")]
        self.upstream_allowed()?;
        within("upstream-workers", self.upstream_workers, Self::UPSTREAM_WORKERS_CEILING)?;
        within("upstream-queue", self.upstream_queue_max, Self::UPSTREAM_QUEUE_CEILING)?;
        within("upstream-response-max", self.upstream_response_bytes_max, usize::MAX)?;
        if self.upstream_timeout.is_zero() || self.upstream_timeout > Self::TIMEOUT_CEILING {
            return Err("upstream-timeout: it must be more than 0, and no more than a year".to_owned());
        }
        if self.upstream_response_bytes_max.saturating_add(REPLY_OVERHEAD_BYTES) > self.outbox_bytes_max {
            return Err(format!(
                "upstream-response-max: {} bytes and {REPLY_OVERHEAD_BYTES} for a head are more than an outbox holds, \
                 outbox-max {} bytes",
                self.upstream_response_bytes_max, self.outbox_bytes_max
            ));
        }
        Ok(())
    }

    /// Parses `upstream-allow`.
    ///
    /// # Errors
    /// One sentence about the first invalid text.
    #[cfg(feature = "upstream")]
    pub(crate) fn upstream_allowed(&self) -> Result<Allow, String> {
        Allow::new(&self.upstream_allow)
    }
}

/// The items of an `upstream-allow` that is one text. Commas also separate methods, so an item without a URL belongs to
/// the next one.
pub(super) fn split_allow(text: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for part in text.split(',') {
        match items.last_mut().filter(|item| !item.contains("://")) {
            Some(item) => *item = format!("{item},{}", part.trim()),
            None => items.push(part.trim().to_owned()),
        }
    }
    items
}

/// True if a request may have this method. CONNECT and TRACE make no sense for the resource of a URL: CONNECT asks a
/// proxy for a tunnel, TRACE for an echo.
pub(crate) fn is_method(text: &str) -> bool {
    let is_token = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    is_token && !["CONNECT", "TRACE"].iter().any(|other| text.eq_ignore_ascii_case(other))
}

fn within(name: &str, value: usize, most: usize) -> Result<(), String> {
    match value {
        0 => Err(format!("{name}: it must be at least 1")),
        _ if value > most => Err(format!("{name}: {value} is more than {most}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_between_methods_does_not_end_an_item() {
        for (text, items) in [
            ("http://h/", &["http://h/"][..]),
            ("http://h/, http://i/", &["http://h/", "http://i/"]),
            ("GET,PUT http://h/,http://i/", &["GET,PUT http://h/", "http://i/"]),
            ("http://h/,GET, PUT http://i/,POST http://j/", &["http://h/", "GET,PUT http://i/", "POST http://j/"]),
            ("h", &["h"]),
            ("", &[""]),
        ] {
            assert_eq!(split_allow(text), items, "{text}");
        }
    }
}
