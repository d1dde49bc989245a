//! What `admin` tells of the server: figures, the configuration, the busiest channels, the slowest readers, the page.

use serde_json::{Value, json};

use crate::helpers::{
    admin::{ADMIN, admin_port, ask_with, get},
    client::Client,
    daemon::Daemon,
    on_one_and_two_cores,
    scratch::Scratch,
    wait_for,
};

on_one_and_two_cores!(
    the_figures_are_those_of_all_cores,
    the_busiest_channels_are_named_with_their_rates,
    a_reader_that_reads_nothing_is_the_slowest_one,
);

fn start(cores: usize, args: &[&str]) -> (Daemon, u16) {
    let daemon = Daemon::start(cores, &[&ADMIN[..], args].concat());
    let port = admin_port(&daemon);
    (daemon, port)
}

fn the_figures_are_those_of_all_cores(cores: usize) {
    let (daemon, port) = start(cores, &[]);
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(daemon.port())).collect();
    clients.iter_mut().for_each(|client| client.subscribe_acked("room other"));
    for number in 0..10 {
        clients[0].say(&format!("LHTTP/1.0 chat\r\npublish:room\r\n\r\n{number}"));
    }
    let status = || get(port, "/api/status");
    wait_for(|| status()["stats"]["delivered"] == 80);
    let status = status();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["uptime"].as_f64().is_some_and(|seconds| seconds > 0.0));
    assert!(status["time"].as_f64() > status["started"].as_f64());
    let stats = &status["stats"];
    assert_eq!(
        (&stats["websockets"], &stats["subscriptions"], &stats["published"]),
        (&json!(8), &json!(16), &json!(10))
    );
    let of_cores = status["cores"].as_array().expect("a list");
    assert_eq!(of_cores.len(), cores);
    let sum = |name: &str| of_cores.iter().map(|core| core[name].as_u64().expect("a number")).sum::<u64>();
    assert_eq!((sum("subscriptions"), sum("delivered")), (16, 80));
    assert!(of_cores.iter().all(|core| core["busy_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0)), "{status}");
    let latency = &status["latency"];
    let counts = |name: &str| {
        let counts = latency[name]["counts"].as_array().expect("a list");
        assert_eq!(counts.len(), latency["bounds"].as_array().map_or(0, Vec::len), "{name}");
        counts.iter().filter_map(Value::as_u64).sum::<u64>()
    };
    assert_eq!((counts("deliveries"), counts("handshakes")), (80, 8));
    assert!(counts("turns") > 0);
    assert!(status["memory"]["budget_bytes"].as_u64() > status["memory"]["kept_bytes"].as_u64());
    assert!(status["memory"]["resident_bytes"].as_u64() > Some(1 << 20), "{status}");
    assert!(status["process"]["cpu_seconds"].as_f64() > Some(0.0), "{status}");
    assert_eq!((&status["nats"], &status["upstream"], &status["tls"]), (&Value::Null, &Value::Null, &Value::Null));
    clients[1].say("LHTTP/1.0 chat\r\npublish:*\r\n\r\n");
    drop(clients.pop());
    wait_for(|| {
        let reasons = &get(port, "/api/status")["reasons"];
        let ended = &reasons["connections_ended"];
        let of_client = ["client", "lost"].map(|reason| ended[reason].as_u64().unwrap_or(0)).iter().sum::<u64>();
        of_client >= 1 && reasons["messages_refused"]["bad-channel"] == 1
    });
}

fn the_busiest_channels_are_named_with_their_rates(cores: usize) {
    let (daemon, port) = start(cores, &[]);
    assert_eq!(get(port, "/api/top"), json!({ "busiest": [], "slowest": [] }));
    let mut client = Client::connect(daemon.port());
    let publish = |client: &mut Client| {
        for (channel, times) in [("often", 20), ("sometimes", 5), ("rarely", 1)] {
            (0..times).for_each(|_| client.say(&format!("LHTTP/1.0 chat\r\npublish:{channel}\r\n\r\n")));
        }
    };
    let names = |top: &Value| -> Vec<String> {
        let busiest = top["busiest"].as_array().expect("a list").iter();
        busiest.map(|channel| channel["name"].as_str().expect("a name").to_owned()).collect()
    };
    wait_for(|| {
        publish(&mut client);
        names(&get(port, "/api/top")) == ["often", "sometimes", "rarely"]
    });
    let top = get(port, "/api/top?limit=1");
    assert_eq!(names(&top), ["often"]);
    assert!(top["busiest"][0]["messages_per_second"].as_f64() > Some(1.0), "{top}");
}

fn a_reader_that_reads_nothing_is_the_slowest_one(cores: usize) {
    let (daemon, port) = start(cores, &["--send-buffer", "4KiB", "--outbox-max", "60MiB"]);
    let mut slow = Client::connect(daemon.port());
    slow.subscribe_acked("room");
    let mut publisher = Client::connect(daemon.port());
    let message = format!("LHTTP/1.0 chat\r\npublish:room\r\n\r\n{}", "x".repeat(60_000));
    let mut top = Value::Null;
    wait_for(|| {
        (0..20).for_each(|_| publisher.say(&message));
        top = get(port, "/api/top");
        top["slowest"][0]["backlog_bytes"].as_u64() > Some(1_000_000)
    });
    let slowest = top["slowest"].as_array().expect("a list");
    assert_eq!(slowest.len(), 1, "{top}");
    let of_room = get(port, "/api/connections?channel=room");
    assert_eq!(slowest[0]["id"], of_room["connections"][0]["id"]);
    assert_eq!(slowest[0]["address"], of_room["connections"][0]["address"]);
    wait_for(|| get(port, "/api/top")["slowest"][0]["backlog_seconds"].as_f64() > Some(0.2));
    drop(slow);
    wait_for(|| get(port, "/api/top")["slowest"] == json!([]));
}

#[test]
fn the_configuration_is_told_as_it_runs_without_its_secrets() {
    let args = ["--publish-key", "hunter2", "--max-subscriptions", "17", "--idle-timeout", "90s"];
    let (_daemon, port) = start(1, &args);
    let text = String::from_utf8(ask_with(port, "GET", "/api/configuration", "", "").body).expect("UTF-8");
    assert!(!text.contains("hunter2"), "{text}");
    let configuration: Value = serde_json::from_str(&text).expect("JSON");
    let option = |name: &str| {
        let options = configuration["options"].as_array().expect("a list");
        options.iter().find(|option| option["name"] == name).unwrap_or_else(|| panic!("no {name} in {text}")).clone()
    };
    assert_eq!(option("publish-key")["value"], json!(["set"]));
    assert_eq!(option("admin-key")["value"], Value::Null);
    let (changed, default) = (option("max-subscriptions"), option("max-message"));
    assert_eq!((&changed["value"], &changed["is_set"]), (&json!(["17"]), &json!(true)));
    assert_eq!((&default["value"], &default["is_set"]), (&json!(["64KiB"]), &json!(false)));
    assert_eq!(option("idle-timeout")["value"], json!(["1m 30s"]));
}

#[test]
fn a_reload_shows_in_the_configuration() {
    let scratch = Scratch::new();
    let write = |text: &str| scratch.write("lhttpd.toml", text);
    let path = write("[limits]\nmax-subscriptions = 5\n[[channel]]\nmatch = \"a\"\nhistory = 3\n");
    let (daemon, port) = start(1, &["--config", &path]);
    let shown = |port| {
        let configuration = get(port, "/api/configuration");
        let options = configuration["options"].as_array().expect("a list").iter();
        let of = options.filter(|option| option["name"] == "max-subscriptions").map(|option| option["value"].clone());
        (of.collect::<Vec<_>>(), configuration["channels"].clone())
    };
    assert_eq!(shown(port), (vec![json!(["5"])], json!(["match = \"a\", history = 3"])));
    write("[limits]\nmax-subscriptions = 6\n");
    daemon.signal("HUP");
    wait_for(|| shown(port) == (vec![json!(["6"])], json!([])));
}

#[test]
fn the_page_and_its_parts_may_load_and_ask_this_address_alone() {
    let (_daemon, port) = start(1, &[]);
    for (target, content_type) in [("/", "text/html"), ("/page.js", "text/javascript"), ("/style.css", "text/css")] {
        let response = ask_with(port, "GET", target, "", "");
        assert_eq!(response.status, 200, "{target}");
        assert!(response.header("content-type").is_some_and(|value| value.starts_with(content_type)), "{target}");
        let policy = response.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("inline"), "{policy}");
        assert_eq!(ask_with(port, "HEAD", target, "", "").status, 200, "{target}");
        assert_eq!(ask_with(port, "POST", target, "", "x").status, 404, "{target}");
    }
    let whole: usize = ["/", "/style.css", "/page.js", "/charts.js", "/figures.js", "/icon.svg"]
        .map(|target| ask_with(port, "GET", target, "", "").body.len())
        .iter()
        .sum();
    assert!((10_000..60_000).contains(&whole), "{whole} bytes");
}
