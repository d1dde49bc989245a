//! Who a client is: the token of a handshake, of a request, or of a message (PROTOCOL.md §8).

use std::sync::Arc;

use crate::{
    application::control::too_many_users,
    engine::{
        application::Answer,
        arrival::Arrival,
        grants::Identity,
        hub::Hub,
        log_limit::LogLimit,
        router::work::{BAD_TOKEN_UNITS, TOKEN_UNITS},
        slot::Slot,
        stats::Stats,
    },
    error::{Reason, Refusal},
    protocol::{
        handshake,
        http::{RequestHead, bearer_token, cookie},
    },
    token::{Claims, Invalid, Verifier},
};

const NEEDS_TOKEN: &str = "this server needs a token\n";
const NEEDS_KEY: &str = "POST /publish needs Authorization: Bearer KEY\n";
const WRONG_KEY: &str = "this is not the key\n";
const FILTERED: &str = "this server has filters, which POST /publish does not pass: it needs a publish key\n";
const OTHER_USER: &str = "the token is for another user: a connection belongs to one";
const FULL: &str = "this server has as many users as it takes\n";

/// Checks tokens, for one core.
pub(crate) trait Verify: Send {
    /// What a token says, if it is valid at `now`, in Unix seconds.
    ///
    /// # Errors
    /// Why the token is not valid.
    fn verify(&mut self, token: &[u8], now: u64) -> Result<Arc<Claims>, Invalid>;

    /// Copies what was done so far into the core's numbers.
    fn count(&self, stats: &mut Stats) {
        let _ = stats;
    }
}

impl Verify for Verifier {
    fn verify(&mut self, token: &[u8], now: u64) -> Result<Arc<Claims>, Invalid> {
        Self::verify(self, token, now)
    }

    fn count(&self, stats: &mut Stats) {
        stats.count_tokens(self.tally());
    }
}

/// Decides who a client is.
#[derive(Default)]
pub(crate) struct Doorkeeper {
    /// None if the server takes no tokens. Then tokens have no meaning, and all clients are anonymous.
    verifier: Option<Box<dyn Verify>>,
}

impl Doorkeeper {
    /// A doorkeeper who checks tokens with this verifier, if there is one.
    pub(crate) fn new(verifier: Option<Box<dyn Verify>>) -> Self {
        Self { verifier }
    }

    /// Gives a connection the identity that its handshake asks for. Asking twice does no harm.
    ///
    /// # Errors
    /// The answer to the handshake.
    pub(super) fn admit(
        &mut self,
        hub: &mut Hub,
        slot: Slot,
        head: &RequestHead<'_, '_>,
        arrival: &Arrival,
    ) -> Result<(), Answer<'static>> {
        let token = if self.verifier.is_some() { offered(hub, head) } else { None };
        let identity = match token {
            Some(token) => Identity::User(self.verify(hub, arrival, token)?),
            None if hub.limits.requires_token => return Err(missing(hub, arrival, NEEDS_TOKEN)),
            None => Identity::Anonymous,
        };
        identify(hub, slot, identity)
    }

    /// Gives a connection the identity with which it posts a message. The key is compared in constant time, so that it cannot
    /// be found byte by byte. Only the key passes the filters by, unless the server allows that to all.
    ///
    /// # Errors
    /// The answer to the request.
    pub(super) fn admit_publisher(
        &mut self,
        hub: &mut Hub,
        slot: Slot,
        head: &RequestHead<'_, '_>,
        arrival: &Arrival,
        has_filters: bool,
    ) -> Result<(), Answer<'static>> {
        let bearer = bearer_token(head);
        let identity = match (&hub.limits.publish_key, bearer) {
            (Some(key), Some(bearer)) if key.matches(bearer) => Identity::Key,
            (None, _) if has_filters => return Err(Answer::text(403, FILTERED)),
            (Some(_), None) => return Err(missing(hub, arrival, NEEDS_KEY)),
            (Some(_), Some(_)) if self.verifier.is_none() || has_filters => return Err(Answer::text(403, WRONG_KEY)),
            (Some(_), Some(token)) => Identity::User(self.verify(hub, arrival, token)?),
            (None, Some(token)) if self.verifier.is_some() => Identity::User(self.verify(hub, arrival, token)?),
            (None, _) if hub.limits.requires_token => return Err(missing(hub, arrival, NEEDS_TOKEN)),
            (None, _) => Identity::Anonymous,
        };
        identify(hub, slot, identity)
    }

    /// What the new token of an open connection says; none if the server takes no tokens.
    ///
    /// # Errors
    /// `unauthorized`.
    pub(super) fn renew(&mut self, hub: &mut Hub, slot: Slot, token: &[u8]) -> Result<Option<Arc<Claims>>, Refusal> {
        let Some(verifier) = &mut self.verifier else { return Ok(None) };
        let unauthorized = |sentence| Refusal::because(Reason::Unauthorized, sentence);
        let verified = check(&mut **verifier, hub, token);
        let claims = verified.map_err(|invalid| unauthorized(invalid.sentence()))?;
        if hub.claims(slot).is_some_and(|before| before.user != claims.user) {
            hub.stats.tokens_of_others += 1;
            return Err(unauthorized(OTHER_USER));
        }
        Ok(Some(claims))
    }

    fn verify(&mut self, hub: &mut Hub, arrival: &Arrival, token: &[u8]) -> Result<Arc<Claims>, Answer<'static>> {
        let verified = match &mut self.verifier {
            Some(verifier) => check(&mut **verifier, hub, token),
            None => Err(Invalid::Key),
        };
        verified.map_err(|invalid| {
            log_refused(arrival, invalid.word());
            hub.stats.unauthorized += 1;
            let challenge = &[("WWW-Authenticate", "Bearer error=\"invalid_token\"")];
            Answer::text(401, invalid.sentence()).headers(challenge).close()
        })
    }
}

