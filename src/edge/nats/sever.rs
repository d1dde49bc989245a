//! Ends the client's connection for good when it is found broken.
//!
//! The client only drops it, and then the kernel goes on: what it had not got rid of reaches the server as soon as packets
//! arrive again, perhaps behind newer messages of the next connection. So it is reset, and what was in it is gone, as it
//! was counted. The client does not show its socket, but it is in the poll of the bridge's own runtime, and nothing else is
//! that has a peer.

use std::{fs, io, os::fd::AsRawFd};

use filedescriptor::FileDescriptor;
use socket2::SockRef;
use tokio::net::UnixDatagram;

/// The bridge's poll.
#[derive(Debug)]
pub(super) struct Sever {
    /// The file in which Linux lists what the poll watches.
    watched: String,
    /// Registered with the poll, by which it was found.
    _marker: UnixDatagram,
}

impl Sever {
    /// Finds the poll of the runtime that this runs on.
    ///
    /// # Errors
    /// There is no `/proc`, or it does not show the poll.
    pub(super) fn find() -> io::Result<Self> {
        let marker = UnixDatagram::unbound()?;
        for entry in fs::read_dir("/proc/self/fdinfo")? {
            let path = entry?.path();
            // A file that is closed meanwhile is not the one.
            let text = fs::read_to_string(&path).unwrap_or_default();
            if watched(&text).any(|number| number == marker.as_raw_fd()) {
                return Ok(Self { watched: path.to_string_lossy().into_owned(), _marker: marker });
            }
        }
        Err(io::Error::other("/proc/self/fdinfo does not show what is polled"))
    }

    /// Resets all connections that the poll watches, and gives how many. Whoever reads them finds their end.
    ///
    /// # Errors
    /// `/proc` cannot be read, or there is no file descriptor left.
    pub(super) fn reset_all(&self) -> io::Result<usize> {
        let mut count = 0;
        for number in watched(&fs::read_to_string(&self.watched)?) {
            let file = FileDescriptor::dup(&number).map_err(io::Error::other)?;
            let has_peer = SockRef::from(&file).peer_addr().is_ok_and(|peer| peer.is_ipv4() || peer.is_ipv6());
            if has_peer && rustix::net::connect_unspec(&file).is_ok() {
                count += 1;
            }
        }
        Ok(count)
    }
}

/// The numbers of the files that a poll watches.
fn watched(fdinfo: &str) -> impl Iterator<Item = i32> {
    let lines = fdinfo.lines().filter_map(|line| line.strip_prefix("tfd:"));
    lines.filter_map(|line| line.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use tokio::runtime::{Builder, Runtime};

    use super::*;

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    #[test]
    fn connections_of_this_runtime_are_reset_and_no_others() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let connect = |runtime: &Runtime| {
            let stream = TcpStream::connect(listener.local_addr().expect("an address")).expect("it accepts");
            stream.set_nonblocking(true).expect("not blocking");
            let _context = runtime.enter();
            (tokio::net::TcpStream::from_std(stream).expect("it is polled"), listener.accept().expect("accepted").0)
        };
        let (ours, another) = (runtime(), runtime());
        let (ours_here, ours_there) = connect(&ours);
        let (another_here, _another_there) = connect(&another);
        let sever = ours.block_on(async { Sever::find() }).expect("a poll");
        assert_eq!(sever.reset_all().expect("it is reset"), 1);
        let error = io::Read::read(&mut &ours_there, &mut [0]).expect_err("a reset, not an end");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(ours_here.peer_addr().is_err() && another_here.peer_addr().is_ok());
        assert_eq!(sever.reset_all().expect("nothing is left"), 0);
    }
}
