//! A socket with or without TLS.

use std::io::{self, Read, Write};

use mio::net::TcpStream;

use crate::tls::{Received, Tls};

/// One connection's bytes in and out.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    tls: Option<Box<Tls>>,
}

impl Wire {
    /// A socket that may still be connecting.
    pub(crate) fn new(stream: TcpStream, tls: Option<Box<Tls>>) -> Self {
        Self { stream, tls }
    }

    /// The socket, to register it.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// The TLS handshake used a ticket.
    pub(crate) fn is_resumed(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_resumed)
    }

    /// Writes a part of `bytes` and returns how many were taken. With TLS they may still wait for the socket: a
    /// writable event must be followed by [`flush`](Self::flush).
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.stream.write(bytes),
            Some(tls) => tls.write(&mut self.stream, bytes),
        }
    }

    /// Writes what TLS still has for the socket. Returns whether that is all.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        self.tls.as_mut().map_or(Ok(true), |tls| tls.flush(&mut self.stream))
    }

    /// Reads once.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        if let Some(tls) = &mut self.tls {
            return tls.read(&mut self.stream, buffer);
        }
        let bytes = self.stream.read(buffer)?;
        Ok(Received { bytes, may_have_more: bytes == buffer.len(), is_closed: bytes == 0 })
    }

    /// The connection is usable: from now on TLS needs only its keys.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        self.tls.as_mut().map_or(Ok(()), |tls| tls.settle())
    }
}
