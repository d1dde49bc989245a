//! Clients: the blocking client of the library, for several threads.

mod config;
mod turns;

use std::{
    cell::RefCell,
    ffi::{CString, c_char, c_void},
    time::{Duration, Instant},
};

use self::{
    config::LhttpClientConfig,
    turns::{Turn, Turns},
};
use crate::{
    client::{Ack, Client, ClientError, Event, Start},
    ffi::{
        callback,
        event::{self, LhttpEvent},
        handles::{Handles, Kind},
        input::{self, LhttpHeader},
        output, sized,
        status::{Failure, LhttpStatus, guard, guard_anywhere, guard_status},
    },
};

/// `lhttp_client`, never made.
pub(super) enum LhttpClient {}

static CLIENTS: Handles<LhttpClient, Turns> = Handles::new(Kind::Client);

thread_local! {
    /// The ids of the message that this thread has published last.
    static MESSAGE_ID: RefCell<CString> = RefCell::default();
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_client_connect(
    url: *const c_char,
    config: *const LhttpClientConfig,
    client: *mut *mut LhttpClient,
) -> LhttpStatus {
    guard(|| {
        callback::check_outside("lhttp_client_connect")?;
        input::check_out("client", client)?;
        // SAFETY: the caller gives what lhttp.h says.
        unsafe {
            let url = input::text("url", url)?;
            let builder = if config.is_null() { Client::builder(url) } else { sized::read(config)?.builder(url)? };
            input::put("client", client, CLIENTS.add(Turns::new(builder.connect()?)))
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_client_subscribe(client: *mut LhttpClient, channels: *const c_char) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let channels = unsafe { input::text("channels", channels) }?;
        call("lhttp_client_subscribe", client, |client| client.subscribe(channels))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_client_subscribe_from(
    client: *mut LhttpClient,
    channels: *const c_char,
    since: *const c_char,
    last: u32,
) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let (channels, since) = unsafe { (input::text("channels", channels)?, input::optional_text("since", since)?) };
        call("lhttp_client_subscribe_from", client, |client| client.subscribe_from(channels, start(since, last)))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_client_subscribe_with_info(
    client: *mut LhttpClient,
    channels: *const c_char,
    info: *const c_char,
    since: *const c_char,
    last: u32,
) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let (channels, info, since) = unsafe {
            let info = input::optional_text("info", info)?;
            (input::text("channels", channels)?, info, input::optional_text("since", since)?)
        };
        call("lhttp_client_subscribe_with_info", client, |client| match info {
            Some(info) => client.subscribe_with_info(channels, info, start(since, last)),
            None => client.subscribe_from(channels, start(since, last)),
        })
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_client_presence(
    client: *mut LhttpClient,
    channel: *const c_char,
    event: *mut *mut LhttpEvent,
) -> LhttpStatus {
    guard(|| {
        input::check_out("event", event)?;
        // SAFETY: the caller gives what lhttp.h says.
        let channel = unsafe { input::text("channel", channel) }?;
        let presence = call("lhttp_client_presence", client, |client| client.presence(channel))?;
        // SAFETY: the caller gives what lhttp.h says.
        unsafe { input::put("event", event, event::add_presence(channel, presence)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_client_unsubscribe(client: *mut LhttpClient, channels: *const c_char) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let channels = unsafe { input::text("channels", channels) }?;
        call("lhttp_client_unsubscribe", client, |client| client.unsubscribe(channels))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_client_publish(
    client: *mut LhttpClient,
    channels: *const c_char,
    command: *const c_char,
    headers: *const LhttpHeader,
    body: *const c_void,
    len: usize,
) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let (channels, message) =
            unsafe { (input::text("channels", channels)?, input::message(command, headers, body, len)?) };
        keep_message_id(&Ack::default());
        call("lhttp_client_publish", client, |client| {
            client.publish(channels, message).map(|ack| keep_message_id(&ack))
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_last_message_id() -> *const c_char {
    guard_anywhere(c"".as_ptr(), || Ok(MESSAGE_ID.try_with(|id| id.borrow().as_ptr()).unwrap_or(c"".as_ptr())))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_client_send(
    client: *mut LhttpClient,
    command: *const c_char,
    headers: *const LhttpHeader,
    body: *const c_void,
    len: usize,
) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let message = unsafe { input::message(command, headers, body, len) }?;
        call("lhttp_client_send", client, |client| client.send(&message))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_client_set_token(client: *mut LhttpClient, token: *const c_char) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        let token = unsafe { input::text("token", token) }?;
        call("lhttp_client_set_token", client, |client| client.set_token(token))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_client_poll(
    client: *mut LhttpClient,
    timeout_ms: u32,
    event: *mut *mut LhttpEvent,
) -> LhttpStatus {
    guard_status(|| {
        callback::check_outside("lhttp_client_poll")?;
        input::check_out("event", event)?;
        let Some(happened) = poll(&*CLIENTS.find(client)?, timeout_ms)? else { return Ok(LhttpStatus::NOTHING) };
        // SAFETY: the caller gives what lhttp.h says.
        unsafe { input::put("event", event, event::add(happened)) }.map(|()| LhttpStatus::OK)
    })
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_client_close(client: *mut LhttpClient) -> LhttpStatus {
    guard(|| {
        callback::check_outside("lhttp_client_close")?;
        let closed = CLIENTS.remove(client)?.for_call().client.take();
        Ok(closed.map_or(Ok(()), Client::close)?)
    })
}

/// Where a subscription begins: C has NULL and 0 for nothing.
fn start(since: Option<&str>, last: u32) -> Start<'_> {
    // A number that is too large stays so: the client refuses it.
    let last = u16::try_from(last).unwrap_or(u16::MAX);
    match (since, last) {
        (None, 0) => Start::default(),
        (None, last) => Start::last(last),
        (Some(since), 0) => Start::since(since),
        (Some(since), last) => Start::since(since).or_last(last),
    }
}

/// Uses the client after all earlier calls and polls have ended.
fn call<T>(
    function: &str,
    client: *mut LhttpClient,
    use_it: impl FnOnce(&mut Client) -> Result<T, ClientError>,
) -> Result<T, Failure> {
    callback::check_outside(function)?;
    let turns = CLIENTS.find(client)?;
    let mut turn = turns.for_call();
    Ok(use_it(open(&mut turn)?)?)
}

/// Keeps the ids of a published message for this thread.
fn keep_message_id(ack: &Ack) {
    let ids: Vec<_> = ack.message_ids().map(|id| id.unwrap_or("-")).collect();
    // A thread that is ending cannot keep them any more.
    let _ = MESSAGE_ID.try_with(|kept| kept.replace(output::text(ids.join(" "))));
}

/// Polls, and interrupts the poll for calls of other threads.
fn poll(turns: &Turns, timeout_ms: u32) -> Result<Option<Event>, Failure> {
    let timeout = config::time(timeout_ms);
    let start = Instant::now();
    loop {
        let remaining = timeout.saturating_sub(start.elapsed());
        let Some(mut turn) = turns.for_poll(remaining) else { return Ok(None) };
        let others_wait = turn.others_wait;
        let wait = if others_wait { Duration::ZERO } else { timeout.saturating_sub(start.elapsed()) };
        if let Some(event) = open(&mut turn)?.poll(wait)? {
            return Ok(Some(event));
        }
        // Ask before the turn ends, because the next poll clears it when it begins. Otherwise the time is over, or a
        // signal has come.
        let was_interrupted = turns.was_interrupted();
        drop(turn);
        if !(was_interrupted || others_wait) || start.elapsed() >= timeout {
            return Ok(None);
        }
    }
}

/// The client, unless a thread has closed it while this one waited.
fn open<'t>(turn: &'t mut Turn<'_>) -> Result<&'t mut Client, Failure> {
    let closed = || Failure::new(LhttpStatus::ERROR_CLOSED, "this client was closed during the call");
    turn.client.as_mut().ok_or_else(closed)
}
