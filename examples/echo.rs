//! The seed's echo: what is sent with the command `chat` comes back, and so does any WebSocket message that is not
//! LHTTP, text as text and binary as binary (test suites for WebSocket need that).
//!
//! `cargo run --example echo -- 127.0.0.1:8081`

use std::{env, net::SocketAddr};

use lhttp::{Context, Processor, Server};

struct Echo;

impl Processor for Echo {
    fn on_message(&self, context: &mut Context<'_>) {
        context.send(context.body());
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address: SocketAddr = env::args().nth(1).unwrap_or("127.0.0.1:8081".to_owned()).parse()?;
    let mut config = lhttp::Config { listen: vec![address], ..lhttp::Config::default() };
    config.message_bytes_max = 32 << 20; // test suites send large messages
    config.outbox_bytes_max = 64 << 20;
    let server =
        Server::builder().config(config).processor("chat", Echo).raw(|context| context.send(context.body())).start()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.join();
    Ok(())
}
