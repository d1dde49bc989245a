//! The options of the upstream proxy (PROTOCOL.md §5).

#[cfg(feature = "upstream")]
mod prefix;

#[cfg(feature = "upstream")]
pub(crate) use self::prefix::{Prefix, parse_url};

use super::Config;

/// What a reply to the sender has besides the body of the upstream's answer, at most, in bytes.
const REPLY_OVERHEAD_BYTES: usize = 1024;

impl Config {
    /// Checks the options of the upstream proxy; without a prefix there is none, and they do not matter.
    pub(super) fn check_upstream(&self) -> Result<(), String> {
        if self.upstream_allow.is_empty() {
            return Ok(());
        }
        if !cfg!(feature = "upstream") {
            let sentence = "upstream-allow: this lhttpd was built without its upstream proxy (cargo feature upstream)";
            return Err(sentence.to_owned());
        }
        #[cfg(feature = "upstream")]
        self.upstream_prefixes()?;
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

    /// The prefixes of `upstream-allow`.
    ///
    /// # Errors
    /// One sentence about the first that is none.
    #[cfg(feature = "upstream")]
    pub(crate) fn upstream_prefixes(&self) -> Result<Vec<Prefix>, String> {
        self.upstream_allow.iter().map(|text| text.parse()).collect()
    }
}

fn within(name: &str, value: usize, most: usize) -> Result<(), String> {
    match value {
        0 => Err(format!("{name}: it must be at least 1")),
        _ if value > most => Err(format!("{name}: {value} is more than {most}")),
        _ => Ok(()),
    }
}
