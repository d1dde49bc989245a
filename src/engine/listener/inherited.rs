//! Sockets that listen already when the server starts.

use std::{io, net::SocketAddr, os::fd::OwnedFd};

use mio::net::{TcpListener, UnixListener};
use socket2::{Socket, Type};

use super::{BACKLOG, Bound, Buffers, ListeningSocket};
use crate::config::Listen;

/// A socket that another process has made, such as systemd, and keeps when this one ends. What connects then waits in
/// its queue.
#[derive(Debug)]
pub(crate) struct Inherited {
    /// The address or path that it listens on.
    pub(crate) at: Listen,
    pub(crate) socket: Socket,
}

impl Inherited {
    /// # Errors
    /// One sentence: it is not a listening stream socket, or has neither an IP address nor a path.
    pub(crate) fn new(descriptor: OwnedFd) -> Result<Self, String> {
        let socket = Socket::from(descriptor);
        if !matches!((socket.r#type(), socket.is_listener()), (Ok(Type::STREAM), Ok(true))) {
            return Err("listen: what was handed over is not a listening stream socket".to_owned());
        }
        // No program that this one starts inherits it. A process that cannot set this has other problems.
        let _ = socket.set_cloexec(true);
        let address = socket.local_addr().map_err(|error| format!("listen: what was handed over: {error}"))?;
        let at = match (address.as_socket(), address.as_pathname()) {
            (Some(address), _) => Listen::Tcp(address),
            (None, Some(path)) => Listen::Unix(path.to_owned()),
            (None, None) => return Err("listen: a socket was handed over that has no path".to_owned()),
        };
        Ok(Self { at, socket })
    }

    /// Whether it listens there.
    pub(crate) fn is_at(&self, place: &Listen) -> bool {
        let tcp = |place: &Listen| place.tcp().map(without_scope);
        self.at == *place || tcp(&self.at).is_some_and(|address| tcp(place) == Some(address))
    }

    /// Lets all cores accept from it. They share it, because a new connection wakes all of them, and the first one takes
    /// it: the kernel spreads connections over sockets of one user only, and this one belongs to another.
    pub(super) fn share(self, cores: usize, buffers: Buffers) -> io::Result<Bound> {
        let Self { at, socket } = self;
        socket.set_nonblocking(true)?;
        let is_tcp = at.tcp().is_some();
        if is_tcp {
            buffers.set_on(&socket)?;
        }
        socket.listen(BACKLOG)?; // older systemds have a queue of 128
        let of_core = || {
            let descriptor = OwnedFd::from(socket.try_clone()?);
            Ok(if is_tcp {
                ListeningSocket::Tcp(TcpListener::from_std(descriptor.into()))
            } else {
                let listener = UnixListener::from_std(descriptor.into());
                ListeningSocket::Unix { listener, send_buffer_bytes: buffers.send_bytes }
            })
        };
        let sockets = (0..cores).map(|_| of_core()).collect::<io::Result<_>>()?;
        Ok(Bound { at, sockets, file: None })
    }
}

/// The address without an IPv6 scope or flow, which a configuration need not name.
fn without_scope(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn only_a_socket_that_listens_is_taken_over() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let client = TcpStream::connect(address).expect("the queue takes it");
        let inherited = Inherited::new(listener.into()).expect("it listens");
        assert!(inherited.at == Listen::Tcp(address) && inherited.is_at(&address.into()));
        assert!(!inherited.is_at(&Listen::Unix("/run/x".into())));
        assert!(!inherited.is_at(&Listen::Tcp(SocketAddr::new(address.ip(), 1))));
        let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        for wrong in [OwnedFd::from(client), datagrams.into()] {
            assert!(Inherited::new(wrong).is_err_and(|why| why.contains("not a listening")));
        }
    }
}
