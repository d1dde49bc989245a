//! Which values a configuration accepts and refuses, and its errors.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// The error for `config`.
fn refusal(config: Config) -> String {
    config.validate().expect_err("this configuration must be refused").to_string()
}

#[test]
fn the_defaults_are_valid_and_an_empty_file_is_the_defaults() {
    Config::default().validate().unwrap();
    assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
}

/// Every option, with a value that is not its default.
pub(super) const EVERY_OPTION: &str = r#"
        listen = ["127.0.0.1:0", "[::1]:9000", "unix:/run/x"]
        cores = 2
        cpu-list = "0,2-3"
        max-message = "16KiB"
        max-head = 1024
        max-headers = 10
        max-publish-channels = 7
        max-http-head = "16KiB"
        max-connections = 100
        outbox-max = "2 MiB"
        memory-budget = "64MiB"
        max-subscriptions = 5
        subscription-bytes = "8KiB"
        history-budget = "10MiB"
        history-file = "/chat.db"
        presence-grace = "3s"
        idle-timeout = "1m 30s"
        ping-interval = 30
        handshake-timeout = "500ms"
        message-timeout = "5s"
        http-keep-alive = "10s"
        drain-delay = "2s"
        drain = "0s"
        busy-poll = 60
        coalesce = "1ms"
        send-buffer = 0
        receive-buffer = "1MiB"
        publish-key = "hunter2"
        tls-cert = ["/a.pem", "/b.pem"]
        tls-key = ["/a.key", "/b.key"]
        tls-client-ca = "/ca"
        tls-records = "rustls"
        token-key = "/token.pem"
        token-jwks = "https://issuer/keys"
        token-issuer = "https://issuer"
        token-audience = "chat"
        require-token = true
        token-cookie = "session"
        allow-origin = ["https://a", "null"]
        allow-host = "a.com"
        trust-proxy = ["10.0.0.0/8", "unix"]
        proxy-header = "forwarded"
        message-rate = 20
        byte-rate = "32KiB"
        subscribe-rate = 10
        connect-rate = 5
        address-connections = 50
        admin = ["127.0.0.1:9091", "unix:/run/admin"]
        admin-key = "hunter3"
        nats = "nats://a, tls://u:p@b:4223"
        nats-creds = "/creds"
        nats-nkey = "/nkey"
        nats-user = "u"
        nats-password-file = "/password"
        nats-tls-ca = "/ca"
        nats-tls-cert = "/cert"
        nats-tls-key = "/key"
        nats-tls-first = true
        nats-prefix = "app"
        nats-buffer = "1MiB"
        upstream-allow = ["http://h/api", "http://[::1]:9000"]
        upstream-workers = 3
        upstream-queue = 4
        upstream-timeout = "5s"
        upstream-response-max = "1KiB"
    "#;

#[test]
fn every_option_can_be_set_in_toml() {
    let expected = Config {
        listen: ["127.0.0.1:0", "[::1]:9000", "unix:/run/x"].map(|listen| listen.parse().unwrap()).into(),
        cores: Some(2),
        cpu_list: Some(vec![0, 2, 3]),
        message_bytes_max: 16 << 10,
        head_bytes_max: 1024,
        headers_max: 10,
        publish_channels_max: 7,
        http_head_bytes_max: 16 << 10,
        connections_max: Some(100),
        outbox_bytes_max: 2 << 20,
        memory_budget_bytes: Some(64 << 20),
        subscriptions_max: 5,
        subscription_bytes_max: 8 << 10,
        history_budget_bytes: Some(10 << 20),
        history_file: Some("/chat.db".into()),
        presence_grace: Duration::from_secs(3),
        idle_timeout: Duration::from_secs(90),
        ping_interval: Duration::from_secs(30),
        handshake_timeout: Duration::from_millis(500),
        message_timeout: Duration::from_secs(5),
        http_keep_alive: Duration::from_secs(10),
        drain_delay: Duration::from_secs(2),
        drain_timeout: Duration::ZERO,
        busy_poll: Duration::from_micros(60),
        coalesce: Duration::from_millis(1),
        send_buffer_bytes: 0,
        receive_buffer_bytes: 1 << 20,
        publish_key: Some(Secret::from("hunter2")),
        tls_cert: vec!["/a.pem".into(), "/b.pem".into()],
        tls_key: vec!["/a.key".into(), "/b.key".into()],
        tls_client_ca: Some("/ca".into()),
        tls_records: TlsRecords::Rustls,
        token_key: Some("/token.pem".into()),
        token_jwks: Some("https://issuer/keys".to_owned()),
        token_issuer: Some("https://issuer".to_owned()),
        token_audience: Some("chat".to_owned()),
        require_token: true,
        token_cookie: Some("session".to_owned()),
        allow_origin: ["https://a", "null"].map(|origin| origin.parse().unwrap()).into(),
        allow_host: vec!["a.com".parse().unwrap()],
        trust_proxy: ["10.0.0.0/8", "unix"].map(|proxy| proxy.parse().unwrap()).into(),
        proxy_header: ProxyHeader::Forwarded,
        message_rate: 20,
        byte_rate: 32 << 10,
        subscribe_rate: 10,
        connect_rate: 5,
        address_connections: 50,
        admin: ["127.0.0.1:9091", "unix:/run/admin"].map(|listen| listen.parse().unwrap()).into(),
        admin_key: Some(Secret::from("hunter3")),
        nats: Some(Secret::from("nats://a, tls://u:p@b:4223")),
        nats_creds: Some("/creds".into()),
        nats_nkey: Some("/nkey".into()),
        nats_user: Some("u".to_owned()),
        nats_password_file: Some("/password".into()),
        nats_tls_ca: Some("/ca".into()),
        nats_tls_cert: Some("/cert".into()),
        nats_tls_key: Some("/key".into()),
        nats_tls_first: true,
        nats_prefix: Some("app".to_owned()),
        nats_buffer_bytes: 1 << 20,
        upstream_allow: vec!["http://h/api".to_owned(), "http://[::1]:9000".to_owned()],
        upstream_workers: 3,
        upstream_queue_max: 4,
        upstream_timeout: Duration::from_secs(5),
        upstream_response_bytes_max: 1 << 10,
        channels: Vec::new(),
    };
    assert_eq!(toml::from_str::<Config>(EVERY_OPTION).unwrap(), expected);
}

