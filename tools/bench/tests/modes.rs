//! `lhttp-bench` as its user runs it: each mode once, small, with its figures. The tests do not check the values,
//! because other work on this machine may change them.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lhttp-bench");

/// Set where nats-server is installed: then a test that cannot run it fails.
const NATS_REQUIRED: &str = "LHTTP_REQUIRE_NATS_SERVER";

/// True if nats-server can be run; prints a line if not.
fn has_nats_server() -> bool {
    let version = Command::new("nats-server").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = version.is_ok();
    assert!(found || env::var_os(NATS_REQUIRED).is_none(), "nats-server is required ({NATS_REQUIRED}) and missing");
    if !found {
        eprintln!("SKIPPED: there is no nats-server");
    }
    found
}

/// Runs a mode.
fn bench(arguments: &[&str]) -> Output {
    command(arguments).output().expect("lhttp-bench runs")
}

/// The command of a mode. Where possible the generator sleeps while it waits, because other tests run beside it.
fn command(arguments: &[&str]) -> Command {
    lhttpd();
    let mut command = Command::new(PROGRAM);
    command.args(arguments).args(["--wait", "sleep"]);
    command
}

/// Runs a mode and returns its report.
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

/// True if lhttpd knows this option; prints a line if not. A build without the option's feature has none.
fn lhttpd_has(option: &str) -> bool {
    let help = Command::new(lhttpd()).arg("--help").output().expect("lhttpd runs").stdout;
    let found = String::from_utf8_lossy(&help).contains(option);
    if !found {
        eprintln!("SKIPPED: this lhttpd has no {option}");
    }
    found
}

/// The program of another package, which cargo does not build for this one's tests.
fn lhttpd() -> PathBuf {
    let lhttpd = Path::new(PROGRAM).with_file_name("lhttpd");
    assert!(lhttpd.exists(), "there is no {}: `cargo test` in the repository's root builds it", lhttpd.display());
    lhttpd
}

/// True if Bun is where lhttp-bench looks for it.
fn has_bun() -> bool {
    let found =
        !String::from_utf8_lossy(&bench(&["rtt", "-n", "1", "--server", "bun"]).stderr).contains("not installed");
    if !found {
        eprintln!("SKIPPED: there is no Bun");
    }
    found
}

#[test]
fn servers_are_measured_over_tls() {
    let servers = [("lhttp", lhttpd_has(" --tls-cert")), ("nats", has_nats_server()), ("bun", has_bun())];
    for server in servers.into_iter().filter(|(_, found)| *found).map(|(name, _)| name) {
        let over_tls = ["--tls", "--server", server];
        let measures_tls = |mode: &[&str], figures: &[&str]| measures(&[mode, &over_tls].concat(), figures);
        measures_tls(&["burst", "-n", "2000", "--rounds", "2"], &["median_ms"]);
        measures_tls(&["burst", "-n", "200", "--rounds", "2", "--write", "one"], &["median_ms"]);
        // No more than an outbox holds: the tool may be slow here.
        measures_tls(
            &["fanout", "--subs", "20", "-n", "30", "--rounds", "2", "--body", "30000"],
            &["deliveries_per_s"],
        );
        measures_tls(&["rate", "--subs", "5", "--rate", "500", "--secs", "0.2"], &["p99_us"]);
        measures_tls(&["idle", "-n", "50"], &["cpu_us_per_connect"]);
    }
}

