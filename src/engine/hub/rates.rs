//! Rates of connections and of addresses: what is admitted, and the answer to what is not (PROTOCOL.md §9).
//!
//! Without a rate nothing here is kept, and the path of a message asks one flag.

use std::net::IpAddr;

use crate::{
    engine::{
        addresses::{AddressLimits, Ticket, TooMany},
        application::Application,
        arrival::{Arrival, Role},
        hub::{Hub, http::Faulty},
        log_limit::LogLimit,
        rates::{Buckets, Rates, SECOND, Wait},
        session::Expected,
        slot::Slot,
    },
    error::{Fault, HttpFault, Reason, Refusal},
    protocol::{
        frame,
        message::{find_ack, is_lhttp},
    },
};

/// Milliseconds to the unit of [`Rates`].
const MILLI: u64 = SECOND / 1000;

/// The answer to a handshake that a trusted proxy forwards for an address at its limit.
const TOO_MANY: Faulty = (HttpFault::new(429, "too many connections of this address"), &[("Retry-After", "1")]);

/// What a core keeps about rates.
#[derive(Debug, Default)]
pub(super) struct Meter {
    rates: Rates,
    is_on: bool,
    /// By slot; empty while there are no rates.
    metered: Vec<Metered>,
    /// By slot, the connection's place among those of its address; empty until an address is limited.
    tickets: Vec<Ticket>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Metered {
    buckets: Buckets,
    /// For the log.
    client: Option<IpAddr>,
}

impl Meter {
    pub(super) fn new(rates: Rates) -> Self {
        Self { rates, is_on: rates.are_on(), ..Self::default() }
    }

    /// Changes the rates. The buckets of open connections go on if there were rates before.
    pub(super) fn set(&mut self, rates: Rates) {
        if !self.is_on || !rates.are_on() {
            self.metered = Vec::new();
        }
        (self.rates, self.is_on) = (rates, rates.are_on());
    }

    /// Whether connections have rates.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// A connection with full buckets has this slot from now on.
    pub(super) fn open(&mut self, slot: Slot, arrival: &Arrival) {
        if self.is_on {
            let client = arrival.client().map(|client| client.ip());
            *self.of(slot) = Metered { client, ..Metered::default() };
        }
    }

    fn of(&mut self, slot: Slot) -> &mut Metered {
        let slot = slot as usize;
        if self.metered.len() <= slot {
            self.metered.resize(slot + 1, Metered::default());
        }
        &mut self.metered[slot]
    }

    /// Takes the ticket of a slot.
    pub(super) fn take_ticket(&mut self, slot: Slot) -> Ticket {
        self.tickets.get_mut(slot as usize).map_or(Ticket::NONE, std::mem::take)
    }
}

impl Hub {
    /// Admits a new connection of an address, before anything else is kept for it. Pass the ticket to [`Hub::hold`]. A
    /// trusted proxy's own address has no limit: its clients have.
    ///
    /// # Errors
    /// The address has too many connections, or connects too often.
    pub(crate) fn admit_address(&mut self, arrival: &Arrival) -> Result<Ticket, TooMany> {
        let is_limited = self.limits.of_address.are_on() && arrival.role == Role::Public && !arrival.is_proxy;
        let Some(peer) = arrival.peer.filter(|_| is_limited) else { return Ok(Ticket::NONE) };
        self.enter(peer.ip())
    }

    fn enter(&mut self, address: IpAddr) -> Result<Ticket, TooMany> {
        self.enter_within(address, self.limits.of_address)
    }

    fn enter_within(&mut self, address: IpAddr, limits: AddressLimits) -> Result<Ticket, TooMany> {
        let entered = self.limits.addresses.enter(address, limits);
        match entered {
            Ok(ticket) => self.stats.addresses_untracked += u64::from(ticket == Ticket::NONE),
            Err(TooMany::Connects(_)) => self.stats.connects_refused += 1,
            Err(TooMany::Connections) => self.stats.addresses_full += 1,
        }
        if entered.is_err() {
            static LIMIT: LogLimit = LogLimit::new();
            log_refusal(&LIMIT, Some(address), "has too many connections, or connects too often");
        }
        entered
    }

    /// Keeps the ticket of a connection until it ends.
    pub(crate) fn hold(&mut self, slot: Slot, ticket: Ticket) {
        if ticket == Ticket::NONE {
            return;
        }
        let tickets = &mut self.meter.tickets;
        if tickets.len() <= slot as usize {
            tickets.resize(slot as usize + 1, Ticket::NONE);
        }
        tickets[slot as usize] = ticket;
    }

    /// Admits the WebSocket of a client that a trusted proxy has named, as [`Hub::admit_address`] admits others.
    ///
    /// # Errors
    /// The 429.
    pub(super) fn admit_forwarded(&mut self, slot: Slot, arrival: &Arrival) -> Result<(), Faulty> {
        let is_limited = self.limits.of_address.are_on() && arrival.is_proxy;
        if let Some(client) = arrival.forwarded.filter(|_| is_limited) {
            let ticket = self.enter(client.ip()).map_err(|_| TOO_MANY)?;
            self.hold(slot, ticket);
        }
        if self.meter.is_on {
            self.meter.of(slot).client = arrival.client().map(|client| client.ip());
        }
        Ok(())
    }

