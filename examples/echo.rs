//! The seed's echo: it returns the body of messages with the command `chat`, and returns every WebSocket message that
//! is not LHTTP unchanged, text as text and binary as binary (test suites for WebSocket need that).
//!
//! `cargo run --example echo -- 127.0.0.1:8081`, or over TLS
//! `cargo run --example echo -- tls://127.0.0.1:8443 cert.pem key.pem`

use std::{env, error::Error};

use lhttp::{Config, Context, Processor, Server};

struct Echo;

impl Processor for Echo {
    fn on_message(&self, context: &mut Context<'_>) {
        context.send(context.body());
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:8081".to_owned()).parse()?;
    let config = Config {
        // Test suites send large messages.
        message_bytes_max: 32 << 20,
        outbox_bytes_max: 64 << 20,
        tls_cert: arguments.next().map(Into::into).into_iter().collect(),
        tls_key: arguments.next().map(Into::into).into_iter().collect(),
        ..Config::default()
    };
    let server = Server::builder()
        .config(config)
        .listen_on(address)
        .processor("chat", Echo)
        .raw(|context| context.send(context.body()))
        .start()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.join();
    Ok(())
}
