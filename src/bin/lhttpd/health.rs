//! `--health URL`: the health check of a container without a shell and without curl.
//!
//! One GET over a `TcpStream`, not the HTTP client that `upstream` brings: the check runs every few seconds as its own
//! process, needs neither TLS nor redirects, and must work in a build without that client.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// The time limit of the whole check; it is shorter than any orchestrator's.
const TIMEOUT: Duration = Duration::from_secs(3);
/// An answer with a longer head is not from this server.
const HEAD_BYTES_MAX: usize = 8 * 1024;
const HEADERS_MAX: usize = 64;

/// Sends `GET url`, and accepts only 200.
///
/// # Errors
/// One sentence that names the URL and what is wrong.
pub(crate) fn check(url: &str) -> Result<(), String> {
    let (authority, path) = parse(url)?;
    match ask(authority, path, Instant::now() + TIMEOUT) {
        Ok(200) => Ok(()),
        Ok(status) => Err(format!("{url} is not healthy: it says {status}")),
        Err(error) => Err(format!("{url} is not healthy: {}", sentence(&error))),
    }
}

/// The authority and the path of `http://HOST[:PORT][/PATH]`.
fn parse(url: &str) -> Result<(&str, &str), String> {
    let malformed = || format!("--health {url:?} is not a URL such as http://127.0.0.1:8081/healthz");
    let rest = url.strip_prefix("http://").ok_or_else(malformed)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let is_sound = |part: &str| part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if authority.is_empty() || authority.contains(['@', '?']) || !is_sound(authority) || !is_sound(path) {
        return Err(malformed());
    }
    Ok((authority, if path.is_empty() { "/" } else { path }))
}

/// The status of the answer.
fn ask(authority: &str, path: &str, deadline: Instant) -> io::Result<u16> {
    let mut stream = connect(authority, deadline)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: lhttpd\r\nConnection: close\r\n\r\n")?;
    let mut answer = vec![0; HEAD_BYTES_MAX];
    let mut len = 0;
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let read = stream.read(&mut answer[len..])?;
        len += read;
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        match response.parse(&answer[..len]) {
            Ok(httparse::Status::Complete(_)) => return response.code.ok_or_else(broken),
            Ok(httparse::Status::Partial) if read > 0 && len < answer.len() => {}
            Ok(httparse::Status::Partial) | Err(_) => return Err(broken()),
        }
    }
}

/// Tries each address of the host in turn.
fn connect(authority: &str, deadline: Instant) -> io::Result<TcpStream> {
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let with_port = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in resolve(with_port, deadline)? {
        match TcpStream::connect_timeout(&address, left(deadline)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The addresses of `host:port`. A look-up has no deadline, so it runs on a thread, which is never joined: the process
/// ends with this check.
fn resolve(host: String, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
    let (answer, answered) = mpsc::channel();
    thread::Builder::new().spawn(move || answer.send(host.to_socket_addrs().map(Vec::from_iter)))?;
    answered.recv_timeout(left(deadline)?).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => Err(io::ErrorKind::TimedOut.into()),
        RecvTimeoutError::Disconnected => Err(io::Error::other("the name cannot be resolved")),
    })
}

/// The time that is left; never zero, which a socket would take for "no limit".
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP")
}

fn sentence(error: &io::Error) -> String {
    match error.kind() {
        // A socket reports "would block" after its read timeout.
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => format!("no answer within {} s", TIMEOUT.as_secs()),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_cut_into_authority_and_path() {
        for (url, parts) in [
            ("http://127.0.0.1:8081/healthz", ("127.0.0.1:8081", "/healthz")),
            ("http://[::1]:8081", ("[::1]:8081", "/")),
            ("http://localhost/a?b=c", ("localhost", "/a?b=c")),
        ] {
            assert_eq!(parse(url), Ok(parts), "{url}");
        }
        for url in
            ["", "127.0.0.1:8081", "https://x/", "http://", "http:///x", "http://u@h/", "http://h/ x", "http://h/\r\n"]
        {
            assert!(parse(url).is_err(), "{url:?}");
        }
    }
}