#[test]
fn clients_that_come_back_use_their_tickets_if_they_may() {
    let small = ["comeback", "--clients", "60", "--at-once", "30", "--subs", "2", "--rate", "100", "--secs", "0.2"];
    let figures = ["cpu_ms", "back_after_ms", "calm_p99_us", "p99_us", "max_us"];
    let plain = report(&small);
    assert!(plain["figures"]["tickets_used"].is_null(), "{plain:#}");
    measures(&small, &figures);
    let servers = [("lhttp", lhttpd_has(" --tls-cert")), ("bun", has_bun())];
    for server in servers.into_iter().filter(|(_, found)| *found).map(|(name, _)| name) {
        let tls = report(&[&small[..], &["--tls", "--server", server]].concat());
        assert_eq!(tls["figures"]["tickets_used"], 0.0, "{tls:#}");
        assert_eq!(tls["figures"]["resumed_tickets_used"], 60.0, "{tls:#}");
        let positive = |name: &&str| tls["figures"][name].as_f64().is_some_and(|value| value > 0.0);
        assert!(figures.iter().chain(&["resumed_cpu_ms", "resumed_p99_us"]).all(positive), "{tls:#}");
    }
}

#[test]
fn a_stall_over_tls_is_measured_beside_one_without() {
    if lhttpd_has(" --tls-cert") {
        let slow = report(&["slow", "--tls", "--stalled", "5", "--healthy", "2", "--mb", "20"]);
        assert_eq!(slow["figures"]["closed_1013"], 5.0, "{slow:#}");
        let figure = |name: &str| slow["figures"][name].as_f64().unwrap_or_default();
        assert!(figure("rss_peak_bytes") > 0.0 && figure("plain_rss_peak_bytes") > 0.0, "{slow:#}");
        memory_after_use(&["--tls"]);
    }
}

#[test]
fn tokens_and_rules_are_measured_beside_none() {
    if lhttpd_has(" --require-token") {
        let small = ["tokens", "-n", "1000", "--rounds", "2"];
        measures(&small, &["burst_time_percent", "burst_cpu_percent", "fanout_time_percent", "fanout_cpu_percent"]);
    }
}

/// Clients that come back, few and fast.
const FEW_RESUME: [&str; 11] =
    ["resume", "--clients", "60", "--per-channel", "25", "--missed", "30", "--subs", "2", "--secs", "0.2"];

/// Runs `resume`, and checks that every client got everything.
fn resumes(more: &[&str]) {
    let resume = report(&[&FEW_RESUME[..], more].concat());
    let figure = |name: &str| resume["figures"][name].as_f64().unwrap_or_else(|| panic!("{name} of {resume:#}"));
    assert_eq!(figure("whole_clients"), 60.0, "{resume:#}");
    let positive =
        ["live_deliveries_per_s", "resumes_per_s", "live_cpu_ms", "resume_cpu_ms", "rss_peak_bytes", "p99_ratio"];
    assert!(positive.iter().all(|name| figure(name) > 0.0), "{resume:#}");
    assert!(figure("cpu_to_live_ratio") >= figure("cpu_with_connects_ratio"), "{resume:#}");
}

#[test]
fn clients_that_resume_get_everything_that_they_have_missed() {
    resumes(&[]);
    if lhttpd_has(" --tls-cert") {
        resumes(&["--tls"]);
    }
    let folder = tempfile("resume");
    if lhttpd_has(" --history-file") {
        let file = folder.join("history.db");
        resumes(&["--history-file", file.to_str().expect("UTF-8")]);
        // The file of before is no fresh start.
        let again = bench(&[&FEW_RESUME[..], &["--history-file", file.to_str().expect("UTF-8")]].concat());
        assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("is there already"));
    }
    fs::remove_dir_all(folder).expect("it is there");
}

