//! The order of the modules: of the layers, inside the engine, inside the NATS bridge; and what the protocol may use.

use super::{assert_none, code, rust_files};

/// The layers, lowest first. A module uses its own layer and those below it, never one above. Only `benches/`, `fuzz/`
/// and tests use `bench`, `fuzzing` and `simulation`; these may use all layers.
const LAYERS: [&[&str]; 13] = [
    &["error", "https", "listen", "one_line", "seeds"],
    &["protocol"],
    &["config"],
    &["tls", "token"],
    &["client"],
    &["engine"],
    &["extension"],
    &["application"],
    &["service"],
    &["history_file", "metrics", "nats", "upstream"],
    &["server"],
    &["ffi"],
    &["bench", "fuzzing", "simulation"],
];

/// The order inside `engine/`, in the same way.
const ENGINE: [&[&str]; 6] = [
    &[
        "addresses",
        "arena",
        "arrival",
        "clock",
        "ending",
        "grants",
        "history",
        "index",
        "limits",
        "log_limit",
        "outbox",
        "patterns",
        "presence",
        "rates",
        "relay",
        "rules",
        "session",
        "slot",
        "stats",
        "storing",
        "subscriptions",
        "survey",
        "timers",
        "wake",
        "wall_clock",
    ],
    &["router", "sessions"],
    &["application", "hub"],
    &["inbox", "lanes"],
    &["turn"],
    &[
        "alarm",
        "bridge_link",
        "busy_poll",
        "connection",
        "core",
        "greetings",
        "listener",
        "node_link",
        "pace",
        "reactor",
    ],
];

/// Its `mod.rs` says the order of its files.
const NATS_BRIDGE: &str = "src/nats";

/// The modules of std that `protocol/` must not use, except for [`ADDRESSES`]: it sees bytes and returns values.
const IMPURE: [&str; 5] = ["net", "time", "thread", "fs", "process"];

/// Addresses are values; sockets are not.
const ADDRESSES: [&str; 4] = ["net::IpAddr", "net::Ipv4Addr", "net::Ipv6Addr", "net::SocketAddr"];

#[test]
fn a_layer_uses_only_those_below_it() {
    let rank = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    let mut found = Vec::new();
    for file in rust_files(&["src"]) {
        let inside = file.path.trim_start_matches("src/").trim_end_matches(".rs");
        let module = inside.split('/').next().unwrap_or_default();
        if ["lib", "bin", "simulation"].contains(&module) {
            continue;
        }
        let Some(own) = rank(module) else {
            found.push(format!("{}: {module} is in no layer of tests/tidy/layers.rs", file.path));
            continue;
        };
        for path in paths(&code(&file.text), "crate") {
            let target = path.split("::").next().unwrap_or_default();
            match rank(target) {
                Some(layer) if layer <= own => {}
                Some(_) => found.push(format!("{}: uses crate::{path}, which is above it", file.path)),
                None => found.push(format!("{}: uses crate::{path}; name it by its module", file.path)),
            }
        }
    }
    assert_none(found);
}

#[test]
fn inside_the_engine_no_module_uses_one_above_it() {
    let order: Vec<Vec<String>> =
        ENGINE.iter().map(|group| group.iter().map(|name| (*name).to_owned()).collect()).collect();
    assert_none(out_of_order("src/engine", &order, Peers::Allowed));
}

#[test]
fn inside_the_nats_bridge_no_file_uses_one_above_it_or_beside_it() {
    let file = rust_files(&[NATS_BRIDGE]).into_iter().find(|file| file.path.ends_with("/mod.rs")).expect("it is there");
    let lines = file.text.lines().filter_map(|line| line.strip_prefix("//!"));
    let text: String = lines.skip_while(|line| !line.contains("to its left")).collect();
    let order = text.split("```text").nth(1).and_then(|text| text.split("```").next()).expect("its order stands there");
    let names = |group: &str| group.split(',').map(|name| name.trim().to_owned()).collect();
    let order: Vec<Vec<String>> = order.split('←').map(names).collect();
    for name in order.iter().flatten() {
        assert!(!rust_files(&[&format!("{NATS_BRIDGE}/{name}.rs")]).is_empty(), "there is no file {name}");
    }
    assert_none(out_of_order(NATS_BRIDGE, &order, Peers::Refused));
}

