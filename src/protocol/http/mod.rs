//! HTTP/1.1 as the server speaks it (RFC 9110, RFC 9112; PROTOCOL.md §3): request heads, chunked bodies, responses.
//!
//! A connection serves pipelined requests from one buffer like this:
//! 1. [`parse_head`] until it gives a head and its length; its [`Body`] says what follows.
//! 2. The body: the next `Length(n)` bytes of the buffer as they lie there, or what [`ChunkedBody::decode`] makes of
//!    them. Until it is whole, remember that length or that decoder: do not parse the head again for each read.
//!    A request's body is to be read (or the connection closed) whatever the method, else its bytes would be taken for
//!    the next request.
//! 3. [`write_response`] with the head's [`Persistence`]; then the next head starts right behind the body.
//!
//! Whatever gives an [`HttpFault`](crate::error::HttpFault) leaves the end of that request unknown: answer it with
//! [`write_fault`] and close. To guess where the next request starts is how requests are smuggled.

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
    head::{Body, HeaderSlots, Persistence, RequestHead, bearer_token, parse_head},
    page::Pages,
    progress::HeadProgress,
    response::{CONTINUE, TEXT, write_fault, write_response, write_response_head},
};
