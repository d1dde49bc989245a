//! A chat with rooms. Each room is told when somebody joins or leaves.
//!
//! `cargo run --example chat -- 127.0.0.1:8081`, then send `LHTTP/1.0 join\r\nroom:hall\r\nname:mike\r\n\r\n`, and after
//! it `LHTTP/1.0 say\r\n\r\nhello`. The room gets `joined`, `said` and `left`, each with the header `name`.

use std::{env, error::Error};

use lhttp::{Context, Processor, Refusal, Server};

/// The member of a connection. It is kept with the connection.
struct Member {
    name: String,
    room: String,
}

struct Join;

impl Processor for Join {
    fn on_message(&self, context: &mut Context<'_>) {
        if let Err(refusal) = join(context) {
            context.refuse(refusal);
        }
    }

    fn on_close(&self, context: &mut Context<'_>) {
        let _ = tell_room(context, "left", b"");
    }
}

fn join(context: &mut Context<'_>) -> Result<(), Refusal> {
    let (Some(room), Some(name)) = (context.header("room"), context.header("name")) else {
        return Err(Refusal::new(400, "who-and-where", "to join takes the headers room and name"));
    };
    let member = Member { name: name.to_owned(), room: format!("room.{room}") };
    context.subscribe(&member.room)?;
    if let Some(old) = context.user::<Member>().filter(|old| old.room != member.room) {
        tell_room(context, "left", b"")?;
        context.unsubscribe(&old.room)?;
    }
    context.set_user(member);
    tell_room(context, "joined", b"")
}

struct Say;

impl Processor for Say {
    fn on_message(&self, context: &mut Context<'_>) {
        if let Err(refusal) = tell_room(context, "said", context.body()) {
            context.refuse(refusal);
        }
    }
}

fn tell_room(context: &Context<'_>, what: &str, body: &[u8]) -> Result<(), Refusal> {
    let join_first = || Refusal::new(403, "forbidden", "join a room first");
    let Member { name, room } = context.user().ok_or_else(join_first)?;
    context.publish(&[room], what, &[("name", name)], body)
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:8081".to_owned()).parse()?;
    let server = Server::builder().listen(address).processor("join", Join).processor("say", Say).start()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.join();
    Ok(())
}
