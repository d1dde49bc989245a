//! From paths, queries and bodies to questions.

use std::net::IpAddr;

use serde::Deserialize;

use crate::{
    engine::{
        session::Endpoint,
        slot::{ConnectionKey, Slot},
        survey::{Question, Wanted, Whose},
    },
    extension::ConnectionId,
    protocol::{channel, http::RequestHead, message::MessageId},
};

use super::{Asked, Kind, Query, Said, nodes, query::decoded};

const DISCONNECT: Endpoint = Endpoint(1);
const SUBSCRIBE: Endpoint = Endpoint(2);
const UNSUBSCRIBE: Endpoint = Endpoint(3);
pub(super) const PUBLISH: Endpoint = Endpoint(4);
pub(super) const BATCH: Endpoint = Endpoint(5);

/// How many channels and connections `/api/top` names, unless it is asked for another number; and the most.
const TOP: usize = 10;
const TOP_MAX: usize = 100;

/// The code of a connection that is closed without another one (RFC 6455 §7.4.1: it violates a policy).
const POLICY: u16 = 1008;
/// The longest reason of a close (RFC 6455 §5.5: 125 bytes with the code).
const REASON_BYTES_MAX: usize = 123;

/// What a request asks for.
///
/// # Errors
/// The answer to one that asks for nothing that is here.
pub(super) fn of(head: &RequestHead<'_, '_>) -> Result<Asked, Said> {
    let RequestHead { method, path, target, .. } = *head;
    of_request(method, path, target)
}

/// The same for a request that came to another node.
pub(super) fn of_request(method: &str, path: &str, target: &str) -> Result<Asked, Said> {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let (allowed, parse): (_, Parse) = match parts[..] {
        ["metrics"] => ("GET", |_, _| Ok(Asked::Metrics)),
        ["api", "channels"] => ("GET", |target, _| channels(target)),
        ["api", "channels", _] => ("GET", |_, name| a_channel(name)),
        ["api", "channels", _, "messages"] if method == "DELETE" => ("GET, DELETE", forget),
        ["api", "channels", _, "messages"] => ("GET, DELETE", messages),
        ["api", "channels", _, "presence"] => ("GET", presence),
        ["api", "connections"] => ("GET", |target, _| connections(target)),
        ["api", "connections", _] => ("GET", |_, id| a_connection(id)),
        ["api", "configuration"] => ("GET", |target, _| Query::of(target, &[]).map(|_| Asked::Configuration)),
        ["api", "status"] => ("GET", |target, _| Query::of(target, &[]).map(|_| Asked::Status)),
        ["api", "top"] => ("GET", |target, _| top(target)),
        ["api", "disconnect"] => ("POST", |_, _| Ok(Asked::Body(DISCONNECT))),
        ["api", "subscribe"] => ("POST", |_, _| Ok(Asked::Body(SUBSCRIBE))),
        ["api", "publish"] => ("POST", |_, _| Ok(Asked::Body(PUBLISH))),
        ["api", "batch"] => ("POST", |_, _| Ok(Asked::Body(BATCH))),
        ["api", "unsubscribe"] => ("POST", |_, _| Ok(Asked::Body(UNSUBSCRIBE))),
        _ => return Err(Said::error(404, "not-found", "there is nothing at this path: see docs/ADMIN.md")),
    };
    let method = if method == "HEAD" { "GET" } else { method };
    if !allowed.split(", ").any(|allowed| allowed == method) {
        return Err(Said::error(405, "bad-method", &format!("this path is for {allowed}")).header("Allow", allowed));
    }
    parse(target, parts.get(2).unwrap_or(&""))
}

/// Reads the question of a path from the target and the path's third part.
type Parse = fn(&str, &str) -> Result<Asked, Said>;

/// Whether the client asks for OpenMetrics.
pub(super) fn takes_openmetrics(head: &RequestHead<'_, '_>) -> bool {
    let name = b"application/openmetrics-text";
    head.header_values("accept").any(|value| value.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name)))
}

