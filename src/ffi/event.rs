//! Events that a client has polled, as C reads them. An event keeps everything until its release, so that C's pointers
//! stay valid.

mod members;

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    ptr, str,
};

use self::members::Members;
use crate::{
    client::{Event, Payload, Presence, State},
    error::Refusal,
    ffi::{
        handles::{Handles, Kind},
        input, output,
        status::{Failure, LhttpStatus, guard, guard_or},
    },
    protocol::message::Message,
};

/// `lhttp_event`, never made.
pub(super) enum LhttpEvent {}

// `LHTTP_EVENT_...`
const EVENT_NONE: c_int = 0;
const EVENT_MESSAGE: c_int = 1;
const EVENT_RAW: c_int = 2;
const EVENT_REFUSED: c_int = 3;
const EVENT_SUBSCRIPTION_LOST: c_int = 4;
const EVENT_OPEN: c_int = 5;
const EVENT_WAITING: c_int = 6;
const EVENT_CLOSED: c_int = 7;
const EVENT_TOKEN_ENDING: c_int = 8;
const EVENT_MESSAGES_LOST: c_int = 9;
const EVENT_PRESENCE: c_int = 10;
const EVENT_PRESENCE_CHANGE: c_int = 11;

static EVENTS: Handles<LhttpEvent, Kept> = Handles::new(Kind::Event);

/// Keeps an event for C.
pub(super) fn add(event: Event) -> *mut LhttpEvent {
    EVENTS.add(Kept::new(event))
}

/// Keeps the answer to a question for who is in this channel.
pub(super) fn add_presence(channel: &str, presence: Presence) -> *mut LhttpEvent {
    let members = Members::list(presence);
    EVENTS.add(Kept { channel: Some(output::text(channel)), members, ..Kept::of(EVENT_PRESENCE) })
}

/// Headers in their order.
#[derive(Default)]
struct Headers(Vec<(CString, CString)>);

impl Headers {
    fn new<'h>(headers: impl Iterator<Item = (&'h str, &'h str)>) -> Self {
        Self(headers.map(|(name, value)| (output::text(name), output::text(value))).collect())
    }

    /// The first value of this name, in any case.
    fn find(&self, name: &str) -> Option<&CStr> {
        let found = self.0.iter().find(|header| header.0.as_bytes().eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| value.as_c_str())
    }

    unsafe fn put(&self, index: usize, name: *mut *const c_char, value: *mut *const c_char) -> Result<(), Failure> {
        let none = || Failure::new(LhttpStatus::ERROR_NOT_FOUND, "there are not so many headers");
        let header = self.0.get(index).ok_or_else(none)?;
        input::check_out("value", value)?;
        // SAFETY: as for this function.
        unsafe {
            input::put("name", name, header.0.as_ptr())?;
            input::put("value", value, header.1.as_ptr())
        }
    }
}

/// The event itself.
enum Content {
    None,
    Message(Message),
    Raw(Payload),
}

struct Part {
    headers: Headers,
    body: Vec<u8>,
}

/// An event, with its texts as NUL-terminated copies.
struct Kept {
    kind: c_int,
    content: Content,
    command: CString,
    headers: Headers,
    parts: Vec<Part>,
    channel: Option<CString>,
    code: u16,
    reason: Option<CString>,
    sentence: Option<CString>,
    retry_in_ms: u32,
    members: Members,
}

impl Kept {
    fn new(event: Event) -> Self {
        match event {
            Event::Message(message) => Self::of_message(message),
            Event::Raw(payload) => Self { content: Content::Raw(payload), ..Self::of(EVENT_RAW) },
            // A client of C has no function that gives tokens.
            Event::Refused(refusal) | Event::TokenNotRenewed(refusal) => Self::of_refusal(EVENT_REFUSED, &refusal),
            Event::TokenEnding => Self::of(EVENT_TOKEN_ENDING),
            Event::SubscriptionLost { channel, refusal } => {
                let channel = Some(output::text(channel));
                Self { channel, ..Self::of_refusal(EVENT_SUBSCRIPTION_LOST, &refusal) }
            }
            Event::MessagesLost { channel } => {
                Self { channel: Some(output::text(channel)), ..Self::of(EVENT_MESSAGES_LOST) }
            }
            Event::PresenceChange { channel, joined, left, users, more } => {
                let members = Members::change(joined, left, users, more);
                Self { channel: Some(output::text(channel)), members, ..Self::of(EVENT_PRESENCE_CHANGE) }
            }
            Event::State(State::Open) => Self::of(EVENT_OPEN),
            Event::State(State::Waiting { retry_in, why, refusal }) => Self {
                sentence: Some(output::text(why)),
                retry_in_ms: u32::try_from(retry_in.as_millis()).unwrap_or(u32::MAX),
                ..refusal.map_or_else(|| Self::of(EVENT_WAITING), |refusal| Self::of_refusal(EVENT_WAITING, &refusal))
            },
            Event::State(State::Closed { why }) => Self { sentence: Some(output::text(why)), ..Self::of(EVENT_CLOSED) },
        }
    }

