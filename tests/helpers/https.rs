//! An HTTP server behind TLS.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::PATIENCE;

/// Answers every HTTP request with 200 and `over TLS`, on its own port.
pub(crate) fn serve(config: ServerConfig) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let config = Arc::new(config);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let config = Arc::clone(&config);
            thread::spawn(move || {
                stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
                let connection = ServerConnection::new(config).expect("a connection");
                let mut stream = BufReader::new(StreamOwned::<_, TcpStream>::new(connection, stream));
                while let Some(length) = read_head(&mut stream) {
                    let mut body = vec![0; length];
                    stream.read_exact(&mut body).expect("the body comes");
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nover TLS";
                    stream.get_mut().write_all(answer).expect("the client reads");
                }
            });
        }
    });
    port
}

/// Reads a request's head, and returns its body's length. None at the end, or if the client does not trust the
/// certificate.
fn read_head(stream: &mut impl BufRead) -> Option<usize> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|&read| read > 0)?;
        if line == "\r\n" {
            return Some(length);
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
    }
}
