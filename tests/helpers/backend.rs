//! An HTTP server in the test's own process. It acts as the test says and records the requests.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use super::{PATIENCE, wait_for};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0.eq_ignore_ascii_case(name)).map(|header| header.1.as_str())
    }

    pub(crate) fn body_text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }
}

/// What the server does with a request.
pub(crate) enum Action {
    /// Sends these bytes, and waits for the next request.
    Answer(Vec<u8>),
    /// Sends these bytes, and closes the connection.
    Break(Vec<u8>),
    /// Sends these bytes, then a byte every few milliseconds while the peer reads.
    Drip(Vec<u8>),
    /// Does nothing until the peer goes away.
    Hang,
}

/// A complete answer with this body. `headers` are lines that end in CRLF.
pub(crate) fn answer(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Action {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    Action::Answer([head.as_bytes(), body].concat())
}

/// A plain 200.
pub(crate) fn ok(body: impl AsRef<[u8]>) -> Action {
    answer("200 OK", "", body)
}

/// A server on a free port. Dropping it ends all of its connections.
pub(crate) struct Backend {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
    is_over: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

impl Backend {
    /// Each connection has its own thread, so `act` may wait.
    pub(crate) fn start(act: impl Fn(&Request) -> Action + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (state, act) = (Arc::new(State::default()), Arc::new(act));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut streams = shared.streams.lock().expect("the lock is not poisoned");
                if shared.is_over.load(Ordering::Acquire) {
                    return;
                }
                streams.push(stream.try_clone().expect("a socket can be cloned"));
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let (state, act) = (Arc::clone(&shared), Arc::clone(&act));
                thread::spawn(move || serve(stream, &state, &*act));
            }
        });
        Self { address, state }
    }

    /// A server that answers everything with 200 and `ok`.
    pub(crate) fn answering() -> Self {
        Self::start(|_| ok("ok"))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of this path on the server.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests so far, in order, answered or not.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().expect("the lock is not poisoned").clone()
    }

    /// How many requests have come.
    pub(crate) fn count(&self) -> usize {
        self.state.requests.lock().expect("the lock is not poisoned").len()
    }

    /// Waits for this many requests, and returns them.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Request> {
        wait_for(|| self.count() >= count);
        self.requests()
    }

    /// How many connections were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
        for stream in self.state.streams.lock().expect("the lock is not poisoned").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Requests wait here until the test opens the barrier.
#[derive(Clone, Default)]
pub(crate) struct Barrier(Arc<(Mutex<bool>, Condvar)>);

impl Barrier {
    pub(crate) fn open(&self) {
        *self.0.0.lock().expect("the lock is not poisoned") = true;
        self.0.1.notify_all();
    }

    pub(crate) fn pass(&self) {
        let is_open = self.0.0.lock().expect("the lock is not poisoned");
        let waited = self.0.1.wait_timeout_while(is_open, 3 * PATIENCE, |is_open| !*is_open);
        drop(waited.expect("the lock is not poisoned"));
    }
}

fn serve(stream: TcpStream, state: &State, act: &(dyn Fn(&Request) -> Action + Send + Sync)) {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
    let mut writer = stream;
    while let Some(request) = read_request(&mut reader) {
        state.requests.lock().expect("the lock is not poisoned").push(request.clone());
        match act(&request) {
            Action::Answer(bytes) if writer.write_all(&bytes).is_ok() => {}
            Action::Answer(_) => return,
            Action::Break(bytes) => {
                let _ = writer.write_all(&bytes);
                let _ = writer.shutdown(Shutdown::Both);
                return;
            }
            Action::Drip(bytes) => {
                let _ = writer.write_all(&bytes);
                while writer.write_all(b"x").is_ok() {
                    wait_between_drops();
                }
                return;
            }
            Action::Hang => {
                let _ = reader.read(&mut [0]);
                return;
            }
        }
    }
}

fn wait_between_drops() {
    thread::sleep(Duration::from_millis(5));
}

/// The next request; None at the end, or if the bytes are not a request.
fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let start = read_line(reader)?;
    let [method, target, "HTTP/1.1"] = start.split(' ').collect::<Vec<_>>()[..] else { return None };
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut request = Request { method: method.to_owned(), target: target.to_owned(), headers, body: Vec::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse().expect("a length"));
    request.body.resize(length, 0);
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

fn read_line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).ok()?;
    let line = line.strip_suffix(b"\r\n")?;
    Some(String::from_utf8_lossy(line).into_owned())
}