    fn of(kind: c_int) -> Self {
        Self {
            kind,
            content: Content::None,
            command: CString::default(),
            headers: Headers::default(),
            parts: Vec::new(),
            channel: None,
            code: 0,
            reason: None,
            sentence: None,
            retry_in_ms: 0,
            members: Members::default(),
        }
    }

    fn of_message(message: Message) -> Self {
        let channels: Vec<_> = message.channels().collect();
        let parts = message.parts().map_while(Result::ok);
        let parts = parts.map(|part| Part { headers: Headers::new(part.headers()), body: part.body().to_vec() });
        Self {
            command: output::text(message.command()),
            headers: Headers::new(message.headers()),
            parts: parts.collect(),
            channel: (!channels.is_empty()).then(|| output::text(channels.join(" "))),
            content: Content::Message(message),
            ..Self::of(EVENT_MESSAGE)
        }
    }

    fn of_refusal(kind: c_int, refusal: &Refusal) -> Self {
        Self {
            code: refusal.code(),
            reason: Some(output::text(refusal.reason())),
            sentence: Some(output::text(refusal.sentence())),
            ..Self::of(kind)
        }
    }

    fn body(&self) -> &[u8] {
        match &self.content {
            Content::None => &[],
            Content::Message(message) => message.body_bytes(),
            Content::Raw(payload) => payload.as_bytes(),
        }
    }

    fn part(&self, number: usize) -> Result<&Part, Failure> {
        let none = || Failure::new(LhttpStatus::ERROR_NOT_FOUND, format!("there is no part {number}"));
        self.parts.get(number).ok_or_else(none)
    }
}

/// NULL if there is none.
fn pointer(text: Option<&CStr>) -> *const c_char {
    text.map_or(ptr::null(), CStr::as_ptr)
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_event_kind(event: *const LhttpEvent) -> c_int {
    guard_or(EVENT_NONE, || Ok(EVENTS.find(event)?.kind))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_event_command(event: *const LhttpEvent) -> *const c_char {
    guard_or(ptr::null(), || Ok(EVENTS.find(event)?.command.as_ptr()))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_event_channel(event: *const LhttpEvent) -> *const c_char {
    guard_or(ptr::null(), || Ok(pointer(EVENTS.find(event)?.channel.as_deref())))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_event_header(event: *const LhttpEvent, name: *const c_char) -> *const c_char {
    guard_or(ptr::null(), || {
        // SAFETY: the caller gives what lhttp.h says.
        let name = unsafe { input::text("name", name) }?;
        Ok(pointer(EVENTS.find(event)?.headers.find(name)))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_event_header_at(
    event: *const LhttpEvent,
    index: usize,
    name: *mut *const c_char,
    value: *mut *const c_char,
) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        unsafe { EVENTS.find(event)?.headers.put(index, name, value) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_event_body(event: *const LhttpEvent, len: *mut usize) -> *const c_void {
    guard_or(ptr::null(), || {
        let event = EVENTS.find(event)?;
        // SAFETY: the caller gives what lhttp.h says.
        unsafe { input::put("len", len, event.body().len()) }?;
        Ok(event.body().as_ptr().cast())
    })
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_event_is_text(event: *const LhttpEvent) -> c_int {
    guard_or(0, || Ok(str::from_utf8(EVENTS.find(event)?.body()).is_ok().into()))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_event_part_count(event: *const LhttpEvent) -> usize {
    guard_or(0, || Ok(EVENTS.find(event)?.parts.len()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_event_part_header(
    event: *const LhttpEvent,
    number: usize,
    name: *const c_char,
) -> *const c_char {
    guard_or(ptr::null(), || {
        // SAFETY: the caller gives what lhttp.h says.
        let name = unsafe { input::text("name", name) }?;
        Ok(pointer(EVENTS.find(event)?.part(number)?.headers.find(name)))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_event_part_header_at(
    event: *const LhttpEvent,
    number: usize,
    index: usize,
    name: *mut *const c_char,
    value: *mut *const c_char,
) -> LhttpStatus {
    guard(|| {
        // SAFETY: the caller gives what lhttp.h says.
        unsafe { EVENTS.find(event)?.part(number)?.headers.put(index, name, value) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lhttp_event_part_body(event: *const LhttpEvent, number: usize, len: *mut usize) -> *const c_void {
    guard_or(ptr::null(), || {
        let event = EVENTS.find(event)?;
        let body = &event.part(number)?.body;
        // SAFETY: the caller gives what lhttp.h says.
        unsafe { input::put("len", len, body.len()) }?;
        Ok(body.as_ptr().cast())
    })
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_event_code(event: *const LhttpEvent) -> u16 {
    guard_or(0, || Ok(EVENTS.find(event)?.code))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_event_reason(event: *const LhttpEvent) -> *const c_char {
    guard_or(ptr::null(), || Ok(pointer(EVENTS.find(event)?.reason.as_deref())))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_event_sentence(event: *const LhttpEvent) -> *const c_char {
    guard_or(ptr::null(), || Ok(pointer(EVENTS.find(event)?.sentence.as_deref())))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_event_retry_in_ms(event: *const LhttpEvent) -> u32 {
    guard_or(0, || Ok(EVENTS.find(event)?.retry_in_ms))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_event_release(event: *mut LhttpEvent) -> LhttpStatus {
    guard(|| EVENTS.remove(event).map(drop))
}
