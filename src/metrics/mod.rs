//! The metrics of a server: all of its numbers as OpenMetrics text, for Prometheus and programs that read the same format.
//!
//! | file | what |
//! |---|---|
//! | `families` | every metric: its name, type and meaning |
//! | `source` | the values, gathered from the cores and services each time |
//! | `plain` | the older format |
//! | `page` | docs/METRICS.md, generated in a test |

mod families;
#[cfg(test)]
mod page;
mod plain;
mod source;

use std::{fmt, sync::Arc};

use prometheus_client::{encoding::text::encode, registry::Registry};

use crate::{config::Config, service::Numbers};

use self::source::Source;

/// Room for the text, in bytes. It grows with the number of cores.
const TEXT_BYTES: usize = 24 * 1024;

/// The metrics of a server, from [`Handle::metrics`](crate::Handle::metrics). Clones are the same metrics. They work from
/// any thread, also after the server has ended: then the numbers are its last ones.
///
/// docs/METRICS.md lists all of them.
///
/// ```
/// use lhttp::{Metrics, Server};
///
/// let server = Server::builder().cores(1).listen("127.0.0.1:0".parse()?).start()?;
/// let text = server.metrics().text();
/// assert!(text.contains("lhttp_connections_accepted_total 0") && text.ends_with("# EOF\n"));
/// assert!(Metrics::CONTENT_TYPE.starts_with("application/openmetrics-text"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Metrics(Arc<Registry>);

impl Metrics {
    /// The content type of [`Metrics::text`].
    pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// The content type of [`Metrics::plain_text`].
    pub const PLAIN_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// The metrics of a server with these options.
    pub(crate) fn new(numbers: Arc<Numbers>, config: &Config) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Source::new(numbers, config)));
        Self(Arc::new(registry))
    }

    /// The metrics as of now, in the text format of OpenMetrics 1.0. A core's numbers are as of its last turn.
    ///
    /// It reads the numbers that the cores have put down, and a few files of `/proc`: it waits for no core, and takes less
    /// than a millisecond.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(TEXT_BYTES);
        // A `String` takes everything, so there is no error.
        let _ = encode(&mut text, &self.0);
        text
    }

    /// The same in the older text format of Prometheus, version 0.0.4.
    pub fn plain_text(&self) -> String {
        plain::plain(&self.text())
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
