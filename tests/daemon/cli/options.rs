//! Options from flags, the file and the environment, and the errors for invalid ones.

use std::{fs, net::TcpListener, time::Duration};

use lhttp::Config;

use super::process::{assert_refused, run, succeeds, text};
use crate::helpers::scratch::Scratch;

/// The flags that are no options of a server.
const OWN_FLAGS: [&str; 8] = ["config", "check", "health", "demo", "log", "log-format", "help", "version"];

fn options_page() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/OPTIONS.md")).unwrap()
}

#[test]
fn the_help_lists_every_flag_and_the_page_every_option() {
    let (help, page) = (succeeds(&["--help"]), options_page());
    for name in OWN_FLAGS.iter().chain(&Config::NAMES) {
        let flag = format!("--{name}");
        assert!(help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}\n")), "--help lacks {flag}");
        assert!(["help", "version"].contains(name) || page.contains(&format!("`{flag}")), "the page lacks {flag}");
    }
}

#[test]
fn the_help_and_the_page_state_the_real_defaults() {
    let (help, page) = (succeeds(&["--help"]), options_page());
    let default = Config::default();
    let size = |bytes: usize| bytesize::ByteSize(bytes as u64).to_string().replace(".0 ", "");
    let time = |given: Duration| format!("{}s", given.as_secs());
    for (flag, value) in [
        ("--listen", default.listen[0].to_string()),
        ("--max-message", size(default.message_bytes_max)),
        ("--max-head", size(default.head_bytes_max)),
        ("--max-headers", default.headers_max.to_string()),
        ("--max-publish-channels", default.publish_channels_max.to_string()),
        ("--max-http-head", size(default.http_head_bytes_max)),
        ("--outbox-max", size(default.outbox_bytes_max)),
        ("--max-subscriptions", default.subscriptions_max.to_string()),
        ("--subscription-bytes", size(default.subscription_bytes_max)),
        ("--idle-timeout", time(default.idle_timeout)),
        ("--ping-interval", time(default.ping_interval)),
        ("--handshake-timeout", time(default.handshake_timeout)),
        ("--message-timeout", time(default.message_timeout)),
        ("--http-keep-alive", time(default.http_keep_alive)),
        ("--drain", time(default.drain_timeout)),
        ("--busy-poll", default.busy_poll.as_micros().to_string()),
        ("--coalesce", default.coalesce.as_micros().to_string()),
        ("--send-buffer", size(default.send_buffer_bytes)),
        ("--receive-buffer", size(default.receive_buffer_bytes)),
        ("--nats-buffer", size(default.nats_buffer_bytes)),
        ("--upstream-workers", default.upstream_workers.to_string()),
        ("--upstream-queue", default.upstream_queue_max.to_string()),
        ("--upstream-timeout", time(default.upstream_timeout)),
        ("--upstream-response-max", size(default.upstream_response_bytes_max)),
    ] {
        let of_flag = help.split_once(&format!("{flag} ")).unwrap_or_else(|| panic!("--help lacks {flag}")).1;
        let told = of_flag.split_once("[default: ").map(|(_, rest)| rest.split(']').next().unwrap_or_default());
        assert_eq!(told, Some(value.as_str()), "{flag}");
        let row = page.lines().find(|line| line.starts_with(&format!("`{flag} "))).unwrap_or_default();
        assert!(row.contains(&format!("Default: `{value}`")), "the page's {flag} does not say {value}: {row:?}");
    }
}