/// The options of `ALL`, each as a text although TOML may have another type.
#[test]
fn every_option_can_be_set_by_its_name() {
    let mut config = Config::default();
    let table: toml::Table = toml::from_str(EVERY_OPTION).unwrap();
    for name in Config::NAMES {
        let text = match &table[name] {
            toml::Value::String(text) => text.clone(),
            toml::Value::Array(items) => items.iter().map(|item| item.as_str().unwrap()).collect::<Vec<_>>().join(", "),
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(is_on) => is_on.to_string(),
            other => panic!("{name}: {other:?}"),
        };
        let before = config.clone();
        config.set(name, &text).unwrap();
        assert_ne!(config, before, "{name} changes nothing");
    }
    assert_eq!(config, toml::from_str(EVERY_OPTION).unwrap());
    assert_eq!(table.len(), Config::NAMES.len(), "an option is missing here");
}

#[test]
fn a_value_that_an_option_refuses_is_an_error_that_changes_nothing() {
    for (name, value, shown) in [
        ("max-mesage", "1", "max-mesage: there is no such option"),
        ("", "1", "there is no such option"),
        ("cores", "two", "cores: \"two\""),
        ("cores", "-1", "cores: \"-1\""),
        ("max-headers", "99999999999999999999999", "max-headers: "),
        ("max-message", "big", "max-message: \"big\""),
        ("listen", "127.0.0.1:1,localhost", "listen: \"localhost\""),
        ("listen", "", "listen: \"\""),
        ("idle-timeout", "soon", "idle-timeout: \"soon\""),
        ("cpu-list", "", "cpu-list: "),
    ] {
        let mut config = Config::default();
        let error = config.set(name, value).expect_err(value);
        assert!(error.contains(shown), "{error}");
        assert_eq!(config, Config::default());
    }
}

#[test]
fn a_list_may_be_one_text_or_a_list() {
    let one: Config = toml::from_str("listen = \"127.0.0.1:1\"\ncpu-list = [4, 0]").unwrap();
    assert_eq!(one.listen, ["127.0.0.1:1".parse().unwrap()]);
    assert_eq!(one.cpu_list, Some(vec![4, 0]));
    let one: Config = toml::from_str("upstream-allow = \"http://h/\"").unwrap();
    assert_eq!(one.upstream_allow, ["http://h/"]);
}

#[test]
fn a_value_without_a_meaning_in_toml_is_an_error_that_shows_it() {
    for (text, shown) in [
        ("max-messages = 1", "max-messages"),
        ("max-message = \"64 potatoes\"", "64 potatoes"),
        ("max-message = -1", "-1"),
        ("max-message = true", "a size such as"),
        ("busy-poll = \"long\"", "long"),
        ("idle-timeout = \"soon\"", "soon"),
        ("idle-timeout = 1.5", "a time such as"),
        ("listen = \"localhost\"", "localhost"),
        ("listen = 8081", "an address such as"),
        ("cpu-list = \"0,x\"", "0,x"),
        ("cpu-list = \"3-1\"", "3-1"),
        ("cpu-list = \"1024\"", "CPU 1024"),
        ("cores = -1", "-1"),
    ] {
        let error = toml::from_str::<Config>(text).expect_err(text).to_string();
        assert!(error.contains(shown), "{text}: {error}");
    }
}