fn channels(target: &str) -> Result<Asked, Said> {
    let query = Query::of(target, &["match", "limit", "after"])?;
    let wanted = match query.get("match") {
        None => Wanted::All,
        Some(pattern) => match channel::check_subscribe(pattern.as_bytes()) {
            Ok(channel::Kind::Pattern) => Wanted::Matching(pattern.as_bytes().into()),
            Ok(channel::Kind::Exact) => Wanted::Name(pattern.as_bytes().into()),
            Err(refusal) => return Err(Said::bad(refusal.sentence())),
        },
    };
    let limit = query.limit()?;
    let after = query.get("after").unwrap_or_default().as_bytes().into();
    Ok(Asked::Question(Question::Channels { wanted, after, limit }, Kind::Channels { limit }))
}

fn a_channel(name: &str) -> Result<Asked, Said> {
    let name = decoded(name)?;
    channel::check_subscribe(name.as_bytes()).map_err(|refusal| Said::bad(refusal.sentence()))?;
    let wanted = Wanted::Name(name.as_bytes().into());
    Ok(Asked::Question(Question::Channels { wanted, after: Box::default(), limit: 1 }, Kind::Channel))
}

/// A channel, which is no pattern.
fn exact(name: &str) -> Result<Box<[u8]>, Said> {
    let name = decoded(name)?;
    channel::check_publish(name.as_bytes()).map_err(|refusal| Said::bad(refusal.sentence()))?;
    Ok(name.as_bytes().into())
}

fn messages(target: &str, name: &str) -> Result<Asked, Said> {
    let name = exact(name)?;
    let query = Query::of(target, &["last", "before"])?;
    let last = query.count("last", 50)?;
    let before = query.get("before").map(|id| {
        let id = MessageId::parse(id.as_bytes());
        id.ok_or_else(|| Said::bad("before is the id of a message, or the `next` of an answer"))
    });
    let before = before.transpose()?;
    Ok(Asked::Question(Question::Messages { name, before, last }, Kind::Messages))
}

fn forget(target: &str, name: &str) -> Result<Asked, Said> {
    Query::of(target, &[])?;
    Ok(Asked::Question(Question::Forget { name: exact(name)? }, Kind::Forgotten))
}

fn presence(target: &str, name: &str) -> Result<Asked, Said> {
    Query::of(target, &[])?;
    Ok(Asked::Question(Question::Presence { name: exact(name)? }, Kind::Users))
}

fn connections(target: &str) -> Result<Asked, Said> {
    let query = Query::of(target, &["channel", "user", "address", "limit", "after"])?;
    let channel = query.get("channel").map(checked).transpose()?;
    let whose = Whose {
        node: None,
        connection: None,
        user: query.get("user").map(Box::from),
        address: query.get("address").map(address).transpose()?,
        channel,
    };
    let (from_node, from) = query.get("after").map_or(Ok((None, (0, 0))), |text| {
        let place = of_node(text).and_then(|(node, text)| {
            let (core, slot) = text.split_once('-')?;
            Some((node, (core.parse().ok()?, slot.parse().ok()?)))
        });
        place.ok_or_else(|| Said::bad("after is the `next` of an answer"))
    })?;
    let limit = query.limit()?;
    Ok(Asked::Question(Question::Connections { whose, from, from_node, limit }, Kind::Connections { limit }))
}

fn a_connection(id: &str) -> Result<Asked, Said> {
    let (node, connection) = connection(id)?;
    let whose = Whose { node, connection: Some(connection), ..Whose::default() };
    Ok(Asked::Question(Question::Connections { whose, from: (0, 0), from_node: None, limit: 1 }, Kind::Connection))
}

fn top(target: &str) -> Result<Asked, Said> {
    let query = Query::of(target, &["limit"])?;
    let limit = if query.get("limit").is_some() { query.limit()? } else { TOP };
    Ok(Asked::Question(Question::Top { limit: limit.min(TOP_MAX) }, Kind::Top { limit: limit.min(TOP_MAX) }))
}

/// The node of an id in a cluster, and the rest of it.
fn of_node(text: &str) -> Option<(Option<u64>, &str)> {
    match text.split_once('.') {
        None => Some((None, text)),
        Some((name, rest)) => Some((Some(nodes::node(name)?), rest)),
    }
}

