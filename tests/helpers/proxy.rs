//! A TCP proxy that a test can cut and restore.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// A TCP proxy to a server that a test can cut and restore.
pub(crate) struct CuttableProxy {
    port: u16,
    state: Arc<ProxyState>,
}

#[derive(Default)]
struct ProxyState {
    is_cut: AtomicBool,
    is_over: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

impl CuttableProxy {
    pub(crate) fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(ProxyState::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for from in listener.incoming().map_while(Result::ok) {
                if shared.is_over.load(Ordering::Acquire) {
                    return;
                }
                let mut streams = shared.streams.lock().expect("the lock is not poisoned");
                if shared.is_cut.load(Ordering::Acquire) {
                    continue;
                }
                let Ok(to) = TcpStream::connect(server) else { continue };
                for (mut from, mut to) in [(clone(&from), clone(&to)), (clone(&to), clone(&from))] {
                    thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                    });
                }
                streams.extend([from, to]);
            }
        });
        Self { port, state }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its URL for a node, if the server is nats-server.
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Breaks all connections, and accepts no new ones.
    pub(crate) fn cut(&self) {
        let mut streams = self.state.streams.lock().expect("the lock is not poisoned");
        self.state.is_cut.store(true, Ordering::Release);
        for stream in streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Accepts connections again.
    pub(crate) fn restore(&self) {
        self.state.is_cut.store(false, Ordering::Release);
    }
}

impl Drop for CuttableProxy {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Release);
        self.cut();
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a socket can be cloned")
}
