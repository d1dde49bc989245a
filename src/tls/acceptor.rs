//! The configuration that each handshake takes, and how new files replace it while the server runs.

use std::{
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use log::Level;
use rustls::{
    ServerConfig,
    crypto::ring,
    server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier},
    version::{TLS12, TLS13},
};

use crate::{
    config::{Config, TlsRecords},
    error::StartError,
};

use super::{
    certificates::{Certificates, Term},
    files::{Contents, Files},
};

/// The only protocol that is spoken here (RFC 7301). A client that offers none is welcome too.
const ALPN: &[u8] = b"http/1.1";

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// With so many days left, the log warns of a certificate's end each day. Authorities renew well before that.
const WARNED_DAYS: u64 = 14;

/// Gives each TLS handshake its configuration, and reads certificates again. One per server: its clones share everything.
#[derive(Clone)]
pub(crate) struct Acceptor(Arc<Shared>);

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

struct Shared {
    config: Mutex<Arc<ServerConfig>>,
    /// The end of the certificate that expires first, in Unix seconds.
    not_after: AtomicU64,
    reloads_failed: AtomicU64,
    files: Mutex<State>,
    /// Who keeps the records of a connection. This does not change while the server runs.
    records: TlsRecords,
}

struct State {
    used: Loaded,
    /// What the last [`Acceptor::check`] has found new.
    checked: Option<Loaded>,
    /// Why the files cannot be used, if they cannot: the log has it already.
    refused: Option<String>,
    /// The day, since 1970, on which the log has last warned of a certificate's end.
    warned: u64,
}

/// Files that can be used, with what they gave.
struct Loaded {
    files: Files,
    contents: Contents,
    terms: Vec<Term>,
    tickets: Arc<dyn ProducesTickets>,
    config: Arc<ServerConfig>,
}

/// Reads the files of a server that speaks TLS; gives none for one that does not. An expired certificate is an error in
/// the log: clients that do not look at the date can still connect.
///
/// # Errors
/// [`StartError::Config`]: a file cannot be read or used.
pub(crate) fn acceptor(config: &Config) -> Result<Option<Acceptor>, StartError> {
    let Some(files) = Files::of(config) else { return Ok(None) };
    let contents = files.read().map_err(StartError::Config)?;
    let used = load(files, contents, None).map_err(StartError::Config)?;
    let acceptor = Acceptor::new(used, config.tls_records);
    lock(&acceptor.0.files).warn_of_ends(now());
    Ok(Some(acceptor))
}

impl Acceptor {
    fn new(used: Loaded, records: TlsRecords) -> Self {
        let state = State { checked: None, refused: None, warned: 0, used };
        Self(Arc::new(Shared {
            config: Mutex::new(Arc::clone(&state.used.config)),
            not_after: AtomicU64::new(not_after(&state.used.terms)),
            reloads_failed: AtomicU64::new(0),
            files: Mutex::new(state),
            records,
        }))
    }

    /// The newest configuration. A connection takes it once, when its handshake begins.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&lock(&self.0.config))
    }

    /// Who keeps the records of a connection after its handshake.
    pub(crate) fn records(&self) -> TlsRecords {
        self.0.records
    }

    /// The whole days until the first certificate expires, 0 if one has expired.
    pub(crate) fn days_left(&self) -> u64 {
        self.0.not_after.load(Ordering::Relaxed).saturating_sub(now()) / DAY_SECONDS
    }

    /// When the first certificate expires, in Unix seconds.
    pub(crate) fn expiry(&self) -> u64 {
        self.0.not_after.load(Ordering::Relaxed)
    }

    /// How many times new files could not be used: once for each change.
    pub(crate) fn reloads_failed(&self) -> u64 {
        self.0.reloads_failed.load(Ordering::Relaxed)
    }

    /// Reads the files that `next` names and checks them, for the [`Acceptor::take_checked`] that follows.
    ///
    /// # Errors
    /// One sentence that names the option and the file. The files in use stay.
    pub(crate) fn check(&self, next: &Config) -> Result<(), String> {
        let mut state = lock(&self.0.files);
        state.checked = None;
        // Without an address that speaks TLS there is none either after the restart that the address needs.
        let Some(files) = Files::of(next) else { return Ok(()) };
        match state.read(files, now()) {
            Ok(checked) => state.checked = checked,
            Err(sentence) => {
                self.count_failure(&mut state, &sentence);
                return Err(sentence);
            }
        }
        Ok(())
    }

    /// Uses the files that were checked, for handshakes that begin from now on. Gives the options whose files have
    /// changed.
    pub(crate) fn take_checked(&self) -> Vec<&'static str> {
        let mut state = lock(&self.0.files);
        let checked = state.checked.take();
        checked.map_or_else(Vec::new, |checked| self.replace(&mut state, checked))
    }

    /// Reads the files again, and uses them if they have changed and are sound. If they cannot be used, the last ones stay
    /// in use, and the log says why, once. It also warns of certificates that end soon.
    pub(crate) fn look(&self) {
        self.look_at(now());
    }

    fn look_at(&self, now: u64) {
        let mut state = lock(&self.0.files);
        match state.read(state.used.files.clone(), now) {
            Ok(None) => state.refused = None,
            Ok(Some(read)) => {
                let changed = self.replace(&mut state, read).join(", ");
                let days = not_after(&state.used.terms).saturating_sub(now) / DAY_SECONDS;
                log::info!("TLS: new files are in use ({changed}); the first certificate expires in {days} days");
            }
            Err(sentence) => {
                if self.count_failure(&mut state, &sentence) {
                    log::error!("{sentence}; the last usable files stay in use");
                }
            }
        }
        state.warn_of_ends(now);
    }

    fn replace(&self, state: &mut State, new: Loaded) -> Vec<&'static str> {
        let before = mem::replace(&mut state.used, new);
        state.refused = None;
        state.warned = 0;
        *lock(&self.0.config) = Arc::clone(&state.used.config);
        self.0.not_after.store(not_after(&state.used.terms), Ordering::Relaxed);
        state.used.contents.changed(&before.contents)
    }

    /// Counts files that cannot be used, unless it has counted them. Returns whether they are news.
    fn count_failure(&self, state: &mut State, sentence: &str) -> bool {
        let is_new = state.refused.as_deref() != Some(sentence);
        if is_new {
            self.0.reloads_failed.fetch_add(1, Ordering::Relaxed);
            state.refused = Some(sentence.to_owned());
        }
        is_new
    }
}

