//! docs/openapi.json against the server: each operation, and no path of the server is missing in the file.

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::{Map, Value, json};

use crate::helpers::{
    admin::{ADMIN, admin_port, ask_with},
    client::Client,
    daemon::Daemon,
    http::Response,
    message::chat,
    on_one_and_two_cores,
    scratch::Scratch,
};

on_one_and_two_cores!(each_operation_answers_as_documented, errors_have_their_documented_form,);

const RULES: &str = "
    [[channel]]
    match = \"room\"
    history = 100
    presence = true
";
const KEY: &str = "Authorization: Bearer hunter2\r\n";
/// These lists are not empty in the test, so that their items are checked.
const LISTS: [&str; 4] = ["channels", "connections", "messages", "users"];

struct Documented {
    document: Value,
    daemon: Daemon,
    port: u16,
    _scratch: Scratch,
}

impl Documented {
    fn start(cores: usize) -> Self {
        let scratch = Scratch::new();
        let file = scratch.write("lhttpd.toml", RULES);
        let args = [&ADMIN[..], &["--config", &file]].concat();
        let daemon = Daemon::start_with_variable(cores, "LHTTP_ADMIN_KEY", "hunter2", &args);
        Self { document: document(), port: admin_port(&daemon), daemon, _scratch: scratch }
    }

    /// A client in the channel of the examples, which has published something there.
    fn client(&self) -> Client {
        let mut client = Client::connect(self.daemon.port());
        client.say(&chat(&["subscribe:room", "publish:room", "presence-info:here", "ack:1"], "hi"));
        while !client.recv().payload.starts_with(b"LHTTP/1.0 ack") {}
        client
    }

    fn ask(&self, method: &str, target: &str, lines: &str, body: &Value) -> Response {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        ask_with(self.port, &method.to_uppercase(), target, lines, &body)
    }

    /// Fails the test unless the operation may have this answer.
    #[track_caller]
    fn check(&self, operation: &Value, response: &Response, status: u16) -> Value {
        let id = &operation["operationId"];
        let text = response.body_text();
        assert_eq!(response.status, status, "{id}: {text}");
        let documented = self.resolved(&operation["responses"][status.to_string()]);
        let media = response.header("content-type").and_then(|media| media.split(';').next()).unwrap_or_default();
        let schema = &documented["content"][media]["schema"];
        assert!(schema.is_object(), "{id}: {status} with {media} is not documented: {text}");
        let value = if media == "application/json" { serde_json::from_str(text).expect("JSON") } else { json!(text) };
        self.check_value(schema, &value, &format!("{id}: {text}"));
        value
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        let Some(name) = value["$ref"].as_str() else { return value };
        let pointer = name.strip_prefix('#').expect("it refers to this file");
        self.document.pointer(pointer).unwrap_or_else(|| panic!("there is no {name}"))
    }

    #[track_caller]
    fn check_value(&self, schema: &Value, value: &Value, at: &str) {
        let schema = self.resolved(schema);
        let of_value = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_u64() => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let is_type = match &schema["type"] {
            Value::Null => true,
            Value::Array(types) => types.iter().any(|name| name == of_value),
            name => name == of_value,
        };
        assert!(is_type, "{value} is no {}: {at}", schema["type"]);
        for item in value.as_array().into_iter().flatten() {
            self.check_value(&schema["items"], item, at);
        }
        let Value::Object(members) = value else { return };
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            assert!(members.contains_key(name), "{name} is missing: {at}");
        }
        for (name, member) in members {
            match (schema["properties"].get(name), &schema["additionalProperties"]) {
                (Some(schema), _) | (None, schema @ Value::Object(_)) => self.check_value(schema, member, at),
                _ => panic!("{name} is not documented: {at}"),
            }
        }
    }
}

fn document() -> Value {
    serde_json::from_str(include_str!("../../../docs/openapi.json")).expect("JSON")
}

fn operations(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    paths.iter().flat_map(move |(path, operations)| {
        operations.as_object().expect("operations").iter().map(move |(method, operation)| (path, method, operation))
    })
}

