//! The servers that this node may connect to, and the order in which it tries them.
//!
//! Configured servers come first, in a random order of this node, so that nodes spread over them. Then come servers that
//! others have advertised, a few at a time. A server that failed lately comes behind the others of its kind.

use std::time::Duration;

use tokio::time::Instant;

use super::random::random;

/// For this time after its failure a server comes behind the others.
const SHUNNED_FOR: Duration = Duration::from_secs(30);
/// The most advertised servers.
const ADVERTISED_MAX: usize = 32;
/// Advertised servers that are tried before the configured ones have their turn again.
const ADVERTISED_AT_ONCE: usize = 4;

/// All servers that are known.
#[derive(Debug)]
pub(super) struct Candidates {
    candidates: Vec<Candidate>,
    scheme: &'static str,
}

#[derive(Clone, Debug)]
struct Candidate {
    /// Host and port.
    address: String,
    is_configured: bool,
    failed_at: Option<Instant>,
}

/// The servers of one attempt to connect, the best one first.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) servers: Vec<Address>,
    /// No other server is known, so messages need not name it.
    is_only: bool,
}

/// A server.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// For the log, and as the server's name.
    pub(super) url: String,
    /// Host and port.
    pub(super) address: String,
}

impl Choice {
    /// A failure of a server, for the log.
    pub(super) fn reason(&self, url: &str, reason: &str) -> String {
        if self.is_only { reason.to_owned() } else { format!("{url}: {reason}") }
    }
}

impl Candidates {
    /// The configured servers, shuffled.
    pub(super) fn new(addresses: &[String], is_tls: bool) -> Self {
        let mut addresses = addresses.to_vec();
        for last in (1..addresses.len()).rev() {
            addresses.swap(last, (random() % (last as u64 + 1)) as usize);
        }
        let candidate = |address| Candidate { address, is_configured: true, failed_at: None };
        Self { candidates: addresses.into_iter().map(candidate).collect(), scheme: if is_tls { "tls" } else { "nats" } }
    }

    /// Replaces the advertised servers by those that a server advertises now.
    pub(super) fn learn_of(&mut self, urls: &[String]) {
        if urls.is_empty() {
            return; // the server advertises none
        }
        self.candidates.retain(|candidate| candidate.is_configured || urls.contains(&candidate.address));
        for url in urls.iter().filter(|url| is_address(url)).take(ADVERTISED_MAX) {
            if self.candidates.iter().all(|known| known.address != *url) {
                self.candidates.push(Candidate { address: url.clone(), is_configured: false, failed_at: None });
            }
        }
    }

    /// A server has failed at this time.
    pub(super) fn has_failed(&mut self, url: &str, at: Instant) {
        let of_url = self.candidates.iter_mut().find(|candidate| url.ends_with(&format!("//{}", candidate.address)));
        if let Some(candidate) = of_url {
            candidate.failed_at = Some(at);
        }
    }

    /// The servers to try next, apart from this one.
    pub(super) fn choose(&self, except: Option<&str>) -> Choice {
        let servers = self.in_order().into_iter().map(|address| {
            let url = format!("{}://{address}", self.scheme);
            Address { url, address }
        });
        Choice {
            servers: servers.filter(|server| except != Some(&*server.url)).collect(),
            is_only: self.candidates.len() == 1,
        }
    }

    fn in_order(&self) -> Vec<String> {
        let mut candidates = self.candidates.clone();
        let shunned_since = |candidate: &Candidate| candidate.failed_at.filter(|at| at.elapsed() < SHUNNED_FOR);
        candidates.sort_by_key(|candidate| (!candidate.is_configured, shunned_since(candidate)));
        let configured = candidates.iter().filter(|candidate| candidate.is_configured).count();
        candidates.truncate(configured + ADVERTISED_AT_ONCE);
        candidates.into_iter().map(|candidate| candidate.address).collect()
    }
}

/// True if an advertised text can be an address: the bridge does not trust servers to advertise valid ones.
fn is_address(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
    text.len() <= 255 && text.bytes().all(is_plain) && text.rsplit_once(':').is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_servers_come_first_and_the_others_take_turns() {
        let mut candidates = Candidates::new(&["own:1".to_owned()], false);
        candidates.learn_of(&(0..ADVERTISED_MAX).map(|number| format!("far:{number}")).collect::<Vec<_>>());
        candidates.has_failed("nats://own:1", Instant::now());
        let mut seen = std::collections::HashSet::new();
        for _ in 0..ADVERTISED_MAX / ADVERTISED_AT_ONCE {
            let order = candidates.in_order();
            assert_eq!((order[0].as_str(), order.len()), ("own:1", 1 + ADVERTISED_AT_ONCE));
            for address in &order[1..] {
                candidates.has_failed(&format!("nats://{address}"), Instant::now());
                seen.insert(address.clone());
            }
        }
        assert_eq!(seen.len(), ADVERTISED_MAX, "all have been tried");
        assert_eq!(candidates.in_order()[1], "far:0", "the one that failed first");
    }
}