type Connection = (Option<u64>, (u32, ConnectionKey));

fn connection(text: &str) -> Result<Connection, Said> {
    let id = of_node(text).and_then(|(node, id)| Some((node, id.parse::<ConnectionId>().ok()?)));
    let sentence = "an id of a connection looks like 0-12-345, and in a cluster like 00c0ffee00c0ffee.0-12-345";
    let (node, id) = id.ok_or_else(|| Said::bad(sentence))?;
    Ok((node, (id.core(), id.key())))
}

fn address(text: &str) -> Result<IpAddr, Said> {
    let address: Result<IpAddr, _> = text.parse();
    address.map(|address| address.to_canonical()).map_err(|_| Said::bad("address is an IP address without a port"))
}

fn checked(name: &str) -> Result<(Box<[u8]>, channel::Kind), Said> {
    let kind = channel::check_subscribe(name.as_bytes()).map_err(|refusal| Said::bad(refusal.sentence()))?;
    Ok((name.as_bytes().into(), kind))
}

/// Whom a body names: exactly one of these.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    connection: Option<String>,
    user: Option<String>,
    address: Option<String>,
    code: Option<u16>,
    reason: Option<String>,
    channels: Option<Vec<String>>,
}

impl Named {
    fn whose(&self) -> Result<Whose, Said> {
        let connection = self.connection.as_deref().map(connection).transpose()?;
        let whose = Whose {
            node: connection.and_then(|(node, _)| node),
            connection: connection.map(|(_, connection)| connection),
            user: self.user.as_deref().map(Box::from),
            address: self.address.as_deref().map(address).transpose()?,
            channel: None,
        };
        let named = [whose.connection.is_some(), whose.user.is_some(), whose.address.is_some()];
        match named.into_iter().filter(|is_named| *is_named).count() {
            1 => Ok(whose),
            _ => Err(Said::bad("name one of connection, user and address")),
        }
    }
}

/// The question of a body.
///
/// # Errors
/// The answer to one that is not understood.
pub(super) fn of_body(endpoint: Endpoint, body: &[u8]) -> Result<(Question, Kind), Said> {
    let named: Named = serde_json::from_slice(body).map_err(|error| Said::bad(&format!("the body: {error}")))?;
    let whose = named.whose()?;
    let unknown = |name| Err(Said::bad(&format!("the body: {name} is not for this path")));
    if endpoint == DISCONNECT {
        if named.channels.is_some() {
            return unknown("channels");
        }
        let code = named.code.unwrap_or(POLICY);
        if !crate::protocol::frame::is_close_code(code) {
            return Err(Said::bad("code is a close code that a server may send: 1000 to 1014, or 3000 to 4999"));
        }
        let reason = named.reason.unwrap_or_default();
        if reason.len() > REASON_BYTES_MAX {
            return Err(Said::bad("reason has at most 123 bytes"));
        }
        return Ok((Question::Close { whose, code, reason: reason.into() }, Kind::Changed("closed")));
    }
    if named.code.is_some() || named.reason.is_some() {
        return unknown("code and reason");
    }
    let names: Result<Vec<_>, _> = named.channels.unwrap_or_default().iter().map(|name| checked(name)).collect();
    let names = names?;
    if names.is_empty() || names.len() > 100 {
        return Err(Said::bad("channels: name 1 to 100"));
    }
    let is_end = endpoint == UNSUBSCRIBE;
    let word = if is_end { "unsubscribed" } else { "subscribed" };
    Ok((Question::Subscribe { whose, names, is_end }, Kind::Changed(word)))
}

/// The place behind a connection, for the next page.
pub(super) fn behind(node: Option<u64>, core: u32, slot: Slot) -> String {
    let node = node.map_or_else(String::new, |node| format!("{}.", nodes::name(node)));
    format!("{node}{core}-{}", slot.saturating_add(1))
}

/// The path of an endpoint whose request goes to all nodes.
pub(super) fn path_of(endpoint: Endpoint) -> &'static str {
    match endpoint {
        DISCONNECT => "/api/disconnect",
        SUBSCRIBE => "/api/subscribe",
        _ => "/api/unsubscribe",
    }
}