    /// Whether a post is over a rate: then the seconds until the next one. Behind a trusted proxy it counts as a connection
    /// of its client, because the proxy's connection carries the posts of many.
    pub(super) fn refuse_post(
        &mut self,
        slot: Slot,
        arrival: &Arrival,
        expected: &Expected,
        bytes: usize,
    ) -> Option<u32> {
        if !expected.is_limited {
            return None;
        }
        if arrival.is_proxy {
            let client = arrival.forwarded.filter(|_| self.limits.of_address.are_on())?;
            // A post opens no connection, so it counts for the rate alone.
            return match self.enter_within(client.ip(), self.limits.of_address.rate_alone()) {
                Ok(ticket) => {
                    self.limits.addresses.release(ticket);
                    None
                }
                Err(TooMany::Connects(wait)) => Some(wait.seconds()),
                Err(TooMany::Connections) => None,
            };
        }
        if !self.meter.is_on {
            return None;
        }
        let (now, rates) = (self.meter_now(), self.meter.rates);
        let wait = rates.admit(&mut self.meter.of(slot).buckets, now, bytes as u64).err()?;
        self.stats.rate_limited += 1;
        self.log_rate(slot);
        Some(wait.seconds())
    }

    /// Whether a connection has sent ten times as much as it may.
    pub(super) fn is_flood(&mut self, slot: Slot) -> bool {
        let now = self.meter_now();
        self.meter.is_on && Rates::is_flood(&self.meter.of(slot).buckets, now)
    }

    /// Handles a complete message of a connection that has rates.
    #[inline(never)]
    pub(super) fn message_metered(&mut self, app: &mut dyn Application, slot: Slot, is_text: bool, payload: &[u8]) {
        let (now, rates) = (self.meter_now(), self.meter.rates);
        match rates.admit(&mut self.meter.of(slot).buckets, now, payload.len() as u64) {
            Ok(()) => self.message_admitted(app, slot, is_text, payload),
            Err(wait) => {
                self.log_rate(slot);
                let ack = if is_lhttp(payload) { find_ack(payload, self.limits.head) } else { None };
                self.refuse(slot, &too_fast("messages", wait), ack);
                self.message_done(Some(slot));
            }
        }
        self.close_flood(app, slot);
    }

    /// Takes a run of messages as [`Hub::take_repeated`] does, as far as the rates allow. The next message, which may be
    /// over a rate, is left to [`Hub::message_metered`].
    #[inline(never)]
    pub(super) fn take_repeated_metered(&mut self, slot: Slot, bytes: &[u8]) -> Result<usize, Fault> {
        let (now, rates) = (self.meter_now(), self.meter.rates);
        let (messages, run_bytes) = rates.run(&self.meter.of(slot).buckets, now);
        // No frame of the run is shorter, so these bytes hold no more messages than are left.
        let within = messages.saturating_mul(self.router.repeated_bytes_min()).min(run_bytes);
        let end = usize::try_from(within).map_or(bytes.len(), |within| within.min(bytes.len()));
        let before = self.stats.received;
        let used = self.take_run(slot, &bytes[..end])?;
        let messages = self.stats.received - before;
        // The headers of frames do not count, as in the other path.
        let payload_bytes = used as u64 - messages * (frame::CLIENT_HEADER_BYTES_MIN as u64);
        rates.take_run(&mut self.meter.of(slot).buckets, now, messages, payload_bytes);
        Ok(used)
    }

    /// Admits a message that subscribes to so many names.
    ///
    /// # Errors
    /// `rate-limited`.
    pub(crate) fn admit_subscribes(&mut self, slot: Slot, names: usize) -> Result<(), Refusal> {
        let (now, rates) = (self.meter_now(), self.meter.rates);
        let admitted = rates.admit_subscribes(&mut self.meter.of(slot).buckets, now, names as u64);
        admitted.map_err(|wait| {
            self.log_rate(slot);
            too_fast("subscriptions", wait)
        })
    }

    /// Whether connections have rates, which [`Hub::admit_subscribes`] checks.
    pub(crate) fn has_rates(&self) -> bool {
        self.meter.is_on
    }

    /// Counts a control frame.
    pub(super) fn count_control(&mut self, app: &mut dyn Application, slot: Slot, bytes: usize) {
        let (now, rates) = (self.meter_now(), self.meter.rates);
        rates.count_flood(&mut self.meter.of(slot).buckets, now, 1, bytes as u64);
        self.close_flood(app, slot);
    }

    /// Closes a connection that sends ten times as much as it may.
    fn close_flood(&mut self, app: &mut dyn Application, slot: Slot) {
        if self.is_flood(slot) && self.sessions.is_open(slot) {
            static LIMIT: LogLimit = LogLimit::new();
            log_refusal(&LIMIT, self.meter.of(slot).client, "is closed, for it sends ten times as much as it may");
            self.fail(app, slot, Fault::RATE_LIMITED);
        }
    }

    fn meter_now(&self) -> u64 {
        self.sessions.now() * MILLI
    }

    fn log_rate(&mut self, slot: Slot) {
        static LIMIT: LogLimit = LogLimit::new();
        log_refusal(&LIMIT, self.meter.of(slot).client, "sends more than its rate allows");
    }
}

fn too_fast(what: &str, wait: Wait) -> Refusal {
    let sentence = format!("more {what} in a second than this server accepts");
    Refusal::because(Reason::RateLimited, sentence).with_retry_after(wait.seconds())
}

fn log_refusal(limit: &LogLimit, client: Option<IpAddr>, does: &str) {
    if log::log_enabled!(log::Level::Debug) {
        let client = client.map_or_else(|| "unix:".to_owned(), |client| client.to_canonical().to_string());
        limit.say(|more| log::debug!("{client} {does}{more}"));
    }
}