#[test]
fn values_that_contradict_each_other_are_refused_by_name() {
    let seconds = Duration::from_secs;
    let address = Config::default().listen[0].clone();
    let unix: Listen = "unix:/x".parse().unwrap();
    let tls = Listen::Tls(address.tcp().unwrap());
    let base = Config::default;
    let upstream = || Config { upstream_allow: vec!["http://h/".to_owned()], ..base() };
    for (config, named) in [
        (Config { listen: vec![], ..base() }, "listen:"),
        (Config { listen: vec![address.clone(), tls], ..base() }, "listen: 127.0.0.1:8081 is given with tls://"),
        (Config { listen: vec![address.clone(), address], ..base() }, "listen:"),
        (Config { listen: vec![unix.clone(), unix], ..base() }, "listen: unix:/x"),
        (Config { cores: Some(0), ..base() }, "cores:"),
        (Config { cores: Some(1), cpu_list: Some(vec![0]), ..base() }, "cpu-list"),
        (Config { cpu_list: Some(vec![]), ..base() }, "cpu-list:"),
        (Config { cpu_list: Some(vec![0, 1, 0]), ..base() }, "cpu-list:"),
        (Config { cpu_list: Some((0..64).collect()), ..base() }, "cpu-list:"),
        (Config { message_bytes_max: 0, ..base() }, "max-message:"),
        (Config { message_bytes_max: (1 << 30) + 1, outbox_bytes_max: 2 << 30, ..base() }, "max-message:"),
        (Config { head_bytes_max: 0, ..base() }, "max-head:"),
        (Config { message_bytes_max: 4 << 10, ..base() }, "max-head:"),
        (Config { outbox_bytes_max: (64 << 10) + 9, ..base() }, "outbox-max:"),
        (Config { memory_budget_bytes: Some((1 << 20) - 1), ..base() }, "memory-budget:"),
        (Config { headers_max: 0, ..base() }, "max-headers:"),
        (Config { headers_max: 1025, ..base() }, "max-headers:"),
        (Config { publish_channels_max: 0, ..base() }, "max-publish-channels:"),
        (Config { publish_channels_max: 1025, ..base() }, "max-publish-channels:"),
        (Config { http_head_bytes_max: 0, ..base() }, "max-http-head:"),
        (Config { http_head_bytes_max: (1 << 20) + 1, ..base() }, "max-http-head:"),
        (Config { http_keep_alive: Duration::from_micros(1), ..base() }, "http-keep-alive:"),
        (Config { subscriptions_max: 0, ..base() }, "max-subscriptions:"),
        (Config { subscription_bytes_max: 0, ..base() }, "subscription-bytes:"),
        (Config { subscription_bytes_max: (1 << 30) + 1, ..base() }, "subscription-bytes:"),
        (Config { connections_max: Some(0), ..base() }, "max-connections:"),
        (Config { ping_interval: seconds(60), ..base() }, "ping-interval:"),
        (Config { handshake_timeout: Duration::ZERO, ..base() }, "handshake-timeout:"),
        (Config { idle_timeout: Duration::from_micros(500), ..base() }, "idle-timeout: 500us is less than 1ms"),
        (Config { ping_interval: Duration::from_nanos(1), ..base() }, "ping-interval: 1ns is less than 1ms"),
        (Config { handshake_timeout: Duration::from_micros(999), ..base() }, "handshake-timeout: 999us is less"),
        (Config { message_timeout: Duration::from_micros(500), ..base() }, "message-timeout: 500us is less than 1ms"),
        (Config { drain_timeout: Duration::from_micros(500), ..base() }, "drain: 500us is less than 1ms"),
        (Config { drain_timeout: Duration::MAX, ..base() }, "drain:"),
        (Config { publish_key: Some("".into()), ..base() }, "publish-key:"),
        (Config { publish_key: Some("two words".into()), ..base() }, "publish-key:"),
        (
            Config { token_issuer: Some("i".to_owned()), ..base() },
            "token-issuer: it has no effect without token-key or token-jwks",
        ),
        (Config { token_audience: Some("a".to_owned()), ..base() }, "token-audience: it has no effect"),
        (Config { token_jwks: Some("http://issuer/keys".to_owned()), ..base() }, "token-jwks: \"http://issuer/keys\""),
        (Config { require_token: true, ..base() }, "require-token: without token-key or token-jwks nobody could"),
        (Config { token_cookie: Some("c".to_owned()), ..base() }, "token-cookie: it has no effect without token-key"),
        (
            Config { token_key: Some("k".into()), token_cookie: Some("a=b".to_owned()), ..base() },
            "token-cookie: \"a=b\"",
        ),
        (Config { token_key: Some("k".into()), token_issuer: Some(String::new()), ..base() }, "token-issuer:"),
        (Config { nats: Some("".into()), ..base() }, "nats:"),
        (Config { nats_tls_ca: Some("ca".into()), ..base() }, "nats-tls-ca:"),
        (Config { upstream_allow: vec!["http://h".into(), "h".into()], ..base() }, "upstream-allow: \"h\""),
        (Config { upstream_workers: 0, ..upstream() }, "upstream-workers:"),
        (Config { upstream_workers: 1025, ..upstream() }, "upstream-workers:"),
        (Config { upstream_queue_max: 0, ..upstream() }, "upstream-queue:"),
        (Config { upstream_queue_max: (1 << 20) + 1, ..upstream() }, "upstream-queue:"),
        (Config { upstream_timeout: Duration::ZERO, ..upstream() }, "upstream-timeout:"),
        (Config { upstream_timeout: Duration::MAX, ..upstream() }, "upstream-timeout:"),
        (Config { upstream_response_bytes_max: 0, ..upstream() }, "upstream-response-max:"),
        (Config { upstream_response_bytes_max: (1 << 20) - 1023, ..upstream() }, "upstream-response-max:"),
    ] {
        let sentence = refusal(config);
        assert!(sentence.contains(named), "{named} {sentence}");
        assert!(!sentence.contains('\n'), "{sentence:?}");
    }
}

