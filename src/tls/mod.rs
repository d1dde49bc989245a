//! TLS of the server, without sockets. rustls makes the handshake. Then a record layer of ours takes over, because it keeps
//! 168 bytes of a connection (AES-128 of TLS 1.3; 232 at most) where rustls' keeps 7.5 KB, and because it can seal a
//! record that the socket took in part again from plaintext that many connections share.
//!
//! | file | what |
//! |---|---|
//! | `acceptor` | the configuration of handshakes, and how new files replace it |
//! | `certificates` | from the contents of files to certificates and keys |
//! | `choice` | which certificate a client gets |
//! | `files` | the files that the options name |
//! | `validity` | from when until when a certificate is valid |
//! | `handshake` | one connection that is being set up: the only file that names rustls' connections |
//! | `record` | an established connection: `record/opening` reads, `record/sealing` writes |
//! | `keys` | what it keeps: raw keys, secrets, record numbers |
//! | `aead` | how each suite seals and opens a record, by ring |
//! | `failure` | why a connection ends |
//! | `mirror` | the other end, for tests, fuzzing and benches |

#![allow(dead_code, reason = "the record layer is being completed")]

mod acceptor;
mod aead;
mod certificates;
mod choice;
pub(crate) mod failure;
mod files;
pub(crate) mod handshake;
mod keys;
#[cfg(any(test, feature = "bench", feature = "fuzz"))]
pub(crate) mod mirror;
pub(crate) mod record;
#[cfg(test)]
mod tests;
mod validity;

pub(crate) use self::{
    acceptor::{Acceptor, acceptor},
    failure::Failure,
    handshake::Handshake,
    record::{RECORD_BYTES_MAX, Records},
};
