//! Listening sockets, one a core on the same address: the kernel spreads new connections over them.

use std::{io, net::SocketAddr};

use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::StartError;

/// Connections that the kernel keeps for a core that has not accepted them yet; it takes no more than
/// `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Listens on `address` once for each of `cores`, and gives the listeners: all on one port, also when it was 0.
///
/// # Errors
/// [`StartError::Listen`] when the address is busy, also if another server would share it.
pub(crate) fn listen(
    address: SocketAddr,
    cores: usize,
    send_buffer_bytes: usize,
) -> Result<Vec<TcpListener>, StartError> {
    listen_on(address, cores, send_buffer_bytes).map_err(|source| StartError::Listen { address, source })
}

fn listen_on(mut address: SocketAddr, cores: usize, send_buffer_bytes: usize) -> io::Result<Vec<TcpListener>> {
    let is_shared = cores > 1;
    if is_shared && address.port() != 0 {
        // SO_REUSEPORT would let a second server of the same user take half of the connections: without it the bind
        // fails when somebody listens.
        bind(address, false)?;
    }
    let mut listeners = Vec::with_capacity(cores);
    for _ in 0..cores {
        let socket = bind(address, is_shared)?;
        if send_buffer_bytes > 0 {
            // Accepted sockets inherit it. Left to itself, Linux lets each grow to 4 MiB when its peer does not read.
            socket.set_send_buffer_size(send_buffer_bytes)?;
        }
        socket.listen(BACKLOG)?;
        let listener = std::net::TcpListener::from(socket);
        address = listener.local_addr()?; // the port, when it was 0
        listeners.push(TcpListener::from_std(listener));
    }
    Ok(listeners)
}

fn bind(address: SocketAddr, is_shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    socket.set_tcp_nodelay(true)?; // accepted sockets inherit it
    socket.bind(&address.into())?;
    Ok(socket)
}
