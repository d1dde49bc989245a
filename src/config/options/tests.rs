//! Checks of the table, and of its spellings in TOML: flat, in sections, and wrong.

use std::collections::BTreeSet;

use crate::config::{Config, PORT, Preset, Secret, Unit, tests::EVERY_OPTION};

/// The error for a file.
fn refusal(text: &str) -> String {
    let table: toml::Table = toml::from_str(text).expect(text);
    table.try_into::<Config>().expect_err(text).to_string()
}

#[test]
fn no_two_options_have_the_same_name() {
    let names = Config::OPTIONS.iter().map(|option| option.name.to_owned());
    let places = Config::OPTIONS.iter().map(|option| format!("{}.{}", option.section, option.key));
    let all: BTreeSet<String> = names.chain(places).collect();
    assert_eq!(all.len(), 2 * Config::OPTIONS.len());
    assert!(!Config::NAMES.contains(&"channel") && !Config::NAMES.contains(&"log") && !Config::NAMES.contains(&"demo"));
}

#[test]
fn the_key_of_an_option_is_its_name_without_the_sections_name() {
    for option in Config::OPTIONS.iter().filter(|option| option.name != option.section) {
        let word =
            option.section.strip_suffix('s').filter(|word| !["nat", "tl"].contains(word)).unwrap_or(option.section);
        let shorter = option.name.replace(&format!("{word}-"), "").replace(&format!("-{word}"), "");
        assert_eq!(option.key, shorter, "{} in [{}]", option.name, option.section);
    }
}

#[test]
fn each_option_is_described_and_those_of_a_section_stand_together() {
    let mut sections: Vec<&str> = Config::OPTIONS.iter().map(|option| option.section).collect();
    sections.dedup();
    assert_eq!(
        sections,
        [
            "server", "limits", "history", "presence", "timeouts", "http", "tls", "token", "access", "rates", "admin",
            "nats", "upstream"
        ]
    );
    for option in Config::OPTIONS {
        assert!(
            option.help.len() > 10 && !option.help.contains("  ") && !option.help.ends_with('.'),
            "{}",
            option.name
        );
        assert_eq!(option.value.is_empty(), option.unit == Unit::Switch, "{}", option.name);
    }
}

#[test]
fn a_default_is_a_value_of_its_option() {
    let default = Config::default();
    for option in Config::OPTIONS {
        let mut config = Config::empty();
        if let Preset::Value(text) = option.default {
            config.set(option.name, text).unwrap();
        }
        assert!(!option.differs(&config, &default), "{}", option.name);
    }
    assert_eq!(default.listen, [format!("127.0.0.1:{PORT}").parse().unwrap()]);
}

#[test]
fn what_is_shown_of_an_option_is_read_as_its_value_and_a_secret_is_not_shown() {
    let all: Config = toml::from_str(EVERY_OPTION).unwrap();
    for config in [Config::default(), all] {
        for option in Config::OPTIONS {
            let Some(shown) = option.show(&config) else {
                assert!(!option.differs(&config, &Config::default()));
                continue;
            };
            if option.unit == Unit::Secret {
                assert_eq!(shown, ["set"], "{}", option.name);
                continue;
            }
            let mut read = Config::default();
            read.set_all(option.name, &shown).unwrap();
            assert!(!option.differs(&read, &config), "{}: {shown:?}", option.name);
        }
    }
}

#[test]
fn sections_and_the_flat_spelling_go_together() {
    let config: Config = toml::from_str(
        "max-message = \"16KiB\"\nnats-user = \"u\"\nupstream-allow = \"http://h/\"\n\
         [nats]\nurl = \"nats://h\"\npassword-file = \"/p\"\ntls-first = true\n\
         [timeouts]\nidle = \"2m\"\nping-interval = 30\n[http]\nmax-head = 1024\n[upstream]\nworkers = 3\n",
    )
    .unwrap();
    let flat: Config = toml::from_str(
        "max-message = 16384\nnats-user = \"u\"\nupstream-allow = [\"http://h/\"]\nnats = \"nats://h\"\n\
         nats-password-file = \"/p\"\nnats-tls-first = true\nidle-timeout = 120\nping-interval = \"30s\"\n\
         max-http-head = \"1KiB\"\nupstream-workers = 3\n",
    )
    .unwrap();
    assert_eq!(config, flat);
    assert_eq!((config.http_head_bytes_max, config.nats_tls_first, config.upstream_workers), (1024, true, 3));
    let dotted: Config = toml::from_str("nats.url = \"h\"\nnats.creds = \"/c\"").unwrap();
    assert_eq!(
        dotted,
        Config { nats: Some(Secret::from("h")), nats_creds: Some("/c".into()), ..Config::default() },
        "TOML's own dots are a section"
    );
}

