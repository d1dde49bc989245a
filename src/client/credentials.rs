//! The token of a running connection: renewed before it runs out, and after the server has answered 401.

use std::time::{Duration, Instant};

use super::{
    Ack, Client, ClientError, Event,
    backoff::Backoff,
    builder::later,
    connection::Sent,
    event::Payload,
    renewal::Renewal,
    token::{Token, TokenSource},
};
use crate::{error::Refusal, protocol::message::Message};

/// The command of a message with a new token. A processor of this command would receive it.
const TOKEN_COMMAND: &str = "lhttp-token";

/// The word of the error that says that the token has run out.
const TOKEN_EXPIRED: &str = "token-expired";

/// A token is renewed at a random moment between these shares of the time that it has left, so that the clients that
/// connected together do not all ask at once.
const RENEWAL_EARLIEST: f64 = 0.75;
const RENEWAL_LATEST: f64 = 0.9;

/// The shortest time between two renewals: for a clock that is wrong, and for a server that refuses again and again what
/// the program asks.
const RENEWAL_INTERVAL_MIN: Duration = Duration::from_secs(10);

/// The longest time until a renewal: a token may claim to be valid for centuries.
const RENEWAL_INTERVAL_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a client knows of the token of its connection.
#[derive(Debug)]
pub(super) struct Credentials {
    /// When to ask for the next token, or when an answer from the server is late. `None` without a token, for a token that
    /// does not say when it runs out, and once the program was told that a fixed token ends.
    due: Option<Instant>,
    /// The renewal that the server has not answered.
    asked: Option<Asked>,
    /// The last renewal has failed, and `due` is the time of the next one.
    is_retrying: bool,
    /// When the last renewal began.
    begun: Option<Instant>,
    /// The token has run out, so the server has ended subscriptions.
    has_expired: bool,
    backoff: Backoff,
}

/// A renewal in flight.
#[derive(Debug)]
struct Asked {
    ack: String,
    remaining: Option<Duration>,
}

impl Credentials {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self { due: None, asked: None, is_retrying: false, begun: None, has_expired: false, backoff }
    }

    /// When the client has to do something about the token, on this connection.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// A connection was made with this token, or there is none any more.
    pub(super) fn restart(&mut self, token: Option<&Token>) {
        (self.asked, self.is_retrying, self.begun, self.has_expired) = (None, false, None, false);
        self.schedule(token.and_then(Token::remaining));
    }

    fn schedule(&mut self, remaining: Option<Duration>) {
        let share = rand::random_range(RENEWAL_EARLIEST..RENEWAL_LATEST);
        let wait = |left: Duration| left.min(RENEWAL_INTERVAL_MAX).mul_f64(share).max(RENEWAL_INTERVAL_MIN);
        self.due = remaining.map(|left| later(wait(left)));
    }

    fn retry(&mut self) {
        (self.asked, self.is_retrying) = (None, true);
        self.due = Some(later(self.backoff.next_delay(true)));
    }
}

impl Client {
    /// Gives the server another token, and waits until it has accepted it. Later handshakes use this token, also instead
    /// of [`Builder::token_source`](super::Builder::token_source). It must name the same user. Without a connection the
    /// client only remembers it.
    ///
    /// ```no_run
    /// use lhttp::client::{Client, ClientError};
    ///
    /// # fn new_token() -> String { String::new() }
    /// # fn main() -> Result<(), ClientError> {
    /// let mut client = Client::builder("ws://127.0.0.1:8081").token(new_token()).connect()?;
    /// // Later, before it runs out:
    /// client.set_token(new_token())?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Invalid`] if it does not have the form of a JWT, and [`ClientError::Refused`] with the code 401 if
    /// the server does not accept it: the client keeps its earlier token. Otherwise as [`Client::subscribe`], and the
    /// next handshake uses the new token.
    pub fn set_token(&mut self, token: impl Into<String>) -> Result<(), ClientError> {
        let token = Token::new(token)?;
        let remaining = token.remaining();
        let message = Message::new(TOKEN_COMMAND)?.header("token", token.as_str())?;
        let earlier = std::mem::replace(&mut self.options.token, TokenSource::Fixed(token));
        if self.connection.is_none() && self.options.reconnect {
            return Ok(());
        }
        let due = self.credentials.due.take();
        let answer = self.acked(message, true);
        match &answer {
            Ok(_) => {
                self.credentials.schedule(remaining);
                self.token_accepted();
            }
            Err(ClientError::Refused(_)) => {
                self.options.token = earlier;
                self.credentials.due = due;
            }
            Err(_) => {}
        }
        answer.map(drop)
    }

