//! Every option can be set in each of the ways, with the same meaning.

use clap::CommandFactory;

use super::*;

/// Each option with a value that is not its default, as in a flag and as in TOML.
const SAMPLES: [(&str, &str, &str); 65] = [
    ("listen", "[::1]:9000", "[\"[::1]:9000\"]"),
    ("cores", "2", "2"),
    ("cpu-list", "0,2-3", "[0, 2, 3]"),
    ("busy-poll", "1ms", "1000"),
    ("coalesce", "7", "\"7us\""),
    ("max-message", "16KiB", "16384"),
    ("max-head", "1024", "\"1KiB\""),
    ("max-headers", "10", "10"),
    ("max-publish-channels", "7", "7"),
    ("max-connections", "100", "100"),
    ("outbox-max", "2 MiB", "\"2MiB\""),
    ("memory-budget", "64MiB", "67108864"),
    ("max-subscriptions", "5", "5"),
    ("subscription-bytes", "8KiB", "8192"),
    ("send-buffer", "0", "0"),
    ("receive-buffer", "1MiB", "\"1 MiB\""),
    ("history-budget", "10MiB", "10485760"),
    ("history-file", "/chat.db", "\"/chat.db\""),
    ("presence-grace", "3s", "3"),
    ("idle-timeout", "1m 30s", "90"),
    ("ping-interval", "30", "\"30s\""),
    ("handshake-timeout", "500ms", "\"500ms\""),
    ("message-timeout", "5s", "5"),
    ("drain-delay", "2s", "2"),
    ("drain", "0", "\"0s\""),
    ("max-http-head", "16KiB", "16384"),
    ("http-keep-alive", "10s", "10"),
    ("publish-key", "hunter2", "\"hunter2\""),
    ("tls-cert", "/cert", "[\"/cert\"]"),
    ("tls-key", "/key", "\"/key\""),
    ("tls-client-ca", "/ca", "\"/ca\""),
    ("tls-records", "rustls", "\"rustls\""),
    ("token-key", "/token.pem", "\"/token.pem\""),
    ("token-jwks", "https://issuer/keys", "\"https://issuer/keys\""),
    ("token-issuer", "https://issuer", "\"https://issuer\""),
    ("token-audience", "chat", "\"chat\""),
    ("require-token", "true", "true"),
    ("token-cookie", "session", "\"session\""),
    ("allow-origin", "https://a:81", "[\"https://a:81\"]"),
    ("allow-host", "a.com", "\"a.com\""),
    ("trust-proxy", "10.0.0.0/8", "[\"10.0.0.0/8\"]"),
    ("proxy-header", "forwarded", "\"forwarded\""),
    ("message-rate", "20", "20"),
    ("byte-rate", "32KiB", "32768"),
    ("subscribe-rate", "10", "10"),
    ("connect-rate", "5", "5"),
    ("address-connections", "50", "50"),
    ("admin", "127.0.0.1:9091", "\"127.0.0.1:9091\""),
    ("admin-key", "hunter3", "\"hunter3\""),
    ("nats", "nats://a, tls://u:p@b:4223", "\"nats://a, tls://u:p@b:4223\""),
    ("nats-creds", "/creds", "\"/creds\""),
    ("nats-nkey", "/nkey", "\"/nkey\""),
    ("nats-user", "u, v", "\"u, v\""),
    ("nats-password-file", "/password", "\"/password\""),
    ("nats-tls-ca", "/ca", "\"/ca\""),
    ("nats-tls-cert", "/cert", "\"/cert\""),
    ("nats-tls-key", "/key", "\"/key\""),
    ("nats-tls-first", "true", "true"),
    ("nats-prefix", "app", "\"app\""),
    ("nats-buffer", "1MiB", "1048576"),
    ("upstream-allow", "GET,PUT http://h/api", "[\"GET,PUT http://h/api\"]"),
    ("upstream-workers", "3", "3"),
    ("upstream-queue", "4", "4"),
    ("upstream-timeout", "5s", "5"),
    ("upstream-response-max", "1KiB", "1024"),
];

fn by_flags(flags: &[&str]) -> Config {
    let mut config = Config::default();
    Args::parse_from([&["lhttpd"], flags].concat()).options.lay_over(&mut config).unwrap();
    config
}

fn by_name(name: &str, value: &str) -> Config {
    let mut config = Config::default();
    config.set(name, value).unwrap();
    config
}

#[test]
fn a_flag_a_flat_key_a_key_in_its_section_and_a_name_are_one_option() {
    assert_eq!(SAMPLES.map(|(name, ..)| name), Config::NAMES, "each option has its sample here");
    for (option, (name, value, toml)) in Config::OPTIONS.iter().zip(SAMPLES) {
        let (section, key, flag) = (option.section, option.key, format!("--{name}"));
        let flags = if option.unit == Unit::Switch { vec![flag.as_str()] } else { vec![flag.as_str(), value] };
        let config = by_flags(&flags);
        assert_ne!(config, Config::default(), "{name} changes nothing");
        let read = |text: String| toml::from_str::<Config>(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(read(format!("{name} = {toml}")), config, "{name}");
        assert_eq!(read(format!("[{section}]\n{key} = {toml}")), config, "{name} in [{section}]");
        assert_eq!(by_name(name, value), config, "{name}");
        assert_eq!(by_name(&format!("{section}.{key}"), value), config, "{section}.{key}");
    }
}

#[test]
fn a_comma_in_a_flag_that_may_be_given_several_times_does_not_separate_values() {
    let config = by_flags(&["--listen", "unix:/a,b", "--listen", "[::1]:1", "--upstream-allow", "http://h/a,b"]);
    assert_eq!(config.listen.iter().map(ToString::to_string).collect::<Vec<_>>(), ["unix:/a,b", "[::1]:1"]);
    assert_eq!(config.upstream_allow, ["http://h/a,b"]);
}

#[test]
fn the_flags_do_not_contradict_each_other() {
    Args::command().debug_assert();
}

#[test]
fn the_key_is_not_shown_with_the_flags() {
    let args = Args::parse_from(["lhttpd", "--publish-key", "hunter2"]);
    assert!(!format!("{args:?}").contains("hunter2"));
}

#[test]
fn cores_on_the_command_line_replace_a_cpu_list_of_the_file() {
    let mut config = Config { cpu_list: Some(vec![0]), ..Config::default() };
    Args::parse_from(["lhttpd", "--cores", "1"]).options.lay_over(&mut config).unwrap();
    assert_eq!((config.cores, config.cpu_list), (Some(1), None));
}

#[test]
fn a_switch_that_is_not_given_leaves_the_files_value() {
    let mut config = Config { nats_tls_first: true, ..Config::default() };
    Args::parse_from(["lhttpd"]).options.lay_over(&mut config).unwrap();
    assert!(config.nats_tls_first);
}
