//! HTTP/1.1 as the server speaks it (RFC 9110, RFC 9112; PROTOCOL.md §3): request heads, chunked bodies, responses.
//!
//! A connection serves pipelined requests from one buffer like this:
//! 1. Call [`parse_head`] until it returns a head and its length. The head's [`Body`] says what follows.
//! 2. Read the body: either the next `Length(n)` bytes of the buffer, or the output of [`ChunkedBody::decode`]. Until
//!    the body is complete, keep that length or that decoder: do not parse the head again for each read. Read the body
//!    of every method (or close the connection); otherwise its bytes would count as the next request.
//! 3. Call [`write_response`] with the head's [`Persistence`]. The next head starts right behind the body.
//!
//! After an [`HttpFault`](crate::error::HttpFault) the end of that request is unknown: answer with [`write_fault`] and
//! close. A server that guesses where the next request starts lets requests be smuggled.

mod chunked;
mod fields;
mod head;
mod page;
mod progress;
mod response;

pub use self::page::Page;

pub(crate) use self::{
    chunked::ChunkedBody,
    fields::{list_contains, members},
    head::{Body, HeaderSlots, Persistence, RequestHead, bearer_token, cookie, parse_head},
    page::Pages,
    progress::HeadProgress,
    response::{CONTINUE, TEXT, write_fault, write_response, write_response_head},
};