    /// Asks for the next token and sends it, if that is due. True if this made an event.
    pub(super) fn renew_token(&mut self) -> bool {
        let now = Instant::now();
        if self.credentials.due.is_none_or(|due| now < due) || self.connection.is_none() {
            return false;
        }
        if self.credentials.asked.is_some() {
            return self.not_renewed(Refusal::new(401, "no-answer", "the server did not answer a new token in time"));
        }
        if !matches!(self.options.token, TokenSource::Asked(_)) {
            self.credentials.due = None;
            self.inbox.push(Event::TokenEnding);
            return true;
        }
        (self.credentials.begun, self.credentials.is_retrying) = (Some(now), false);
        match self.options.token.next() {
            Ok(Some(token)) => match self.send_token(&token) {
                Ok(()) => false,
                Err(refusal) => self.not_renewed(refusal),
            },
            Ok(None) => false,
            Err(refusal) => self.not_renewed(refusal),
        }
    }

    fn send_token(&mut self, token: &Token) -> Result<(), Refusal> {
        let ack = self.tokens.next();
        let message = Message::new(TOKEN_COMMAND)?.header("token", token.as_str())?.header("ack", ack.as_str())?;
        let Some(connection) = &mut self.connection else { return Ok(()) };
        match connection.send(&Payload::from(message.encode()), Instant::now()) {
            Sent::Taken => {
                self.credentials.asked = Some(Asked { ack, remaining: token.remaining() });
                self.credentials.due = Some(later(self.options.timeout));
            }
            Sent::Full => {
                return Err(Refusal::new(401, "outbox-full", "the server does not read, so it gets no new token"));
            }
            Sent::Ended(why) => drop(self.broken(why)),
        }
        Ok(())
    }

    /// The server has acknowledged a message. True if that was the one with a new token.
    pub(super) fn token_acknowledged(&mut self, token: &str, ack: &Ack) -> bool {
        let Some(asked) = self.credentials.asked.take_if(|asked| asked.ack == token) else { return false };
        // The server's clock is the one that counts.
        self.credentials.schedule(ack.expires_in.or(asked.remaining));
        self.credentials.backoff.reset();
        self.token_accepted();
        true
    }

    /// The server has refused a message. True if that was the one with a new token.
    pub(super) fn token_refused(&mut self, ack: Option<&str>, refusal: &Refusal) -> bool {
        if ack.is_some() && self.credentials.asked.as_ref().map(|asked| asked.ack.as_str()) == ack {
            self.not_renewed(refusal.clone());
            return true;
        }
        if refusal.code() != 401 {
            return false;
        }
        let credentials = &mut self.credentials;
        credentials.has_expired |= refusal.reason() == TOKEN_EXPIRED;
        if matches!(self.options.token, TokenSource::Asked(_))
            && credentials.asked.is_none()
            && !credentials.is_retrying
        {
            let now = Instant::now();
            credentials.due = Some(credentials.begun.map_or(now, |begun| now.max(begun + RENEWAL_INTERVAL_MIN)));
        }
        false
    }

    /// Subscribes again to what the server ended when the earlier token ran out. Subscribing twice does no harm.
    fn token_accepted(&mut self) {
        if !std::mem::take(&mut self.credentials.has_expired) {
            return;
        }
        self.renewal.get_or_insert_with(|| Renewal::quiet(later(self.options.timeout)));
        // Fails only if the connection is lost.
        let _ = self.renew_all(Instant::now());
        self.end_renewal();
    }

    /// Always true: this makes an event.
    fn not_renewed(&mut self, refusal: Refusal) -> bool {
        self.credentials.retry();
        self.inbox.push(Event::TokenNotRenewed(refusal));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    #[test]
    fn a_renewal_is_due_in_the_last_quarter_and_not_at_the_end() {
        let mut credentials = Credentials::new(Backoff::new(Duration::ZERO, Duration::ZERO));
        let mut due = |seconds| {
            let now = Instant::now();
            credentials.schedule(Some(Duration::from_secs(seconds)));
            (credentials.due.unwrap() - now).as_secs_f64()
        };
        for _ in 0..100 {
            let wait = due(1000);
            assert!((750.0..901.0).contains(&wait), "{wait}");
        }
        // A token that has run out by this clock, and one that never does.
        assert!((10.0..11.0).contains(&due(0)));
        assert!(due(u64::MAX) < 366.0 * 24.0 * 3600.0);
        credentials.schedule(None);
        assert_eq!(credentials.due, None);
    }

    #[test]
    fn a_fixed_token_that_ends_is_told_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let mut socket = tungstenite::accept(listener.accept().unwrap().0).unwrap();
            while socket.read().is_ok() {}
        });
        let mut client = Client::builder(url).token("e30.eyJleHAiOjk5OTk5OTk5OTl9.c2ln").connect().unwrap();
        assert!(client.credentials.due.is_some());
        client.credentials.due = Some(Instant::now());
        // It ends the wait.
        assert_eq!(client.poll(Duration::MAX), Ok(Some(Event::TokenEnding)));
        assert_eq!(client.poll(Duration::ZERO), Ok(None));
        client.close().unwrap();
        server.join().unwrap();
    }
}
