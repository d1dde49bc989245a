//! Listening on unix sockets, which are files.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use socket2::{Domain, SockAddr, Socket, Type};

use super::{BACKLOG, Bound, ListeningSocket};
use crate::config::Listen;

/// The mode of the file: the server's user and group may write to it, which connecting needs.
const MODE: u32 = 0o660;

/// Listens on `path`. All cores share the socket, because the kernel spreads connections over TCP sockets only. A new
/// connection wakes all cores, and the first one takes it.
pub(super) fn listen(path: &Path, cores: usize, send_buffer_bytes: usize) -> io::Result<Bound> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::new(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?; // before anybody can connect
    socket.listen(BACKLOG)?;
    let listener = UnixListener::from(socket);
    let of_core = || {
        let listener = mio::net::UnixListener::from_std(listener.try_clone()?);
        Ok(ListeningSocket::Unix { listener, send_buffer_bytes })
    };
    let sockets = (0..cores).map(|_| of_core()).collect::<io::Result<_>>()?;
    Ok(Bound { at: Listen::Unix(path.to_owned()), sockets, file: Some(file) })
}

/// Removes a socket that a killed server has left: no server answers on it.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is not a socket"));
        }
        Ok(_) => {}
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?; // a server whose backlog is full must not block us
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "another server listens there")),
    }
}

/// The file of a unix socket. Dropping it removes the file, unless another file has replaced it.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = |metadata: fs::Metadata| (metadata.dev(), metadata.ino()) == (self.device, self.inode);
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours)
            && let Err(error) = fs::remove_file(&self.path)
        {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}
