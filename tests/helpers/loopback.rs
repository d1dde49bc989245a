//! Addresses for servers that are started again where they were.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process,
    sync::Mutex,
};

/// A loopback address of this process alone: nobody takes a port there that was free a moment ago. On 127.0.0.1 another
/// process does, as the port of a connection of its own.
pub(crate) fn own_ip() -> Ipv4Addr {
    let [_, high, middle, low] = process::id().to_be_bytes(); // Linux numbers processes with 22 bits
    Ipv4Addr::new(127, 128 | high, middle, low)
}

/// An address where nobody listens now, and nobody will before a test does.
pub(crate) fn free_address() -> SocketAddr {
    static GIVEN: Mutex<Vec<SocketAddr>> = Mutex::new(Vec::new());
    let mut given = GIVEN.lock().expect("the lock is not poisoned");
    loop {
        let listener = TcpListener::bind((own_ip(), 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        if !given.contains(&address) {
            given.push(address);
            return address;
        }
    }
}
