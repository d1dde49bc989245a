//! Invalid rules are refused, and exactly the rules that can never be reached are found.

use super::*;
use crate::protocol::channel::matches;

fn rule(pattern: &str) -> ChannelRule {
    pattern.parse().expect(pattern)
}

fn config(patterns: &[&str]) -> Config {
    Config { channels: patterns.iter().map(|pattern| rule(pattern)).collect(), ..Config::default() }
}

#[test]
fn rules_are_read_in_their_order() {
    let text =
        "cores = 1\n[[channel]]\nmatch = \"room.lobby\"\n[[channel]]\nmatch = \"room.*\"\n[[channel]]\nmatch = \">\"\n";
    let read: Config = toml::from_str(text).unwrap();
    assert_eq!(read, Config { cores: Some(1), ..config(&["room.lobby", "room.*", ">"]) });
    read.validate().unwrap();
}

#[test]
fn an_invalid_rule_is_refused_by_its_number() {
    for (rule, said) in [
        ("match = \"a..b\"", "rule 2: channel \"a..b\" has an empty token"),
        ("match = \"a.>.b\"", "is not its last token"),
        ("match = \"\"", "is empty"),
        ("match = \"*.*.*.*.*\"", "5 tokens \"*\""),
        ("match = 5", "expected a string"),
        ("mach = \"a\"", "rule 2: mach: there is no such key in a rule; did you mean match?"),
        ("match = \"a\"\nhistories = 5", "rule 2: histories: there is no such key in a rule"),
        ("match = \"a\"\nhistory = \"5\"", "expected u32"),
        ("match = \"a\"\npresence = \"all\"", "presence: \"all\" is none of true, false and \"events\""),
        ("match = \"a\"\nhistory = 5\nhistory-age = \"soon\"", "rule 2: history-age: \"soon\" is not a time"),
        ("match = \"a\"\nsubscribe = \"all\"", "rule 2: subscribe: \"all\" is none of anyone, user, token and nobody"),
        (
            "match = \"a\"\npublish = \"tokens\"",
            "rule 2: publish: \"tokens\" is none of anyone, user, token and nobody",
        ),
        ("match = \"a\"\nstamp = 1", "expected a boolean"),
        ("", "rule 2: it needs match = \"PATTERN\""),
    ] {
        let text = format!("[[channel]]\nmatch = \"first\"\n[[channel]]\n{rule}\n");
        let table: toml::Table = toml::from_str(&text).unwrap();
        let error = table.try_into::<Config>().expect_err(rule).to_string();
        assert!(error.contains(said) && error.contains("channel"), "{rule}: {error}");
    }
    for text in ["[channel]\nmatch = \"a\"", "channel = \"a\"", "channel = [\"a\"]"] {
        let error = toml::from_str::<Config>(text).expect_err(text).to_string();
        assert!(error.contains("rule"), "{text}: {error}");
    }
}

#[test]
fn a_rule_says_who_may_do_what() {
    let text = "[[channel]]\nmatch = \"a.{user}\"\nsubscribe = \"user\"\npublish = \"anyone\"\nstamp = true\n\
        [[channel]]\nmatch = \"b\"\nsubscribe = \"token\"\npublish = \"nobody\"\n";
    let read: Config = toml::from_str(text).unwrap();
    let rules = vec![
        rule("a.{user}").subscribe(Who::User).publish(Who::Anyone).stamp(true),
        rule("b").subscribe(Who::Token).publish(Who::Nobody),
    ];
    assert_eq!(read.channels, rules);
    let said: Vec<String> = rules.iter().map(ChannelRule::to_string).collect();
    assert_eq!(said[0], "match = \"a.{user}\", subscribe = \"user\", publish = \"anyone\", stamp = true");
    assert_eq!(said[1], "match = \"b\", subscribe = \"token\", publish = \"nobody\"");
    let with_keys = Config { token_key: Some("key".into()), ..read.clone() };
    assert_eq!(with_keys.check_channels(), Ok(()));
    let error = read.check_channels().unwrap_err();
    assert!(error.contains("rule 1, \"a.{user}\", is about users"), "{error}");
    for open in ["anyone", "nobody"] {
        let text = format!("[[channel]]\nmatch = \"a\"\nsubscribe = \"{open}\"\npublish = \"{open}\"\n");
        assert_eq!(toml::from_str::<Config>(&text).unwrap().check_channels(), Ok(()));
    }
}

