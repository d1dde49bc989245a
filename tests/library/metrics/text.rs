//! The text as a whole: its format, its size, and what it must not say.

use std::{
    collections::HashSet,
    env, fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use lhttp::{Config, Handle, Metrics};

use super::series::value;
use crate::helpers::{Client, start, start_with_cores};

/// If this variable is set, a test that misses promtool fails.
pub(super) const REQUIRED: &str = "LHTTP_REQUIRE_PROMTOOL";

/// A server that has everything that has metrics of its own, except for TLS.
pub(super) fn full_server() -> Handle {
    let mut config = Config::default();
    if cfg!(feature = "nats") {
        config.nats = Some("127.0.0.1:1".into()); // nobody answers there
    }
    if cfg!(feature = "upstream") {
        config.upstream_allow = vec!["http://127.0.0.1:1/".into()];
    }
    start(|builder| builder.config(config))
}

/// The types that the text declares, by the name of the metric.
fn types(text: &str) -> Vec<(&str, &str)> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

#[test]
fn the_text_is_openmetrics() {
    let server = full_server();
    let _client = Client::connect(server.local_addrs()[0]);
    let text = server.metrics().text();
    assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1);
    assert_eq!(Metrics::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let (mut name, mut kind, mut seen) = ("", "", HashSet::new());
    for line in text.lines().take_while(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (next, help) = rest.split_once(' ').expect("a meaning");
            assert!(!help.is_empty() && !help.contains('"'), "{line}");
            (name, kind) = (next, "");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (of, of_kind) = rest.split_once(' ').expect("a type");
            assert!(of == name && kind.is_empty(), "{line}");
            kind = of_kind;
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (of, unit) = rest.split_once(' ').expect("a unit");
            assert!(of == name && of.ends_with(unit), "{line}");
        } else {
            let (series, number) = line.rsplit_once(' ').expect("a value");
            let suffix = series.split('{').next().and_then(|shown| shown.strip_prefix(name)).expect("its family");
            let suffixes: &[&str] = match kind {
                "counter" => &["_total"],
                "gauge" => &[""],
                "histogram" => &["_bucket", "_sum", "_count"],
                "info" => &["_info"],
                other => panic!("{line}: type {other}"),
            };
            assert!(suffixes.contains(&suffix), "{line}");
            assert!(number.parse::<f64>().is_ok_and(|number| number >= 0.0), "{line}");
            assert!(seen.insert(series.to_owned()), "twice: {line}");
        }
    }
    assert!(seen.len() > 200, "{} series", seen.len());
}

#[test]
fn the_page_in_docs_has_every_metric_of_the_text() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/METRICS.md")).expect("the page");
    let text = full_server().metrics().text();
    for (name, kind) in types(&text) {
        let suffix = if kind == "counter" { "_total" } else { "" };
        assert!(page.contains(&format!("`{name}{suffix}")), "{name} is missing");
    }
}

#[test]
fn no_series_names_a_channel_or_a_user_and_more_of_them_add_none() {
    let server = start(|builder| builder);
    let mut client = Client::connect(server.local_addrs()[0]);
    let series = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    let before = server.metrics().text();
    for number in 0..50 {
        client.subscribe(&format!("secret{number}.room"));
        let message = format!("LHTTP/1.0 c\r\npublish:secret{number}.room\r\n\r\n");
        client.say(&message);
        client.expect(&message);
    }
    super::series::wait_for_value(&server, "lhttp_channels", 50.0);
    let text = server.metrics().text();
    assert!(!text.contains("secret"));
    assert_eq!(series(&text), series(&before));
    let labels =
        |line: &str| line.split(['{', ',']).filter_map(|part| Some(part.split_once('=')?.0.to_owned())).collect();
    let labels: HashSet<String> =
        text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| -> Vec<String> { labels(line) }).collect();
    let known = ["core", "direction", "le", "reason", "result", "transport", "version"];
    assert!(labels.iter().all(|label| known.contains(&label.as_str())), "{labels:?}");
}

#[test]
fn what_a_server_does_not_have_is_left_out() {
    let text = start(|builder| builder).metrics().text();
    let prefixes = ["lhttp_nats_", "lhttp_upstream_", "lhttp_tls_certificate_"];
    let found = types(&text).into_iter().find(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)));
    assert_eq!(found, None);
}

#[test]
fn the_version_and_the_process_are_there() {
    let server = start_with_cores(1, |builder| builder);
    assert_eq!(value(&server, &format!("lhttp_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))), 1.0);
    let cpu = value(&server, "process_cpu_seconds_total");
    crate::helpers::wait_for(|| value(&server, "process_cpu_seconds_total") > cpu);
    let open = value(&server, "process_open_fds");
    let more: Vec<_> = (0..200).map(|_| fs::File::open("/dev/null").expect("a file")).collect();
    // Other tests in this process open and close some, too.
    crate::helpers::wait_for(|| value(&server, "process_open_fds") > open);
    drop(more);
    assert!(value(&server, "process_max_fds") > 200.0);
    assert!(value(&server, "process_start_time_seconds") > 1e9);
    assert!(value(&server, "process_resident_memory_bytes") > 1e6);
    assert!(value(&server, "process_virtual_memory_bytes") > 1e6);
}

#[test]
fn promtool_finds_nothing_to_blame() {
    let Ok(mut promtool) = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    else {
        assert!(env::var_os(REQUIRED).is_none(), "{REQUIRED} is set, and promtool is missing");
        println!("skipped: promtool is missing");
        return;
    };
    let text = full_server().metrics().plain_text();
    promtool.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("promtool reads");
    let output = promtool.wait_with_output().expect("promtool ends");
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}
