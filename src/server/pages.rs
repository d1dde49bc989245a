//! Pages of a server, on addresses of their own.

use std::net::SocketAddr;

use crate::{
    error::StartError,
    protocol::http::{Page, Pages},
    server::Builder,
};

type MakePage = dyn FnOnce(&[SocketAddr]) -> Page + Send + Sync;

/// The pages of a server, and their addresses.
#[derive(Default)]
pub(super) struct PagesPlan {
    pub(super) addresses: Vec<SocketAddr>,
    ready: Vec<Page>,
    /// Made when the server listens.
    made: Vec<Box<MakePage>>,
}

impl PagesPlan {
    /// # Errors
    /// [`StartError::Config`]: pages without an address, or one without pages, or a page that no request can ask for.
    pub(super) fn check(&self) -> Result<(), StartError> {
        let has_pages = !self.ready.is_empty() || !self.made.is_empty();
        match (self.addresses.is_empty(), has_pages) {
            (true, true) => Err(StartError::Config("page: there is no address to serve pages on".to_owned())),
            (false, false) => Err(StartError::Config("page: there is an address for pages, and no page".to_owned())),
            _ => Pages::new(self.ready.clone()).map(drop).map_err(StartError::Config),
        }
    }

    /// All pages of a server whose clients find it on these addresses.
    ///
    /// # Errors
    /// [`StartError::Config`] for a page that no request can ask for.
    pub(super) fn make(self, addresses: &[SocketAddr]) -> Result<Pages, StartError> {
        let made = self.made.into_iter().map(|make| make(addresses));
        Pages::new(self.ready.into_iter().chain(made).collect()).map_err(StartError::Config)
    }
}

impl Builder {
    /// Also listens on this address, for browsers that load the server's pages. It serves **nothing but pages**: neither
    /// WebSocket nor `/publish` nor `/healthz`; no other address serves pages. You may call this more than once; all such
    /// addresses serve the same. Port 0 takes a free port, see [`Handle::pages_addrs`](super::Handle::pages_addrs).
    ///
    /// At most 32 connections are open at once on all these addresses together, and further ones get 503. They do not
    /// count in [`Config::connections_max`](crate::Config::connections_max). Other limits and timeouts are those of HTTP
    /// on the server's other addresses. The server's first core serves them.
    ///
    /// ```
    /// use lhttp::{Page, Server};
    ///
    /// let server = Server::builder()
    ///     .cores(1)
    ///     .listen("127.0.0.1:0".parse()?)
    ///     .pages_on("127.0.0.1:0".parse()?)
    ///     .page(Page::new("/style.css", "text/css", b"body { margin: 0 }".as_slice()))
    ///     .page_with(|addresses| {
    ///         let text = format!("LHTTP is spoken on {}", addresses[0]);
    ///         Page::new("/", "text/plain; charset=utf-8", text.into_bytes())
    ///     })
    ///     .start()?;
    /// println!("see http://{}/", server.pages_addrs()[0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pages_on(mut self, address: SocketAddr) -> Self {
        self.pages.addresses.push(address);
        self
    }

    /// Adds this page on each address of [`Builder::pages_on`].
    pub fn page(mut self, page: Page) -> Self {
        self.pages.ready.push(page);
        self
    }

    /// Adds a page that is made when the server listens: `make` gets the addresses for clients, as
    /// [`Handle::local_addrs`](super::Handle::local_addrs) will give them. It runs once, on the thread that calls
    /// [`Builder::start`].
    pub fn page_with(mut self, make: impl FnOnce(&[SocketAddr]) -> Page + Send + Sync + 'static) -> Self {
        self.pages.made.push(Box::new(make));
        self
    }
}
