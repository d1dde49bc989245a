//! Fixed pages: a listener of pages serves these and nothing else, neither WebSocket nor `/publish`.

use crate::{
    engine::application::Answer,
    protocol::http::{Pages, RequestHead},
};

/// The headers of every page, beside its policy.
const HEADERS: &[(&str, &str)] = &[("Cache-Control", "no-cache"), ("Referrer-Policy", "no-referrer")];

/// The answer to any request. RFC 9110 §7.8 allows to ignore that it asks for an upgrade.
pub(super) fn answer<'a>(pages: &'a Pages, head: &RequestHead<'_, '_>) -> Answer<'a> {
    match pages.at(head.path) {
        None => Answer::text(404, "there is no such page here\n"),
        Some(_) if head.has_body() || !matches!(head.method, "GET" | "HEAD") => {
            Answer::text(405, "pages are only read, with GET\n").headers(&[("Allow", "GET, HEAD")])
        }
        Some(page) => {
            let (policy, content_type, body) = page.parts();
            let last_header = Some(("Content-Security-Policy", policy));
            Answer { last_header, content_type, body, ..Answer::text(200, "").headers(HEADERS) }
        }
    }
}