#[test]
fn limits_that_just_fit_are_accepted() {
    let base = Config::default;
    for config in [
        Config { listen: vec!["127.0.0.1:0".parse().unwrap(); 2], ..base() },
        Config { cores: Some(63), ..base() },
        Config { message_bytes_max: 8 << 10, ..base() },
        Config { outbox_bytes_max: (64 << 10) + 10, ..base() },
        Config { memory_budget_bytes: Some(1 << 20), ..base() },
        Config { publish_channels_max: 1024, ..base() },
        Config { ping_interval: Duration::ZERO, idle_timeout: Duration::from_millis(1), ..base() },
        Config { idle_timeout: Duration::ZERO, ..base() },
        Config { message_timeout: Duration::ZERO, ..base() },
        Config { drain_timeout: Duration::ZERO, ..base() },
        // Without a prefix the options of the upstream proxy do not matter.
        Config { outbox_bytes_max: 128 << 10, upstream_workers: 0, ..base() },
    ] {
        config.validate().unwrap();
    }
}

#[test]
#[cfg(feature = "upstream")]
fn an_upstream_that_just_fits_is_accepted() {
    let config = Config {
        upstream_allow: vec!["http://h/".to_owned()],
        upstream_workers: Config::UPSTREAM_WORKERS_CEILING,
        upstream_queue_max: Config::UPSTREAM_QUEUE_CEILING,
        upstream_response_bytes_max: (1 << 20) - 1024,
        ..Config::default()
    };
    config.validate().unwrap();
}

#[test]
fn the_key_is_in_no_debug_output() {
    let config = Config { publish_key: Some("hunter2".into()), ..Config::default() };
    assert!(!format!("{config:?} {config:#?}").contains("hunter2"));
}

#[test]
fn a_key_without_its_quotes_is_refused_and_not_shown() {
    let table: toml::Table = toml::from_str("publish-key = 4711").unwrap();
    let error = table.try_into::<Config>().unwrap_err().to_string();
    assert!(error.contains("publish-key") && !error.contains("4711"), "{error}");
}

#[test]
fn a_key_matches_itself_only() {
    let key = Secret::from("hunter2");
    assert!(key.matches(b"hunter2"));
    for wrong in [&b""[..], b"hunter", b"hunter22", b"Hunter2", b"hunter2\0"] {
        assert!(!key.matches(wrong), "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in "[ -~µ]{0,24}", list in "[0-9,-]{0,12}") {
        for text in [&text, &list] {
            let _ = (parse_bytes(text), parse_duration(text));
            if let Ok(cpus) = parse_cpu_list(text) {
                prop_assert!(cpus.iter().all(|cpu| *cpu < 1024));
            }
        }
    }

    #[test]
    fn sizes_and_times_mean_what_they_say(number in 0u64..1 << 20) {
        prop_assert_eq!(parse_bytes(&number.to_string()), Ok(number));
        prop_assert_eq!(parse_bytes(&format!("{number}KiB")), Ok(number << 10));
        prop_assert_eq!(parse_bytes(&format!("{number} MiB")), Ok(number << 20));
        prop_assert_eq!(parse_duration(&number.to_string()), Ok(Duration::from_secs(number)));
        prop_assert_eq!(parse_duration(&format!("{number}ms")), Ok(Duration::from_millis(number)));
    }
}