#[test]
fn the_version_is_that_of_the_crate() {
    assert_eq!(succeeds(&["--version"]).trim(), concat!("lhttpd ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_flag_that_cannot_be_read_is_a_usage_error() {
    for (args, named) in [
        (&["--listen", "localhost"][..], "--listen"),
        (&["--listen", "unix:relative"], "absolute path"),
        (&["--listen", "tls://localhost:443"], "is not an address"),
        (&["--cores", "two"], "--cores"),
        (&["--max-message", "64 potatoes"], "64 potatoes"),
        (&["--idle-timeout", "soon"], "soon"),
        (&["--log", "loud"], "--log"),
        (&["--demo", "9090"], "--demo"),
        (&["--cores", "1", "--cpu-list", "0"], "--cpu-list"),
        (&["--cpu-list", "1024"], "CPU 1024"),
        (&["--no-such-flag"], "--no-such-flag"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(named), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn an_invalid_value_is_reported_in_one_sentence() {
    for (args, named) in [
        (&["--cores", "0"][..], "cores"),
        (&["--cores", "9999"], "cores: 9999"),
        (&["--cpu-list", "0,0"], "twice"),
        (&["--cpu-list", "1023"], "CPU 1023"),
        (&["--max-message", "2GiB", "--outbox-max", "3GiB"], "max-message"),
        (&["--max-message", "1KiB"], "max-head"),
        (&["--outbox-max", "1KiB"], "outbox-max"),
        (&["--memory-budget", "1KiB"], "memory-budget"),
        (&["--max-connections", "0"], "max-connections"),
        (&["--max-connections", "999999999999"], "max-connections"),
        (&["--ping-interval", "61s"], "ping-interval"),
        (&["--handshake-timeout", "0"], "handshake-timeout"),
        (&["--publish-key", ""], "publish-key"),
        (&["--tls-cert", "x"], "tls-cert"),
        (&["--nats-creds", "x"], "nats-creds"),
        (&["--upstream-allow", "example.org"], "example.org"),
        (&["--upstream-allow", "http://h/", "--upstream-response-max", "1MiB"], "outbox-max"),
    ] {
        assert_refused(args, named);
    }
}

#[test]
fn an_unusable_file_is_named_with_its_error() {
    let scratch = Scratch::new();
    for (content, named) in [
        ("max-mesage = 1", "max-mesage"),
        ("cores = 0", "cores"),
        ("cores = \"many\"", "cores"),
        ("max-message = \"much\"", "max-message"),
        ("listen = \"here\"", "listen"),
        ("log = \"loud\"", "log"),
        ("demo = 9090", "demo"),
        ("cores = 1\ncpu-list = \"0\"", "cpu-list"),
        ("\n\ncores =", "line 3"),
        ("[limits]\nmax-mesage = 1", "max-mesage: there is no such option in [limits]; did you mean max-message?"),
        ("[nats]\nurll = \"h\"", "urll: there is no such option in [nats]; did you mean url?"),
        ("idle-timeout = 1\n[timeouts]\nidle = 1", "idle-timeout and timeouts.idle are the same option"),
        ("[timeouts]\nidle = \"soon\"", "soon"),
        ("[limits]\nmax-message = \"1KiB\"", "max-head"),
        ("[[channel]]\nmatch = \"a..b\"", "empty token"),
        ("[[channel]]\nmatch = \"a\"\nhistories = 1", "rule 1: histories: there is no such key"),
        ("[[channel]]\nmatch = \"a\"\n[[channel]]\nmatch = \"a\"", "rules 1 and 2 have the same match"),
        ("[[channel]]\nmatch = \">\"\n[[channel]]\nmatch = \"a\"", "rule 2, \"a\", is never reached"),
    ] {
        let path = scratch.write("lhttpd.toml", content);
        assert_refused(&["--config", &path], named);
    }
    assert_refused(&["--config", "/no/such/file.toml"], "/no/such/file.toml");
    assert_refused(&["--config", &scratch.path().to_string_lossy()], &scratch.path().to_string_lossy());
}

#[test]
fn check_prints_the_effect_of_the_options_and_starts_nothing() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = busy.local_addr().unwrap().to_string();
    let args = ["--check", "--listen", &listen, "--cores", "1", "--max-connections", "321", "--memory-budget", "5MiB"];
    let said = succeeds(&args);
    assert!(said.starts_with("configuration is valid"), "{said}");
    for part in ["1 core", "321 connections", "5.0 MiB", "publish key not set", "at most ", "5.0 MiB kept for peers"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert_refused(&["--check", "--cores", "0"], "cores");
}

#[test]
fn a_file_with_sections_and_flat_keys_is_checked_and_its_rules_are_listed_in_their_order() {
    let scratch = Scratch::new();
    let content = "cores = 1\noutbox-max = \"2MiB\"\n\
        [limits]\nmax-message = \"32KiB\"\nmax-connections = 123\n\
        [http]\npublish-key = \"hunter2\"\n\
        [[channel]]\nmatch = \"room.lobby\"\n[[channel]]\nmatch = \"room.*\"\n";
    let path = scratch.write("lhttpd.toml", content);
    let said = succeeds(&["--check", "--config", &path]);
    for part in ["1 core", "123 connections", "messages of 32.0 KiB", "outboxes of 2.0 MiB", "publish key set"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    let rules = "\nchannel rule 1: match = \"room.lobby\"\nchannel rule 2: match = \"room.*\"\n";
    assert!(said.ends_with(rules) && !said.contains("hunter2"), "{said}");
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_defaults() {
    let scratch = Scratch::new();
    let path = scratch.write(
        "lhttpd.toml",
        "cpu-list = \"0\"\nmax-connections = 100\nmax-message = \"32KiB\"\noutbox-max = 131072\n",
    );
    let said = succeeds(&["--check", "--config", &path, "--max-connections", "200", "--cores", "1"]);
    for part in ["1 core", "200 connections", "messages of 32.0 KiB", "outboxes of 128.0 KiB"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}

#[test]
#[cfg(feature = "nats")]
fn invalid_nats_options_are_reported_in_one_sentence_without_the_secret() {
    let scratch = Scratch::new();
    let (empty, wrong) = (scratch.write("lhttpd.toml", ""), scratch.write("wrong", "hunter2"));
    let url = "nats://u:hunter2@127.0.0.1";
    for (args, named) in [
        (&["--nats", "http://u:hunter2@h"][..], "nats:"),
        (&["--nats", "nats://u:hunter2@h:x"], "port"),
        (&["--nats", url, "--nats-buffer", "1KiB"], "nats-buffer"),
        (&["--nats", url, "--nats-creds", &wrong], "one way"),
        (&["--nats", "h", "--nats-user", "u"], "nats-password-file"),
        (&["--nats", "h", "--nats-user", "u", "--nats-password-file", "/no/such/file"], "/no/such/file"),
        (&["--nats", "h", "--nats-user", "u", "--nats-password-file", &empty], "empty"),
        (&["--nats", "h", "--nats-creds", &wrong], "nats-creds"),
        (&["--nats", "h", "--nats-nkey", &wrong], "nats-nkey"),
        (&["--nats", "h", "--nats-tls-ca", &wrong], "nats-tls-ca"),
    ] {
        for more in [&[][..], &["--check"]] {
            let output = run(&[&["--listen", "127.0.0.1:0", "--cores", "1"], args, more].concat());
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
            assert!(said.contains(named) && !said.contains("hunter2"), "{args:?}: {said:?}");
            assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
        }
    }
}

#[test]
#[cfg(not(feature = "nats"))]
fn a_build_without_the_bridge_says_so() {
    assert_refused(&["--nats", "nats://127.0.0.1"], "cargo feature nats");
}

#[cfg(feature = "admin")]
#[test]
fn an_admin_address_for_others_needs_a_key_and_one_of_its_own() {
    for (args, said) in [
        (&["--admin", "0.0.0.0:0"][..], "admin: 0.0.0.0:0 can be reached from other machines: set admin-key"),
        (&["--admin", "0.0.0.0:0", "--admin-key", "two words"], "admin-key: it must be visible ASCII"),
        (&["--listen", "127.0.0.1:9091", "--admin", "127.0.0.1:9091"], "admin: 127.0.0.1:9091 is in listen, too"),
        (&["--admin", "127.0.0.1:9091", "--admin", "127.0.0.1:9091"], "admin: 127.0.0.1:9091 is given twice"),
    ] {
        assert_refused(&[&["--check"][..], args].concat(), said);
    }
    succeeds(&["--check", "--admin", "0.0.0.0:0", "--admin-key", "hunter2"]);
}