/// The target of an operation with the examples of its parameters.
fn target(path: &str, operation: &Value, id: &str) -> String {
    let (mut target, mut query) = (path.replace("{id}", id), Vec::new());
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().expect("a name");
        let Some(example) = parameter.get("example") else { continue };
        let example = example.as_str().map_or_else(|| example.to_string(), str::to_owned);
        match parameter["in"].as_str() {
            Some("path") => target = target.replace(&format!("{{{name}}}"), &example),
            _ => query.push(format!("{name}={example}")),
        }
    }
    if query.is_empty() { target } else { format!("{target}?{}", query.join("&")) }
}

fn each_operation_answers_as_documented(cores: usize) {
    let server = Documented::start(cores);
    for (path, method, operation) in operations(&server.document) {
        let _client = server.client();
        let list = ask_with(server.port, "GET", "/api/connections?channel=room", KEY, "");
        let list: Value = serde_json::from_str(list.body_text()).expect("JSON");
        let id = list["connections"][0]["id"].as_str().expect("the client");
        let target = target(path, operation, id);
        let example = &operation["requestBody"]["content"]["application/json"]["example"];
        let value = server.check(operation, &server.ask(method, &target, KEY, example), 200);
        for list in LISTS.iter().filter_map(|name| value[*name].as_array()) {
            assert!(!list.is_empty(), "{method} {target}: {value}");
        }
        if operation["security"] == json!([]) {
            continue;
        }
        server.check(operation, &server.ask(method, &target, "", example), 401);
        server.check(operation, &server.ask(method, &target, &format!("{KEY}Origin: http://evil\r\n"), example), 403);
        let is_post = method == "post";
        let (wrong, body) = if is_post { (target.clone(), json!([])) } else { (format!("{path}?no=1"), Value::Null) };
        let takes_query = is_post || operation["parameters"].as_array().is_some_and(|all| all.len() > 1);
        if takes_query {
            server.check(operation, &server.ask(method, &wrong, KEY, &body), 400);
        }
        let other = ask_with(server.port, "PUT", &target, KEY, "");
        assert_eq!(other.status, 405, "{target}");
        let allowed: BTreeSet<_> =
            other.header("allow").expect("405 has it").split(", ").map(str::to_lowercase).collect();
        let of_path = server.document["paths"][path].as_object().expect("operations");
        assert_eq!(allowed, of_path.keys().cloned().collect(), "{target}");
    }
}

fn errors_have_their_documented_form(cores: usize) {
    let server = Documented::start(cores);
    let message = |more: Value| {
        let mut message = json!({ "channels": ["room"] });
        message.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        message
    };
    let lines: Map<String, Value> = (0..64).map(|number| (format!("h{number}"), json!(""))).collect();
    let many: Vec<String> = (0..33).map(|number| number.to_string()).collect();
    for (path, method, target, body, status) in [
        ("/api/publish", "post", "/api/publish", message(json!({ "idempotency_key": "k" })), 200),
        ("/api/publish", "post", "/api/publish", message(json!({ "idempotency_key": "k", "body": "" })), 409),
        ("/api/publish", "post", "/api/publish", message(json!({ "channels": ["$SYS"] })), 403),
        ("/api/publish", "post", "/api/publish", message(json!({ "channels": many })), 429),
        ("/api/publish", "post", "/api/publish", message(json!({ "headers": lines })), 431),
        ("/api/publish", "post", "/api/publish", message(json!({ "body": "x".repeat(65_536) })), 413),
        ("/api/publish", "post", "/api/publish", message(json!({ "body": "x".repeat(1 << 20) })), 413),
        ("/api/batch", "post", "/api/batch", json!({ "messages": [message(json!({ "channels": ["$SYS"] }))] }), 403),
        ("/api/batch", "post", "/api/batch", json!({ "messages": [message(json!({ "channels": many }))] }), 429),
        ("/api/batch", "post", "/api/batch", json!({ "messages": vec![message(json!({})); 1001] }), 400),
        ("/api/subscribe", "post", "/api/subscribe", json!({ "channels": ["x".repeat(1 << 20)] }), 413),
        ("/api/channels/{name}/messages", "get", "/api/channels/plain/messages", Value::Null, 404),
        ("/api/channels/{name}/messages", "delete", "/api/channels/plain/messages", Value::Null, 404),
        ("/api/channels/{name}/messages", "get", "/api/channels/%20/messages", Value::Null, 400),
        ("/api/channels/{name}/presence", "get", "/api/channels/plain/presence", Value::Null, 404),
        ("/api/channels/{name}", "get", "/api/channels/a..b", Value::Null, 400),
        ("/api/connections/{id}", "get", "/api/connections/0-999-0", Value::Null, 404),
        ("/api/connections/{id}", "get", "/api/connections/0", Value::Null, 400),
    ] {
        let operation = &server.document["paths"][path][method];
        server.check(operation, &server.ask(method, target, KEY, &body), status);
    }
}

