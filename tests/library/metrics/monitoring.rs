//! tools/deploy/monitoring: the dashboard, the alert rules and the scrape name only what is there.

use std::{collections::BTreeSet, env, fs, path::PathBuf, process::Command};

use super::text::{REQUIRED, full_server};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tools/deploy/monitoring")
}

fn file(name: &str) -> String {
    fs::read_to_string(folder().join(name)).expect("the file is there")
}

/// The metrics that a file names.
fn named(file: &str) -> BTreeSet<String> {
    let words = file.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("lhttp_") || word.starts_with("process_")).map(str::to_owned).collect()
}

#[test]
fn every_metric_that_the_dashboard_and_the_alerts_name_exists() {
    let text = full_server().metrics().text();
    let page = fs::read_to_string(folder().join("../../../docs/METRICS.md")).expect("the page");
    for name in ["grafana.json", "lhttpd.rules.yml"] {
        let metrics = named(&file(name));
        assert!(metrics.len() > 15, "{name}: {metrics:?}");
        for metric in metrics {
            let is_there = |line: &str| line.strip_prefix(&metric).is_some_and(|rest| rest.starts_with(['{', ' ']));
            // `full_server` has no TLS.
            let has_page = metric.starts_with("lhttp_tls_certificate_") && page.contains(&format!("`{metric}`"));
            assert!(text.lines().any(is_there) || has_page, "{name}: there is no {metric}");
        }
    }
}

#[test]
fn every_reason_that_they_ask_for_exists() {
    let text = full_server().metrics().text();
    for name in ["grafana.json", "lhttpd.rules.yml"] {
        let file = file(name).replace("\\\"", "\"");
        for label in ["reason", "result", "direction", "transport"] {
            for (at, _) in file.match_indices(&format!("{label}=\"")) {
                let value = file[at + label.len() + 2..].split('"').next().expect("it ends");
                assert!(text.contains(&format!("{label}=\"{value}\"")), "{name}: {label}={value}");
            }
        }
    }
}

#[test]
fn the_dashboard_is_json_and_each_panel_has_a_query() {
    let dashboard: serde_json::Value = serde_json::from_str(&file("grafana.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    assert!(panels.len() > 10);
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().expect("queries");
        assert!(!targets.is_empty() && targets.iter().all(|target| target["expr"].is_string()), "{}", panel["title"]);
    }
}

#[test]
fn promtool_takes_the_rules_and_the_scrape() {
    for (check, name) in
        [(&["check", "rules"][..], "lhttpd.rules.yml"), (&["check", "config", "--syntax-only"], "prometheus.yml")]
    {
        let Ok(output) = Command::new("promtool").args(check).arg(folder().join(name)).output() else {
            assert!(env::var_os(REQUIRED).is_none(), "{REQUIRED} is set, and promtool is missing");
            println!("skipped: promtool is missing");
            return;
        };
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&said));
    }
}
