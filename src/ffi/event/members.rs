//! Users who are in a channel, as C reads them.

use std::{
    ffi::{CString, c_char},
    ptr,
};

use super::{EVENTS, LhttpEvent, pointer};
use crate::{
    client::{Member, Presence},
    ffi::{
        output,
        status::{Failure, LhttpStatus, guard_or},
    },
};

/// The users of an event: who is there or has come, and who has left.
#[derive(Default)]
pub(super) struct Members {
    listed: Vec<Listed>,
    left: Vec<CString>,
    users: u64,
    more: u64,
}

struct Listed {
    user: CString,
    info: Option<CString>,
    info_text: Option<CString>,
    connections: u32,
    since: u64,
}

impl Members {
    pub(super) fn list(list: Presence) -> Self {
        let (users, more) = (list.users(), list.more);
        Self::change(list.members, Vec::new(), users, more)
    }

    pub(super) fn change(joined: Vec<Member>, left: Vec<String>, users: u64, more: u64) -> Self {
        let listed = joined.into_iter().map(Listed::from).collect();
        Self { listed, left: left.into_iter().map(output::text).collect(), users, more }
    }

    fn find(&self, index: usize) -> Result<&Listed, Failure> {
        self.listed.get(index).ok_or_else(none)
    }
}

impl From<Member> for Listed {
    fn from(member: Member) -> Self {
        Self {
            info_text: member.info_text().map(output::text),
            user: output::text(member.user),
            info: member.info.map(output::text),
            connections: member.connections,
            since: member.since,
        }
    }
}

fn none() -> Failure {
    Failure::new(LhttpStatus::ERROR_NOT_FOUND, "there are not so many users")
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_event_member_count(event: *const LhttpEvent) -> usize {
    guard_or(0, || Ok(EVENTS.find(event)?.members.listed.len()))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_event_member_user(event: *const LhttpEvent, index: usize) -> *const c_char {
    guard_or(ptr::null(), || Ok(EVENTS.find(event)?.members.find(index)?.user.as_ptr()))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_event_member_connections(event: *const LhttpEvent, index: usize) -> u32 {
    guard_or(0, || Ok(EVENTS.find(event)?.members.find(index)?.connections))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_event_member_since(event: *const LhttpEvent, index: usize) -> u64 {
    guard_or(0, || Ok(EVENTS.find(event)?.members.find(index)?.since))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_event_member_info(event: *const LhttpEvent, index: usize) -> *const c_char {
    guard_or(ptr::null(), || Ok(pointer(EVENTS.find(event)?.members.find(index)?.info.as_deref())))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_event_member_info_text(event: *const LhttpEvent, index: usize) -> *const c_char {
    guard_or(ptr::null(), || Ok(pointer(EVENTS.find(event)?.members.find(index)?.info_text.as_deref())))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_event_more(event: *const LhttpEvent) -> u64 {
    guard_or(0, || Ok(EVENTS.find(event)?.members.more))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_event_users(event: *const LhttpEvent) -> u64 {
    guard_or(0, || Ok(EVENTS.find(event)?.members.users))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_event_left_count(event: *const LhttpEvent) -> usize {
    guard_or(0, || Ok(EVENTS.find(event)?.members.left.len()))
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_event_left_user(event: *const LhttpEvent, index: usize) -> *const c_char {
    guard_or(ptr::null(), || Ok(EVENTS.find(event)?.members.left.get(index).ok_or_else(none)?.as_ptr()))
}
