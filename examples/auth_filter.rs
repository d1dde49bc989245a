//! A custom filter of headers (the seed's DEVELOP guide): clients without a token are rejected, messages carry the name
//! of their sender, and nobody can publish to another user's channels.
//!
//! `cargo run --example auth_filter -- 127.0.0.1:8081`, then connect to `ws://127.0.0.1:8081/?token=secret-of-mike`, or
//! with the header `Authorization: Bearer secret-of-mike`. `POST /publish` passes no filter, so it is refused: a server
//! with a filter and no publish key answers 403.

use std::{collections::HashMap, env, error::Error};

use lhttp::{Context, Filter, Refusal, Server};

/// The user of a connection.
struct User(String);

struct Auth {
    users: HashMap<&'static str, &'static str>,
}

impl Filter for Auth {
    fn on_open(&self, context: &mut Context<'_>) -> Result<(), Refusal> {
        let user = token(context).and_then(|token| self.users.get(token));
        let user = user.ok_or_else(|| Refusal::new(401, "unauthorized", "the handshake has no valid token"))?;
        context.set_user(User(user.to_string()));
        Ok(())
    }

    fn before_request(&self, context: &mut Context<'_>) -> Result<(), Refusal> {
        let Some(User(user)) = context.user() else { return Err(Refusal::new(401, "unauthorized", "who are you?")) };
        let user = user.clone();
        let publishes = context.headers().filter(|(name, _)| name.eq_ignore_ascii_case("publish"));
        if let Some(channel) = publishes.flat_map(|(_, channels)| channels.split([' ', '\t'])).find(|c| !may(&user, c))
        {
            return Err(Refusal::new(403, "forbidden", format!("{user} may not publish to {channel:?}")));
        }
        context.set_header("from", &user)
    }
}

/// Everybody may publish to `public`, and to the channels that start with their own name.
fn may(user: &str, channel: &str) -> bool {
    channel.is_empty() || channel == "public" || channel.split('.').next() == Some(user)
}

fn token<'a>(context: &'a Context<'_>) -> Option<&'a str> {
    let of_query = context.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("token=")));
    of_query.or_else(|| context.handshake_header("authorization")?.strip_prefix("Bearer "))
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:8081".to_owned()).parse()?;
    let users = HashMap::from([("secret-of-mike", "mike"), ("secret-of-jack", "jack")]);
    let server = Server::builder().listen(address).filter(Auth { users }).start()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.join();
    Ok(())
}
