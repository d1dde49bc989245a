//! TLS of the server: certificates, and the configuration that each handshake takes.
//!
//! | file | what |
//! |---|---|
//! | `acceptor` | the configuration of handshakes, and how new files replace it |
//! | `certificates` | from the contents of files to certificates and keys |
//! | `choice` | which certificate a client gets |
//! | `files` | the files that the options name |
//! | `validity` | from when until when a certificate is valid |

mod acceptor;
mod certificates;
mod choice;
mod files;
mod validity;

pub(crate) use self::acceptor::{Acceptor, acceptor};
