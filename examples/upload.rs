//! The seed's upload: it parses a multipart message (PROTOCOL.md §4), prints each part, and answers with a summary.
//!
//! `cargo run --example upload -- 127.0.0.1:8081`, then send
//! `LHTTP/1.0 upload\r\nmultipart:0 14\r\n\r\nk1:v1\r\n\r\nbody1k2:v2\r\n\r\nbody2`.

use std::{env, error::Error};

use lhttp::{Config, Context, Message, Processor, Server};

struct Upload;

impl Processor for Upload {
    fn on_message(&self, context: &mut Context<'_>) {
        let (mut parts, mut bytes) = (0, 0);
        for part in context.parts() {
            let headers: Vec<_> = part.headers().map(|(name, value)| format!("{name}:{value}")).collect();
            println!("part {parts}: headers [{}], {} bytes", headers.join(", "), part.body().len());
            parts += 1;
            bytes += part.body().len();
        }
        // Not `context.send`: it would repeat the request's multipart header over a body without parts.
        if let Ok(answer) = Message::new("upload") {
            context.reply(&answer.body(format!("{parts} parts, {bytes} bytes")));
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:8081".to_owned()).parse()?;
    // An outbox must hold a message of the largest size.
    let config = Config { message_bytes_max: 16 << 20, outbox_bytes_max: 17 << 20, ..Config::default() };
    let server = Server::builder().config(config).listen(address).processor("upload", Upload).start()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.join();
    Ok(())
}
