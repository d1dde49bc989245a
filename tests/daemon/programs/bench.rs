//! `lhttp-bench` as its user runs it: each mode once, small, with the figures that it is there for. How large they are is
//! not looked at: this machine may do anything else meanwhile.

use std::{
    fs,
    process::{Command, Output},
};

use serde_json::Value;

use crate::helpers::nats::has_nats_server;

/// Runs a mode. Where it can, the generator sleeps while it waits, for other tests run beside it.
fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lhttp-bench"))
        .args(arguments)
        .args(["--wait", "sleep"])
        .output()
        .expect("lhttp-bench runs")
}

/// Runs a mode and gives what it reports.
fn report(arguments: &[&str]) -> Value {
    let output = bench(&[arguments, &["--json"]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}: {errors}", output.status);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    assert_eq!(report["mode"], arguments[0]);
    report
}

/// Runs a mode that must report these figures, each above zero.
fn measures(arguments: &[&str], figures: &[&str]) {
    let report = report(arguments);
    for figure in figures {
        let value = report["figures"][figure].as_f64();
        assert!(value.is_some_and(|value| value > 0.0), "{figure} of {report:#}");
    }
}

#[test]
fn a_burst_is_timed() {
    measures(&["burst", "-n", "2000", "--rounds", "2"], &["median_ms", "rss_bytes"]);
    measures(&["burst", "-n", "200", "--rounds", "2", "--write", "one"], &["median_ms"]);
    measures(&["burst", "-n", "2000", "--rounds", "2", "--server", "floor"], &["median_ms"]);
}

#[test]
fn deliveries_to_many_are_counted() {
    measures(&["fanout", "--subs", "20", "-n", "200", "--rounds", "2"], &["deliveries_per_s"]);
    measures(&["rooms", "--rooms", "5", "--members", "4", "-n", "200", "--rounds", "2"], &["deliveries_per_s"]);
}

#[test]
fn latencies_have_percentiles() {
    let percentiles = ["min_us", "p50_us", "p90_us", "p99_us", "p999_us", "max_us"];
    measures(&["rtt", "-n", "200"], &percentiles);
    measures(&["rate", "--subs", "5", "--rate", "500", "--secs", "0.2"], &percentiles);
}

#[test]
fn idle_connections_and_readers_that_stall_have_their_costs() {
    measures(&["idle", "-n", "200"], &["cpu_us_per_connect", "rss_bytes"]);
    let slow = report(&["slow", "--stalled", "5", "--healthy", "2", "--mb", "20"]);
    assert_eq!(slow["figures"]["closed_1013"], 5.0, "{slow:#}");
}

#[test]
fn a_room_beside_an_attack_is_measured() {
    let small = ["hostile", "--attacks", "errors,partial", "--subs", "2", "--rate", "100", "--secs", "0.3"];
    measures(&small, &["attacks", "worst_p99_us"]);
}

#[test]
fn requests_of_http_are_counted() {
    measures(&["post", "-n", "500", "--rounds", "2"], &["requests_per_s"]);
}

#[test]
fn two_nodes_are_measured_with_a_nats_server_between_them() {
    if !has_nats_server() {
        return;
    }
    let small = ["cluster", "-n", "8000", "--rounds", "3", "--rate", "500", "--secs", "0.2"];
    let of_throughput = ["publishes_per_s", "min_publishes_per_s", "max_publishes_per_s", "nats_ns_per_publish"];
    let of_latency = ["min_us", "p50_us", "p99_us", "min_p99_us", "max_p99_us", "max_us"];
    let cluster = report(&small);
    let figure = |name: &str| cluster["figures"][name].as_f64().unwrap_or_else(|| panic!("{name} of {cluster:#}"));
    assert!(of_throughput.iter().chain(&of_latency).all(|name| figure(name) > 0.0), "{cluster:#}");
    let in_order = |names: [&str; 3]| names.map(figure).is_sorted();
    assert!(in_order(["min_publishes_per_s", "publishes_per_s", "max_publishes_per_s"]), "{cluster:#}");
    assert!(in_order(["min_p99_us", "p99_us", "max_p99_us"]), "{cluster:#}");
    assert!(in_order(["min_us", "p50_us", "max_us"]), "{cluster:#}");
    let throughput = report(&[&small[..], &["--only", "throughput"]].concat());
    assert!(throughput["figures"]["p99_us"].is_null(), "{throughput:#}");
}

#[test]
fn a_daemon_of_several_cores_has_a_cpu_for_each() {
    let status = fs::read_to_string("/proc/self/status").expect("Linux says which CPUs there are");
    let cpus =
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("it is a line of it").trim();
    let argument = format!("--lhttpd-arg=--cpu-list={cpus}");
    measures(&["fanout", "--subs", "20", "-n", "200", "--rounds", "2", &argument], &["median_ms"]);
}

#[test]
fn what_would_measure_nothing_is_refused() {
    for seconds in ["0", "-1", "nan", "inf"] {
        let output = bench(&["rate", &format!("--secs={seconds}")]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && text.contains("must be above 0"), "{seconds}: {text}");
    }
}

#[test]
fn a_backend_that_hangs_is_measured_beside_none() {
    let small = ["upstream", "--subs", "5", "--rate", "500", "--secs", "0.2", "--rounds", "2"];
    measures(&small, &["p50_us", "p99_us", "calm_p50_us", "calm_p99_us", "upstream_messages"]);
}

#[test]
fn a_machine_that_stops_its_cpus_is_seen_without_a_server() {
    let stalls = report(&["stalls", "--secs", "0.5", "--late-us", "0"]);
    for cpu in ["server_cpu", "generator_cpu"] {
        let figure = |name: &str| stalls["figures"][format!("{cpu}_{name}")].as_f64().expect("a number");
        // What is lost is late when nothing may wait; beside other tests something is lost.
        let (lost, late, longest) = (figure("lost_percent"), figure("late_percent"), figure("longest_us"));
        assert!(lost == late && (0.0..=100.0).contains(&lost) || longest > 500_000.0, "{stalls:#}");
        assert!(lost == 0.0 || longest >= 20.0, "{stalls:#}");
    }
}

#[test]
fn a_server_that_is_missing_or_refuses_to_start_is_an_error_that_says_how() {
    let missing = bench(&["burst", "--lhttpd", "/nowhere/lhttpd"]);
    let text = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(!missing.status.success() && missing.stdout.is_empty(), "{text}");
    assert!(text.contains("/nowhere/lhttpd") && text.contains("cargo build --release"), "{text}");
    let refused = bench(&["burst", "--lhttpd-arg=--max-message=x"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{text}");
    assert!(text.contains("ended at once") && text.contains("max-message"), "{text}");
}