#[test]
fn there_are_at_most_256_rules() {
    let names: Vec<String> = (0..=Config::CHANNEL_RULES_CEILING).map(|number| format!("a{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let error = config(&names).check_channels().unwrap_err();
    assert!(error.contains("257 rules are more than 256"), "{error}");
    assert_eq!(config(&names[1..]).check_channels(), Ok(()));
}

#[test]
fn a_rule_that_cannot_be_reached_is_an_error_that_names_both() {
    for (patterns, said) in [
        (&["a", "b", "a"][..], "channel: rules 1 and 3 have the same match, \"a\""),
        (
            &["x", "room.*", "room.a"],
            "channel: rule 3, \"room.a\", is never reached: rule 2, \"room.*\", matches all of it",
        ),
        (&[">", "a.>"], "channel: rule 2, \"a.>\", is never reached: rule 1, \">\", matches all of it"),
    ] {
        assert_eq!(config(patterns).validate().unwrap_err().to_string(), said);
    }
    config(&["room.a", "room.*", "room.>", "*.a", "$SYS.>", ">"]).validate().unwrap();
    config(&[">", "$SYS.>"]).validate().expect("a wildcard does not match what is the system's");
}

/// Compares each pair of small patterns, with all channels that can tell them apart.
#[test]
fn a_pattern_covers_another_exactly_if_it_matches_all_of_its_channels() {
    let longer = |names: &[String], tokens: &[&str]| -> Vec<String> {
        names.iter().flat_map(|name| tokens.iter().map(move |token| format!("{name}.{token}"))).collect()
    };
    let own = |tokens: &[&str]| tokens.iter().map(|&token| token.to_owned()).collect::<Vec<_>>();

    let one = own(&["a", "b", "*", "_s"]);
    let two = longer(&one, &["a", "*", "_s"]);
    let tails = longer(&[&one[..], &two].concat(), &[">"]);
    let rules: Vec<ChannelRule> = [one, two, tails, own(&[">"])].concat().iter().map(|pattern| rule(pattern)).collect();

    // `c` is in no pattern, so it tells a wildcard from a name.
    let tokens = ["a", "b", "c", "_s"];
    let (one, two) = (own(&tokens), longer(&own(&tokens), &tokens));
    let channels = [longer(&longer(&two, &tokens), &["a"]), longer(&two, &tokens), two, one].concat();
    for wide in &rules {
        for narrow in &rules {
            let is_matched = |rule: &ChannelRule, name: &String| matches(rule.pattern.as_bytes(), name.as_bytes());
            let expected = channels.iter().all(|name| !is_matched(narrow, name) || is_matched(wide, name));
            assert_eq!(wide.covers(narrow), expected, "{wide:?} {narrow:?}");
        }
    }
}

#[test]
fn a_rule_says_how_much_is_kept() {
    let text = "[[channel]]\nmatch = \"a\"\nhistory = 100\nhistory-age = \"1h\"\npresence = \"events\"\n\
        [[channel]]\nmatch = \"c\"\npresence = true\n[[channel]]\nmatch = \"d\"\npresence = false\n[[channel]]\nmatch = \"b\"\nhistory = 1\nhistory-age = 90\n";
    let read: Config = toml::from_str(text).unwrap();
    let of = |seconds| Duration::from_secs(seconds);
    let rules = vec![
        rule("a").history(100).history_age(of(3600)).presence(Presence::Events),
        rule("c").presence(Presence::Ask),
        rule("d"),
        rule("b").history(1).history_age(of(90)),
    ];
    assert_eq!(read.channels, rules);
    let shown: Vec<String> = rules.iter().map(ToString::to_string).collect();
    assert_eq!(shown[0], "match = \"a\", history = 100, history-age = \"1h\", presence = \"events\"");
    assert_eq!(shown[1], "match = \"c\", presence = true");
    read.validate().unwrap();
    for (rule, said) in [
        (rule("a").history(0), "channel: rule 1, \"a\": history: 0 is not a number from 1 to 100000"),
        (rule("a").history(100_001), "history: 100001 is not"),
        (rule("a").history_age(of(5)), "history-age: without history nothing is kept"),
        (rule("a").history(1).history_age(Duration::from_millis(999)), "history-age: at least 1s"),
    ] {
        let error = Config { channels: vec![rule], ..Config::default() }.validate().unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let tight = Config { outbox_bytes_max: Config::default().message_bytes_max + 10, ..Config::default() };
    assert!(tight.validate().is_ok());
    let error = Config { channels: vec![rule("a").history(1)], ..tight }.validate().unwrap_err().to_string();
    assert!(error.contains("its number and its channel"), "{error}");
}
