//! Looks up the names of upstream servers. The system's look-up has no time limit, so it runs on a thread of its own, one per
//! host at a time. All requests to the host share its answer, which is cached for a while.

use std::{
    collections::HashMap,
    fmt,
    net::{SocketAddr, ToSocketAddrs},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use ureq::{
    Error,
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::NextTimeout,
    },
};

use super::{lock, patience};

/// How long an answer is cached. The system does not tell its time to live.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// The most addresses of one host that ureq takes.
const ADDRESSES_MAX: usize = 16;

/// Looks up names and caches the answers. Only the hosts of the prefixes are looked up, so there are few.
pub(super) struct CachingResolver {
    lookups: Mutex<HashMap<String, Arc<Lookup>>>,
    look_up: fn(&str) -> Result<Vec<SocketAddr>, String>,
}

/// One look-up, under way or answered.
#[derive(Debug, Default)]
struct Lookup {
    answer: Mutex<Option<Resolution>>,
    answered: Condvar,
}

#[derive(Debug)]
struct Resolution {
    at: Instant,
    addresses: Result<Vec<SocketAddr>, String>,
}

impl Default for CachingResolver {
    fn default() -> Self {
        let look_up = |host: &str| match host.to_socket_addrs() {
            Ok(addresses) => Ok(addresses.collect()),
            Err(error) => Err(error.to_string()),
        };
        Self { lookups: Mutex::default(), look_up }
    }
}

impl fmt::Debug for CachingResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachingResolver").finish_non_exhaustive()
    }
}

impl Resolver for CachingResolver {
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.scheme().zip(uri.authority());
        let host = host.and_then(|(scheme, authority)| DefaultResolver::host_and_port(scheme, authority));
        let host = host.ok_or_else(|| Error::BadUri(uri.to_string()))?;
        let addresses = self.addresses(&host).ok_or(Error::Timeout(timeout.reason))?;
        let addresses = addresses.map_err(|why| Error::Other(why.into()))?;
        let mut resolved = self.empty();
        addresses.into_iter().take(ADDRESSES_MAX).for_each(|address| resolved.push(address));
        if resolved.is_empty() { Err(Error::HostNotFound) } else { Ok(resolved) }
    }
}

impl CachingResolver {
    /// The addresses of `host:port`, or why there are none. Gives nothing if the request's time is over first.
    fn addresses(&self, host: &str) -> Option<Result<Vec<SocketAddr>, String>> {
        if let Ok(address) = host.parse() {
            return Some(Ok(vec![address]));
        }
        let lookup = match self.lookup(host) {
            Ok(lookup) => lookup,
            Err(why) => return Some(Err(why)),
        };
        patience::wait(|slice| {
            let answer = lookup.answered.wait_timeout_while(lock(&lookup.answer), slice, |answer| answer.is_none());
            let (answer, _) = answer.unwrap_or_else(PoisonError::into_inner);
            answer.as_ref().map(|answer| answer.addresses.clone())
        })
    }

    /// The look-up of a host: the one that is under way or still fresh, or a new one.
    fn lookup(&self, host: &str) -> Result<Arc<Lookup>, String> {
        let mut lookups = lock(&self.lookups);
        if let Some(lookup) = lookups.get(host) {
            let is_stale = lock(&lookup.answer)
                .as_ref()
                .is_some_and(|answer| answer.addresses.is_err() || answer.at.elapsed() > KEPT_FOR);
            if !is_stale {
                return Ok(Arc::clone(lookup));
            }
        }
        let lookup = Arc::new(Lookup::default());
        let (asked, name, look_up) = (Arc::clone(&lookup), host.to_owned(), self.look_up);
        let run = move || {
            let addresses = look_up(&name);
            *lock(&asked.answer) = Some(Resolution { at: Instant::now(), addresses });
            asked.answered.notify_all();
        };
        let spawned = thread::Builder::new().name("lhttp-resolver".to_owned()).spawn(run);
        spawned.map_err(|error| format!("cannot look up a name: {error}"))?;
        lookups.insert(host.to_owned(), Arc::clone(&lookup));
        Ok(lookup)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// The answer for a request with this time limit.
    fn addresses(resolver: &CachingResolver, host: &str, time: Duration) -> Option<Result<Vec<SocketAddr>, String>> {
        patience::begin(time);
        resolver.addresses(host)
    }

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn an_address_is_not_looked_up() {
        let resolver = CachingResolver { lookups: Mutex::default(), look_up: |host| panic!("{host} is looked up") };
        for address in ["127.0.0.1:80", "[::1]:9000"] {
            assert_eq!(addresses(&resolver, address, PATIENCE), Some(Ok(vec![address.parse().unwrap()])));
        }
    }

    #[test]
    fn a_name_is_looked_up_once_and_a_failure_is_not_kept() {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let look_up = |host: &str| match COUNT.fetch_add(1, Ordering::Relaxed) {
            0 => Err(format!("no {host}")),
            _ => Ok(vec![SocketAddr::from(([127, 0, 0, 1], 80))]),
        };
        let resolver = CachingResolver { lookups: Mutex::default(), look_up };
        assert_eq!(addresses(&resolver, "h:80", PATIENCE), Some(Err("no h:80".to_owned())));
        for _ in 0..3 {
            assert_eq!(addresses(&resolver, "h:80", PATIENCE).unwrap().unwrap().len(), 1);
        }
        assert_eq!(COUNT.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_look_up_that_hangs_holds_one_thread_and_nobody_past_the_deadline() {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let look_up = |_: &str| {
            COUNT.fetch_add(1, Ordering::Relaxed);
            loop {
                thread::park();
            }
        };
        let resolver = CachingResolver { lookups: Mutex::default(), look_up };
        for _ in 0..3 {
            assert_eq!(addresses(&resolver, "h:80", Duration::from_millis(1)), None);
        }
        assert!(COUNT.load(Ordering::Relaxed) <= 1);
    }
}