/// A new folder.
fn tempfile(name: &str) -> PathBuf {
    let folder = env::temp_dir().join(format!("lhttp-bench-test-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// True if this server can be run; prints a line if not.
fn has_server(name: &str) -> bool {
    let burst = bench(&["burst", "-n", "10", "--rounds", "1", "--server", name]);
    let found = !String::from_utf8_lossy(&burst.stderr).contains("not installed");
    if !found {
        eprintln!("SKIPPED: there is no {name}");
    }
    found
}

#[test]
fn other_servers_that_keep_messages_are_measured_beside_lhttpd() {
    for server in ["jetstream", "nchan"].into_iter().filter(|server| has_server(server)) {
        resumes(&["--server", server]);
        measures(&["burst", "-n", "2000", "--rounds", "2", "--server", server], &["median_ms"]);
    }
    let refused = bench(&["resume", "--server", "floor"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("keeps no messages"));
}

#[test]
fn what_a_history_costs_is_measured_beside_none_and_on_the_disk() {
    let small = ["history", "-n", "2000", "--rounds", "2"];
    measures(&small, &["to_one_plain_ns", "to_one_kept_ns", "to_nobody_kept_ns", "acknowledged_kept_ns"]);
    if lhttpd_has(" --history-file") {
        let folder = tempfile("history");
        let file = folder.join("history.db");
        let on_disk = ["--durable", "2000", "--durable-rounds", "1", "--history-file", file.to_str().expect("UTF-8")];
        let figures = ["durable_publishes_per_s", "durable_ns_per_publish", "disk_syncs_per_s", "disk_mb_per_second"];
        measures(&[&small[..], &on_disk].concat(), &figures);
        fs::remove_dir_all(folder).expect("it is there");
    }
}

#[test]
fn members_that_join_at_once_are_counted() {
    let presence = report(&["presence", "-n", "60", "--secs", "0.1"]);
    let figure = |name: &str| presence["figures"][name].as_f64().unwrap_or_else(|| panic!("{name} of {presence:#}"));
    assert_eq!((figure("listed"), figure("events_listed"), figure("listed_more")), (60.0, 60.0, 0.0), "{presence:#}");
    assert!(figure("events_most") >= 1.0 && figure("events") >= 60.0, "{presence:#}");
    assert!(figure("listed_after_ms") >= 2000.0, "{presence:#}");
}

/// True if Node can run the SDK; prints a line if not.
fn has_node_for_the_sdk() -> bool {
    let script = "new WebSocket('ws://127.0.0.1:1/').onerror = () => {}";
    let output = Command::new("node").args(["--experimental-websocket", "-e", script]).output();
    let found = output.is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("SKIPPED: there is no Node that has a WebSocket");
    }
    found
}

#[test]
fn nothing_acknowledged_is_lost_when_lhttpd_is_killed_under_load() {
    if !lhttpd_has(" --history-file") {
        return;
    }
    let listens = has_node_for_the_sdk();
    for cores in [None, Some(on_all_cpus())] {
        let more = if listens { "--sdk=sdk/javascript/dist/lhttp.mjs" } else { "--without-sdk" };
        let mut command = command(&["crash", "--rounds", "5", more, "--json"]);
        command.args(cores);
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the repository");
        let output = command.current_dir(root).output().expect("lhttp-bench runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let crash: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let figure = |name: &str| crash["figures"][name].as_f64();
        assert!(figure("acknowledged").is_some_and(|acknowledged| acknowledged >= 5.0), "{crash:#}");
        assert_eq!(
            (figure("crashes"), figure("acknowledged_lost"), figure("repeated")),
            (Some(5.0), Some(0.0), Some(0.0))
        );
        let none = listens.then_some(0.0);
        let at_sdk = ["sdk_acknowledged_lost", "sdk_repeated", "sdk_gaps"].map(figure);
        assert_eq!(at_sdk, [none; 3], "{crash:#}");
    }
}

#[test]
fn memory_is_measured_again_after_use_and_a_stall() {
    memory_after_use(&[]);
}

fn memory_after_use(more: &[&str]) {
    let small = ["idle", "-n", "100", "--per-channel", "20", "--after-use", "--stalled", "30"];
    let idle = report(&[&small[..], more].concat());
    let figure = |name: &str| idle["figures"][name].as_f64().unwrap_or_else(|| panic!("{name} of {idle:#}"));
    // So few connections may fit into pages that the server had before.
    assert!(figure("used_bytes_per_connection") >= 0.0 && figure("stalled_bytes_per_connection") >= 0.0, "{idle:#}");
    // Whole channels.
    assert_eq!(figure("stalled_connections"), 40.0, "{idle:#}");
    assert!(figure("stalled_backlog_bytes") > 0.0, "{idle:#}");
}

#[test]
fn connections_are_held_as_the_commands_say() {
    let mut command = command(&["hold", "-n", "30", "--per-channel", "7"]);
    let mut held = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("lhttp-bench runs");
    let mut commands = held.stdin.take().expect("piped");
    let mut answers = BufReader::new(held.stdout.take().expect("piped")).lines();
    let mut ask = |command: &str| -> Value {
        writeln!(commands, "{command}").expect("it reads");
        let answer = answers.next().expect("an answer").expect("text");
        serde_json::from_str(&answer).expect("JSON")
    };
    for _ in 0..2 {
        let opened = ask("open");
        assert_eq!((&opened["live"], &opened["refused"]), (&json!(30), &json!(0)), "{opened}");
        assert_eq!(ask("status")["lost"], 0);
        ask("close");
    }
    drop(commands);
    assert!(held.wait().expect("it ends").success());
}

#[test]
fn what_cannot_be_measured_over_tls_says_so() {
    for (arguments, said) in [
        (&["post", "--url", "wss://127.0.0.1:1"][..], "post knows neither TLS nor tokens"),
        (&["burst", "--tls", "--server", "floor"], "cannot speak TLS"),
        (&["burst", "--token-key", "/nowhere", "--server", "bun"], "knows no tokens"),
        (&["idle", "-n", "100000000"], "this process may have"),
    ] {
        let refused = bench(arguments);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && refused.stdout.is_empty() && text.contains(said), "{text}");
    }
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

/// The argument for an lhttpd with a core on each CPU.
fn on_all_cpus() -> String {
    let status = fs::read_to_string("/proc/self/status").expect("Linux says which CPUs there are");
    let cpus =
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("it is a line of it").trim();
    format!("--lhttpd-arg=--cpu-list={cpus}")
}

#[test]
fn a_daemon_of_several_cores_has_a_cpu_for_each() {
    measures(&["fanout", "--subs", "20", "-n", "200", "--rounds", "2", &on_all_cpus()], &["median_ms"]);
}

#[test]
fn arguments_that_would_measure_nothing_are_refused() {
    for seconds in ["0", "-1", "nan", "inf"] {
        let output = bench(&["rate", &format!("--secs={seconds}")]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && text.contains("must be above 0"), "{seconds}: {text}");
    }
}

#[test]
fn a_hanging_backend_is_measured_beside_none() {
    let small = ["upstream", "--subs", "5", "--rate", "500", "--secs", "0.2", "--rounds", "2"];
    measures(&small, &["p50_us", "p99_us", "calm_p50_us", "calm_p99_us", "upstream_messages"]);
}

#[test]
fn stalls_of_the_machine_are_measured_without_a_server() {
    let stalls = report(&["stalls", "--secs", "0.5", "--late-us", "0"]);
    for cpu in ["server_cpu", "generator_cpu"] {
        let figure = |name: &str| stalls["figures"][format!("{cpu}_{name}")].as_f64().expect("a number");
        // If nothing may wait, all lost time is late; beside other tests some time is lost.
        let (lost, late, longest) = (figure("lost_percent"), figure("late_percent"), figure("longest_us"));
        assert!(lost == late && (0.0..=100.0).contains(&lost) || longest > 500_000.0, "{stalls:#}");
        assert!(lost == 0.0 || longest >= 20.0, "{stalls:#}");
    }
}

#[test]
fn a_missing_server_and_one_that_does_not_start_are_reported_with_the_reason() {
    let missing = bench(&["burst", "--lhttpd", "/nowhere/lhttpd"]);
    let text = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(!missing.status.success() && missing.stdout.is_empty(), "{text}");
    assert!(text.contains("/nowhere/lhttpd") && text.contains("cargo build --release"), "{text}");
    let refused = bench(&["burst", "--lhttpd-arg=--max-message=x"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{text}");
    assert!(text.contains("ended at once") && text.contains("max-message"), "{text}");
}
