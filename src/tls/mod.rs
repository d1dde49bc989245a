//! TLS of the server, without sockets: rustls makes the handshake, and a record layer of ours takes over, which keeps 168
//! bytes a connection instead of 7.5 KB.
//!
//! | file | what |
//! |---|---|
//! | `handshake` | one connection that is being set up: the only file that names rustls' connections |
//! | `record` | the records of an established one, in both directions |
//! | `keys` | what it keeps: raw keys, secrets, record numbers |
//! | `aead` | how each suite seals and opens a record, by ring |
//! | `failure` | why a connection ends |

#![allow(dead_code, reason = "no core speaks TLS yet")]

mod aead;
mod failure;
mod handshake;
mod keys;
mod record;
#[cfg(test)]
mod tests;