#[test]
fn one_option_in_both_spellings_is_an_error_that_names_both() {
    for option in Config::OPTIONS.iter().filter(|option| option.name != option.section) {
        let (section, key) = (option.section, option.key);
        let value = match option.unit {
            Unit::Switch => "true",
            Unit::Number => "1",
            Unit::Address => "\"127.0.0.1:1\"",
            _ if option.name == "tls-records" => "\"rustls\"",
            _ if option.section == "access" => match option.name {
                "allow-origin" => "\"null\"",
                "proxy-header" => "\"forwarded\"",
                _ => "\"10.0.0.1\"",
            },
            _ => "\"1\"",
        };
        let said = refusal(&format!("{} = {value}\n[{section}]\n{key} = {value}\n", option.name));
        let both = [option.name.to_owned(), format!("{section}.{key}")];
        assert!(both.iter().all(|name| said.contains(name)) && said.contains("are the same option"), "{said}");
    }
    // TOML itself cannot take these twice, because a key is a text or a table.
    assert!(toml::from_str::<Config>("nats = \"h\"\n[nats]\nurl = \"h\"\n").is_err());
    assert!(toml::from_str::<Config>("admin = \"unix:/a\"\n[admin]\nlisten = \"unix:/a\"\n").is_err());
}

#[test]
fn an_unknown_key_is_named_with_its_section_and_the_nearest_name() {
    for (text, said) in [
        ("max-mesage = 1", "max-mesage: there is no such option and no such section; did you mean max-message?"),
        ("[nat]\nurl = \"h\"", "nat: there is no such option and no such section; did you mean nats?"),
        ("[[chanel]]\nmatch = \"a\"", "chanel: there is no such option and no such section; did you mean channel?"),
        ("[nats]\ncred = \"h\"", "cred: there is no such option in [nats]; did you mean creds?"),
        ("[limits]\nmax-mesage = 1", "max-mesage: there is no such option in [limits]; did you mean max-message?"),
        ("[nats]\nnats-creds = \"h\"", "nats-creds: there is no such option in [nats]; it is creds in [nats]"),
        ("[limits]\nidle-timeout = 1", "idle-timeout: there is no such option in [limits]; it is idle in [timeouts]"),
        (
            "[http]\ncertificate = 1",
            "certificate: there is no such option in [http], only max-head, keep-alive, publish-key",
        ),
    ] {
        let error = refusal(text);
        assert!(error.contains(said), "{text}: {error}");
    }
    let error = refusal("certificate = 1");
    assert!(Config::NAMES.iter().chain(&["limits", "channel"]).all(|known| error.contains(known)), "{error}");
}

#[test]
fn the_error_for_a_value_of_the_wrong_type_names_the_right_type() {
    for (text, said) in [
        ("limits = 5", "expected a section"),
        ("limits = \"5\"", "expected a section"),
        ("limits = [5]", "expected a section"),
        ("[max-message]\na = 1", "expected a size such as"),
        ("[limits]\nmax-message = true", "expected a size such as"),
        ("cores = \"2\"", "expected a number such as"),
        ("cores = 99999999999999999999", "expected a number such as"),
        ("[nats]\ntls-first = \"yes\"", "expected true or false"),
        ("cpu-list = [\"0\"]", "cpu-list"),
        ("max-message = [1]", "expected a size such as"),
    ] {
        let Ok(table) = toml::from_str::<toml::Table>(text) else { continue };
        let error = table.try_into::<Config>().expect_err(text).to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[test]
fn a_secret_of_the_wrong_type_is_never_shown() {
    for key in ["publish-key", "http.publish-key", "admin-key", "admin.key", "nats", "nats.url"] {
        for value in ["4711", "4711.5", "[\"4711\"]", "true"] {
            let error = refusal(&format!("{key} = {value}"));
            assert!(error.contains("a key is a text in quotes") && !error.contains("4711"), "{key}: {error}");
        }
    }
}

#[test]
fn a_name_may_have_its_section_before_it_and_an_unknown_one_gets_a_hint() {
    let mut config = Config::default();
    for (name, said) in [
        ("nats.cred", "nats.cred: there is no such option"),
        ("nats.nats-creds", "nats.nats-creds: there is no such option"),
        ("limits.idle", "limits.idle: there is no such option"),
        ("max-mesage", "max-mesage: there is no such option; did you mean max-message?"),
        ("channel", "channel: there is no such option"),
    ] {
        let error = config.set(name, "1").unwrap_err();
        assert!(error.starts_with(said), "{error}");
    }
    assert_eq!(config.set("timeouts.idle", "soon").unwrap_err().split(": ").next(), Some("timeouts.idle"));
    assert_eq!(config.set_all("cores", &[]).unwrap_err(), "cores: it takes one value");
    assert_eq!(config, Config::default());
    config.set_all("listen", &["unix:/a,b".to_owned(), "[::1]:1".to_owned()]).unwrap();
    assert_eq!(config.listen.len(), 2, "a comma is a part of a path");
}