#[test]
fn each_operation_has_a_curl_line_in_the_documentation_that_works() {
    let page = include_str!("../../../docs/ADMIN.md");
    let (_, lines) = page.split_once("With a key each line has").expect("the lines");
    let lines: Vec<_> = lines.lines().filter(|line| line.starts_with("curl ")).collect();
    let server = Documented::start(1);
    let mut found = BTreeSet::new();
    for line in &lines {
        let _client = server.client();
        let (_, target) = line.split_once("127.0.0.1:9091").expect("an address");
        let path = target.split(['?', '\'', ' ']).next().unwrap_or_default();
        let path = path.replace("/room", "/{name}").replace("/0-12-345", "/{id}");
        let method = if line.contains("-X DELETE") {
            "delete"
        } else if line.contains(" -d ") {
            "post"
        } else {
            "get"
        };
        found.insert((path.clone(), method.to_owned()));
        let line = line.replace("127.0.0.1:9091", &format!("127.0.0.1:{}", server.port));
        let options = "-H 'Authorization: Bearer hunter2' -o /dev/null -w '%{http_code}'";
        let output = Command::new("sh").arg("-c").arg(format!("{line} {options}")).output().expect("there is a shell");
        if output.status.code() == Some(127) {
            return eprintln!("SKIPPED: there is no curl");
        }
        let status = String::from_utf8_lossy(&output.stdout);
        // The connection of the example is not there.
        assert_eq!(status, if path.ends_with("{id}") { "404" } else { "200" }, "{line}");
    }
    let all = operations(&server.document).map(|(path, method, _)| (path.clone(), method.clone()));
    assert_eq!(found, all.collect::<BTreeSet<_>>());
}

#[test]
fn the_file_has_all_paths_of_the_server_with_their_methods() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/application/admin/wanted.rs");
    let source = fs::read_to_string(source).expect("the source is there");
    // An arm looks like this: ["api", "channels", _] => ("GET", …
    let arms = source.lines().map(str::trim).filter(|line| line.starts_with("[\"") && line.contains("=> (\""));
    let of_server: BTreeSet<(String, String)> = arms
        .flat_map(|line| {
            let (segments, rest) = line[1..].split_once(']').expect("a pattern");
            let path: String = segments.split(", ").map(|segment| format!("/{}", segment.trim_matches('"'))).collect();
            let methods = rest.split('"').nth_back(1).expect("the methods");
            let methods: Vec<_> = methods.split(", ").map(|method| (path.clone(), method.to_lowercase())).collect();
            methods
        })
        .collect();
    assert!(of_server.len() > 5, "the source has another form: {of_server:?}");
    let document = document();
    let in_file = operations(&document).filter(|(path, ..)| *path != "/healthz").map(|(path, method, _)| {
        let segments = path.split('/').map(|segment| if segment.starts_with('{') { "_" } else { segment });
        (segments.collect::<Vec<_>>().join("/"), method.clone())
    });
    assert_eq!(in_file.collect::<BTreeSet<_>>(), of_server);
}
