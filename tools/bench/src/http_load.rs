//! Requests over keep-alive HTTP/1.1 connections, each with a window of requests in flight.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};

use crate::failure::Failure;

const READ_BYTES: usize = 64 * 1024;
const SILENCE: Duration = Duration::from_secs(10);
const HEADERS_MAX: usize = 64;

/// Drives `connections` connections.
#[derive(Debug)]
pub(crate) struct HttpLoad {
    poll: Poll,
    connections: Vec<HttpConnection>,
    /// One request's bytes, repeated as often as a window needs.
    requests: Vec<u8>,
    request_bytes: usize,
    window: usize,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct HttpConnection {
    stream: TcpStream,
    /// Requests that were begun and are not answered yet.
    under_way: usize,
    /// Bytes of begun requests that the socket has not taken.
    unsent: usize,
    responses: Responses,
}

impl HttpLoad {
    /// Connects. Every connection will have up to `window` requests in flight.
    pub(crate) fn connect(
        address: SocketAddr,
        connections: usize,
        request: &[u8],
        window: usize,
    ) -> Result<Self, Failure> {
        let poll = Poll::new().map_err(Failure::io("epoll"))?;
        let connections = (0..connections).map(|index| {
            let stream = std::net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
            Ok(HttpConnection { stream, under_way: 0, unsent: 0, responses: Responses::default() })
        });
        let connections = connections.collect::<io::Result<Vec<_>>>();
        Ok(Self {
            connections: connections.map_err(Failure::io(format!("cannot connect to {address}")))?,
            poll,
            requests: request.repeat(window),
            request_bytes: request.len(),
            window,
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Sends `count` requests, each of which must be answered with 200. Returns the time.
    pub(crate) fn run(
        &mut self,
        count: usize,
        patience: Option<Duration>,
        interrupted: &AtomicBool,
    ) -> Result<Duration, Failure> {
        let mut events = Events::with_capacity(1024);
        let (mut to_begin, mut answered) = (count, 0);
        let start = Instant::now();
        let mut progress = (start, 0);
        for index in 0..self.connections.len() {
            to_begin -= self.fill(index, to_begin)?;
        }
        while answered < count {
            if interrupted.load(Ordering::Relaxed) {
                return Err(Failure::Interrupted);
            }
            match self.poll.poll(&mut events, patience) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result.map_err(Failure::io("epoll"))?,
            }
            for event in &events {
                if event.is_readable() {
                    answered += self.read(event.token().0, event.is_read_closed())?;
                }
                to_begin -= self.fill(event.token().0, to_begin)?;
            }
            if answered != progress.1 {
                progress = (Instant::now(), answered);
            } else if progress.0.elapsed() > SILENCE {
                return Err(Failure::Server(format!(
                    "{answered} of {count} requests were answered, then none for 10 s"
                )));
            }
        }
        Ok(start.elapsed())
    }

    /// Begins as many requests as a connection's window allows, in one write. Returns how many.
    fn fill(&mut self, index: usize, to_begin: usize) -> Result<usize, Failure> {
        let connection = &mut self.connections[index];
        let begun = (self.window - connection.under_way).min(to_begin);
        connection.under_way += begun;
        connection.unsent += begun * self.request_bytes;
        while connection.unsent > 0 {
            // The prepared requests up to their end. The write starts inside the first unfinished request.
            let end = self.requests.len();
            match connection.stream.write(&self.requests[end - connection.unsent..]) {
                Ok(taken) => connection.unsent -= taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(Failure::io("writing a request")(error)),
            }
        }
        Ok(begun)
    }

    /// Reads and returns how many responses ended in the bytes.
    fn read(&mut self, index: usize, ended: bool) -> Result<usize, Failure> {
        let connection = &mut self.connections[index];
        let mut answered = 0;
        loop {
            match connection.stream.read(&mut self.buffer) {
                Ok(0) => return Err(Failure::Server("it closed a keep-alive connection".into())),
                Ok(length) => {
                    answered += connection.responses.feed(&self.buffer[..length]).map_err(Failure::Server)?;
                    if length < self.buffer.len() && !ended {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(Failure::io("reading a response")(error)),
            }
        }
        if answered > connection.under_way {
            return Err(Failure::Server("it sent more responses than it got requests".into()));
        }
        connection.under_way -= answered;
        Ok(answered)
    }
}

/// Counts the responses in a stream, however it is cut. Each must be a 200 with a `Content-Length`.
#[derive(Debug, Default)]
struct Responses {
    /// An unfinished response.
    carry: Vec<u8>,
    /// The last complete response. Most are equal, and a comparison is faster than a parser.
    last: Vec<u8>,
}

impl Responses {
    fn feed(&mut self, bytes: &[u8]) -> Result<usize, String> {
        if self.carry.is_empty() {
            let (answered, taken) = self.count(bytes)?;
            self.carry.extend_from_slice(&bytes[taken..]);
            return Ok(answered);
        }
        let mut all = std::mem::take(&mut self.carry);
        all.extend_from_slice(bytes);
        let (answered, taken) = self.count(&all)?;
        all.drain(..taken);
        self.carry = all;
        Ok(answered)
    }

    /// The number of complete responses at the start of `bytes`, and their length.
    fn count(&mut self, bytes: &[u8]) -> Result<(usize, usize), String> {
        let (mut answered, mut at) = (0, 0);
        while at < bytes.len() {
            if !self.last.is_empty() && bytes[at..].starts_with(&self.last) {
                at += self.last.len();
            } else {
                let Some(length) = response_bytes(&bytes[at..])? else { break };
                self.last.clear();
                self.last.extend_from_slice(&bytes[at..at + length]);
                at += length;
            }
            answered += 1;
        }
        Ok((answered, at))
    }
}

/// The length of the response at the start of `bytes`, if it is complete.
fn response_bytes(bytes: &[u8]) -> Result<Option<usize>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("its response is not HTTP: {error}")),
    };
    if response.code != Some(200) {
        let end = bytes.len().min(head + 200);
        return Err(format!("it answered {:?}", String::from_utf8_lossy(&bytes[..end])));
    }
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok());
    let length = length.ok_or("its response has no Content-Length")?;
    Ok((bytes.len() >= head + length).then_some(head + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

    #[test]
    fn every_cut_counts_the_same_responses() {
        let stream = TWO.repeat(3);
        for first in 0..=stream.len() {
            for second in (first..=stream.len()).step_by(7) {
                let mut responses = Responses::default();
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                let counted: usize = pieces.iter().map(|piece| responses.feed(piece).expect("valid")).sum();
                assert_eq!(counted, 6, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn anything_but_200_is_an_error() {
        assert!(Responses::default().feed(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n").is_err());
        assert!(Responses::default().feed(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(Responses::default().feed(b"nonsense\r\n\r\n").is_err());
    }
}
