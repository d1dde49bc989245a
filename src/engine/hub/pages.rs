//! A server of pages: its port has fixed documents and nothing else, neither WebSocket nor `/publish`.

use crate::{
    engine::{
        hub::{
            Application, Hub,
            http::{Extra, Faulty, Handled, has_body},
        },
        slot::Slot,
    },
    error::HttpFault,
    protocol::http::{Pages, RequestHead, TEXT},
};

const NO_SUCH_PAGE: HttpFault = HttpFault::new(404, "there is no such page here\n");
const ONLY_READ: HttpFault = HttpFault::new(405, "pages are only read, with GET\n");

impl Hub {
    /// Answers one request. That it asks for an upgrade is ignored, as RFC 9110 §7.8 allows.
    pub(super) fn serve_page(
        &mut self,
        app: &mut dyn Application,
        slot: Slot,
        head: &RequestHead<'_, '_>,
        pages: &Pages,
    ) -> Result<Handled, Faulty> {
        self.stats.requests += 1;
        let (page, is_read) = (pages.at(head.path), matches!(head.method, "GET" | "HEAD"));
        let (fault, allow): (_, Extra) = match page {
            Some(page) if is_read && !has_body(head) => {
                let (extra, content_type, body) = page.parts();
                self.respond(app, slot, head, (200, &extra, content_type, body));
                return Ok(Handled::Answered(0));
            }
            Some(_) => (ONLY_READ, &[("Allow", "GET, HEAD")]),
            None => (NO_SUCH_PAGE, &[]),
        };
        if has_body(head) {
            return Err((fault, allow));
        }
        self.respond(app, slot, head, (fault.status, allow, TEXT, fault.sentence.as_bytes()));
        Ok(Handled::Answered(0))
    }
}