impl State {
    /// Reads files; gives none if they are those in use.
    fn read(&self, files: Files, now: u64) -> Result<Option<Loaded>, String> {
        let contents = files.read()?;
        if contents == self.used.contents {
            return Ok(None);
        }
        let new = load(files, contents, Some(&self.used))?;
        // A certificate that is in use already must not keep the others from being renewed.
        new.terms.iter().filter(|term| !self.used.terms.contains(term)).try_for_each(|term| check_time(term, now))?;
        Ok(Some(new))
    }

    /// Logs each day which certificates have expired or will soon.
    fn warn_of_ends(&mut self, now: u64) {
        self.ends(now).into_iter().for_each(|(level, sentence)| log::log!(level, "{sentence}"));
    }

    /// The lines for the log, once a day.
    fn ends(&mut self, now: u64) -> Vec<(Level, String)> {
        let today = now / DAY_SECONDS;
        if mem::replace(&mut self.warned, today) == today {
            return Vec::new();
        }
        let line = |term: &Term| {
            let days = term.validity.not_after.saturating_sub(now) / DAY_SECONDS;
            match check_time(term, now) {
                Err(sentence) => Some((Level::Error, format!("{sentence}: clients refuse it"))),
                Ok(()) if days < WARNED_DAYS => {
                    let sentence =
                        format!("tls-cert: the certificate in {} expires in {days} days", term.path.display());
                    Some((Level::Warn, sentence))
                }
                Ok(()) => None,
            }
        };
        self.used.terms.iter().filter_map(line).collect()
    }
}

/// Makes the configuration of these files. Its tickets are those of `before`, so that clients can resume their sessions,
/// unless other client certificates are asked for: a ticket stands for the certificate that was shown when it was made.
fn load(files: Files, contents: Contents, before: Option<&Loaded>) -> Result<Loaded, String> {
    let provider = Arc::new(ring::default_provider());
    let Certificates { choice, client_ca, terms } = Certificates::of(&contents, &provider)?;
    let tickets = match before.filter(|before| before.contents.client_ca == contents.client_ca) {
        Some(before) => Arc::clone(&before.tickets),
        None => ring::Ticketer::new().map_err(|error| format!("tls-cert: no key for session tickets: {error}"))?,
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| format!("tls-cert: TLS cannot be used: {error}"))?;
    let builder = match client_ca {
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| format!("tls-client-ca: {error}"))?)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(choice));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // The record layer takes the keys over after the handshake.
    config.enable_secret_extraction = true;
    // Tickets keep a session's state at the client: the server keeps none, and every core can resume it.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Arc::clone(&tickets);
    config.send_tls13_tickets = 1;
    Ok(Loaded { files, contents, terms, tickets, config: Arc::new(config) })
}

/// # Errors
/// The certificate has expired, or is not valid yet.
fn check_time(Term { path, validity }: &Term, now: u64) -> Result<(), String> {
    let date = |seconds| humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds));
    let path = path.display();
    if now > validity.not_after {
        return Err(format!("tls-cert: the certificate in {path} expired at {}", date(validity.not_after)));
    }
    if now < validity.not_before {
        return Err(format!("tls-cert: the certificate in {path} is valid only from {} on", date(validity.not_before)));
    }
    Ok(())
}

/// When the first of the certificates expires.
fn not_after(terms: &[Term]) -> u64 {
    terms.iter().map(|term| term.validity.not_after).min().unwrap_or(0)
}

/// The time of the system, in Unix seconds.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Nothing panics half way while it holds such a lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
