//! Fixed pages: a listener of pages serves these and nothing else, neither WebSocket nor `/publish`.

use crate::{
    engine::application::Answer,
    protocol::http::{Pages, RequestHead},
};

/// The answer to any request. RFC 9110 §7.8 allows to ignore that it asks for an upgrade.
pub(super) fn answer<'a>(pages: &'a Pages, head: &RequestHead<'_, '_>) -> Answer<'a> {
    match pages.at(head.path) {
        None => Answer::text(404, "there is no such page here\n"),
        Some(_) if head.has_body() || !matches!(head.method, "GET" | "HEAD") => {
            Answer::text(405, "pages are only read, with GET\n").headers(&[("Allow", "GET, HEAD")])
        }
        Some(page) => {
            let (headers, content_type, body) = page.parts();
            Answer { content_type, body, ..Answer::text(200, "").headers(&headers) }
        }
    }
}
