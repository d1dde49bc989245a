//! The seed's echo: it returns the body of messages with the command `chat`, and returns every WebSocket message that
//! is not LHTTP unchanged, text as text and binary as binary (test suites for WebSocket need that).
//!
//! `cargo run --example echo -- 127.0.0.1:8081`

use std::{env, error::Error};

use lhttp::{Config, Context, Processor, Server};

struct Echo;

impl Processor for Echo {
    fn on_message(&self, context: &mut Context<'_>) {
        context.send(context.body());
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:8081".to_owned()).parse()?;
    // Test suites send large messages.
    let config = Config { message_bytes_max: 32 << 20, outbox_bytes_max: 64 << 20, ..Config::default() };
    let server = Server::builder()
        .config(config)
        .listen(address)
        .processor("chat", Echo)
        .raw(|context| context.send(context.body()))
        .start()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.join();
    Ok(())
}