/// The token of a handshake. A client may give it in four ways; the first of these counts.
fn offered<'b>(hub: &Hub, head: &RequestHead<'_, 'b>) -> Option<&'b [u8]> {
    bearer_token(head)
        .or_else(|| handshake::offered_token(head))
        .or_else(|| query_token(head.target).map(str::as_bytes))
        .or_else(|| cookie(head, hub.limits.token_cookie.as_deref()?))
}

/// The value of `token` in the query of a target. A JSON Web Token has no character that a URL must encode.
fn query_token(target: &str) -> Option<&str> {
    let (_, query) = target.split_once('?')?;
    let query = query.split_once('#').map_or(query, |(query, _)| query);
    query.split('&').find_map(|pair| pair.strip_prefix("token="))
}

fn identify(hub: &mut Hub, slot: Slot, identity: Identity) -> Result<(), Answer<'static>> {
    if hub.identify(slot, identity) {
        return Ok(());
    }
    hub.count_refusal(&too_many_users());
    Err(Answer::text(503, FULL).close())
}

fn missing(hub: &mut Hub, arrival: &Arrival, sentence: &'static str) -> Answer<'static> {
    hub.stats.tokens_missing += 1;
    hub.stats.unauthorized += 1;
    log_refused(arrival, "missing");
    Answer::text(401, sentence).headers(&[("WWW-Authenticate", "Bearer")]).close()
}

/// Checks a token, counts that, and charges the connection for it.
fn check(verifier: &mut dyn Verify, hub: &mut Hub, token: &[u8]) -> Result<Arc<Claims>, Invalid> {
    let verified = verifier.verify(token, hub.unix_millis() / 1000);
    verifier.count(&mut hub.stats);
    hub.router.work.add(if verified.is_ok() { TOKEN_UNITS } else { BAD_TOKEN_UNITS });
    verified
}

fn log_refused(arrival: &Arrival, word: &str) {
    static LIMIT: LogLimit = LogLimit::new();
    if log::log_enabled!(log::Level::Debug) {
        let client = arrival.shown();
        LIMIT.say(|more| log::debug!("refused {client} with 401: token {word}{more}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_of_a_query_is_the_first_of_that_name() {
        for (target, expected) in [
            ("/ws?token=a.b.c", Some("a.b.c")),
            ("/?x=1&token=a&token=b", Some("a")),
            ("/?mytoken=a", None),
            ("/?token", None),
            ("/token=a", None),
            ("/?token=a#token=b", Some("a")),
            ("/?token=", Some("")),
        ] {
            assert_eq!(query_token(target), expected, "{target}");
        }
    }
}