/// Whether a module may use another one of its own group.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Peers {
    Allowed,
    Refused,
}

/// Uses of modules in this folder that are against the order of its groups, lowest first.
fn out_of_order(folder: &str, order: &[Vec<String>], peers: Peers) -> Vec<String> {
    let rank = |module: &str| order.iter().position(|modules| modules.iter().any(|name| name == module));
    let root = folder["src/".len()..].replace('/', "::") + "::";
    let mut found = Vec::new();
    for file in rust_files(&[folder]).iter().filter(|file| file.path != format!("{folder}/mod.rs")) {
        let inside = &file.path[folder.len() + 1..];
        if inside == "tests.rs" || inside.starts_with("tests/") {
            continue;
        }
        let own_name = inside.split(['/', '.']).next().unwrap_or_default().to_owned();
        let Some(own) = rank(&own_name) else {
            found.push(format!("{}: not in the order of {folder}", file.path));
            continue;
        };
        let code = code(&file.text);
        let mut used: Vec<String> =
            paths(&code, "crate").iter().filter_map(|path| Some(path.strip_prefix(&root)?.to_owned())).collect();
        if !inside.contains('/') {
            used.extend(paths(&code, "super").into_iter().filter(|path| path != "*"));
        }
        let is_test = inside.contains("/tests");
        for path in used {
            let target = path.split("::").next().unwrap_or_default();
            let is_below = rank(target)
                .is_some_and(|layer| layer < own || (layer == own && (peers == Peers::Allowed || target == own_name)));
            // A test may look at more than its subject.
            if !is_test && !is_below {
                found.push(format!("{}: uses {path}, which is not below it", file.path));
            }
        }
    }
    found
}

#[test]
fn the_protocol_sees_bytes_and_no_sockets_clocks_or_threads() {
    let mut found = Vec::new();
    for file in rust_files(&["src/protocol", "src/protocol.rs"]) {
        for path in paths(&code(&file.text), "std") {
            let module = path.split("::").next().unwrap_or_default();
            if IMPURE.contains(&module) && !ADDRESSES.iter().any(|allowed| path.starts_with(allowed)) {
                found.push(format!("{}: uses std::{path}", file.path));
            }
        }
    }
    assert_none(found);
}

#[test]
fn a_use_tree_is_read_to_its_end() {
    let code = "use crate::{error::{Fault, Reason as R}, config::Config,\n  protocol};\nlet x = crate::engine::hub::Hub::new();\nfn f() -> mycrate::X;";
    let expected = ["error::Fault", "error::Reason as R", "config::Config", "protocol", "engine::hub::Hub::new"];
    assert_eq!(paths(code, "crate"), expected);
    assert_eq!(paths("use std::net::*;", "std"), ["net::*"]);
}

/// Every path below `root::` in `code`, with braces resolved.
fn paths(code: &str, root: &str) -> Vec<String> {
    let mut found = Vec::new();
    let start = format!("{root}::");
    for (at, _) in code.match_indices(&start) {
        let joined = code[..at].ends_with(|c: char| c.is_alphanumeric() || "_:$".contains(c));
        if !joined {
            expand("", &code[at + start.len()..], &mut found);
        }
    }
    found
}

/// Reads one use tree from the start of `rest`, adds its paths, and returns the text behind it.
fn expand<'a>(prefix: &str, rest: &'a str, found: &mut Vec<String>) -> &'a str {
    let end = rest.find(|c: char| !(c.is_alphanumeric() || "_:* \n".contains(c))).unwrap_or(rest.len());
    let path = rest[..end].split_whitespace().collect::<Vec<_>>().join(" ");
    let Some(mut rest) = rest[end..].strip_prefix('{') else {
        if !path.is_empty() {
            found.push(format!("{prefix}{path}"));
        }
        return &rest[end..];
    };
    let prefix = format!("{prefix}{path}");
    loop {
        rest = expand(&prefix, rest, found);
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => return rest.trim_start_matches(|c| c != '}').strip_prefix('}').unwrap_or_default(),
        }
    }
}
