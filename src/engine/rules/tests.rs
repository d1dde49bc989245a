//! The rules against their definition: for all channels of a small alphabet.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

fn claims(user: &str, subscribe: &[String], publish: &[String]) -> Claims {
    let list = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
    Claims { user: user.into(), subscribe: list(subscribe), publish: list(publish), info: None, expires: u64::MAX }
}

/// Rules on a server that takes tokens.
fn rules(list: Vec<ChannelRule>) -> Rules {
    Rules::new(&Config { channels: list, token_key: Some("key".into()), ..Config::default() })
}

fn rule(pattern: &str, subscribe: Who, publish: Who) -> ChannelRule {
    pattern.parse::<ChannelRule>().expect(pattern).subscribe(subscribe).publish(publish)
}

/// Whether one channel is allowed, as PROTOCOL.md §9 says it.
fn is_allowed(list: &[ChannelRule], asker: Asker<'_>, action: Action, name: &str) -> bool {
    let name_of_user = match asker {
        Asker::User(claims) if !claims.user.contains(['.', ' ', '*', '>']) => Some(&*claims.user),
        _ => None,
    };
    let matches = |rule: &&ChannelRule| match name_of_user {
        _ if !rule.pattern().contains("{user}") => channel::matches(rule.pattern().as_bytes(), name.as_bytes()),
        Some(user) => channel::matches(rule.pattern().replace("{user}", user).as_bytes(), name.as_bytes()),
        None => false,
    };
    let who = list.iter().find(matches).map_or(Who::Token, |rule| match action {
        Action::Subscribe => rule.subscribe.unwrap_or(Who::Token),
        Action::Publish => rule.publish.unwrap_or(Who::Token),
    });
    match (who, asker) {
        (Who::Anyone, _) | (Who::User, Asker::User(_)) => true,
        (Who::Token, Asker::User(claims)) => {
            let listed = if action == Action::Subscribe { &claims.subscribe } else { &claims.publish };
            listed.iter().any(|one| channel::matches(one.as_bytes(), name.as_bytes()))
        }
        _ => false,
    }
}

/// All channels of up to five tokens. `c` is in no pattern.
fn channels() -> &'static [String] {
    static ALL: LazyLock<Vec<String>> = LazyLock::new(make_channels);
    &ALL
}

fn make_channels() -> Vec<String> {
    let mut all = Vec::new();
    let mut longest = vec![String::new()];
    for _ in 0..5 {
        let longer = |name: &String| ["a", "b", "c", "_s"].map(|token| format!("{name}.{token}"));
        longest = longest.iter().flat_map(longer).filter(|name| !name[1..].contains("._s")).collect();
        all.extend(longest.iter().map(|name| name[1..].to_owned()));
    }
    all
}

fn pattern(tokens: &'static [&'static str]) -> impl Strategy<Value = String> {
    let token = prop::sample::select(tokens);
    (prop::collection::vec(token, 1..4), prop::bool::weighted(0.3)).prop_map(|(tokens, has_rest)| {
        let name = tokens.join(".");
        if has_rest { format!("{name}.>") } else { name }
    })
}

fn any_pattern() -> impl Strategy<Value = String> {
    prop_oneof![8 => pattern(&["a", "b", "*"]), 1 => Just(">".to_owned())]
}

fn who() -> impl Strategy<Value = Who> {
    prop::sample::select(&[Who::Anyone, Who::User, Who::Token, Who::Nobody][..])
}

fn any_rule() -> impl Strategy<Value = ChannelRule> {
    let pattern = prop_oneof![8 => pattern(&["a", "b", "*", "{user}"]), 1 => pattern(&["a", "*"]).prop_map(|name| format!("_s.{name}")), 1 => Just(">".to_owned())];
    (pattern, who(), who()).prop_map(|(pattern, subscribe, publish)| rule(&pattern, subscribe, publish))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_pattern_is_allowed_exactly_if_each_of_its_channels_is(
        list in prop::collection::vec(any_rule(), 0..5),
        asked in any_pattern(),
        user in prop::sample::select(&["a", "b", ">", "*", "a.b"][..]),
        is_anonymous in prop::bool::weighted(0.2),
        subscribe in prop::collection::vec(any_pattern(), 0..4),
        publish in prop::collection::vec(any_pattern(), 0..4),
    ) {
        let claims = claims(user, &subscribe, &publish);
        let asker = if is_anonymous { Asker::Anonymous } else { Asker::User(&claims) };
        let compiled = rules(list.clone());
        let mut allows_all = true;
        for name in channels() {
            for action in [Action::Subscribe, Action::Publish] {
                let expected = is_allowed(&list, asker, action, name);
                let verdict = match action {
                    Action::Subscribe => compiled.subscribe(asker, name.as_bytes(), Kind::Exact),
                    Action::Publish => compiled.publish(asker, name.as_bytes()),
                };
                prop_assert_eq!(verdict.is_allowed, expected, "{:?} {}", action, name);
                let concerns = action == Action::Subscribe && channel::matches(asked.as_bytes(), name.as_bytes());
                allows_all &= expected || !concerns;
            }
        }
        let verdict = compiled.subscribe(asker, asked.as_bytes(), channel::kind(asked.as_bytes()));
        prop_assert_eq!(verdict.is_allowed, allows_all, "{}", asked);
    }

    #[test]
    fn an_intersection_matches_what_both_match(one in any_pattern(), other in any_pattern()) {
        let (first, second) = (Pattern::new(one.as_bytes()), Pattern::new(other.as_bytes()));
        let both = first.intersection(&second);
        for name in channels() {
            let matches = |pattern: &str| channel::matches(pattern.as_bytes(), name.as_bytes());
            let is_in_both = both.as_ref().is_some_and(|both| both.matches(&tokens(name.as_bytes()).collect::<Vec<_>>()));
            prop_assert_eq!(is_in_both, matches(&one) && matches(&other), "{}", name);
        }
    }
}

#[test]
fn without_rules_and_keys_everyone_may_do_everything() {
    let open = Rules::new(&Config::default());
    assert!(open.is_open());
    assert!(open.publish(Asker::Anonymous, b"a").is_allowed);
    assert!(open.subscribe(Asker::Anonymous, b">", Kind::Pattern).is_allowed);
    let harmless = vec![rule("a", Who::Anyone, Who::Anyone), "b".parse().unwrap()];
    assert!(Rules::new(&Config { channels: harmless, ..Config::default() }).is_open());
    let closed = vec![rule("a", Who::Anyone, Who::Nobody)];
    assert!(!Rules::new(&Config { channels: closed, ..Config::default() }).is_open());
    let with_keys = rules(Vec::new());
    assert!(!with_keys.is_open());
    assert!(!with_keys.publish(Asker::Anonymous, b"a").is_allowed);
}

#[test]
fn a_users_name_reaches_no_channel_of_others() {
    let own = rules(vec![rule("inbox.{user}", Who::User, Who::User), rule(">", Who::Nobody, Who::Nobody)]);
    for (user, name, expected) in [
        ("mike", "inbox.mike", true),
        ("mike", "inbox.eve", false),
        (">", "inbox.mike", false),
        ("*", "inbox.mike", false),
        ("*", "inbox.*", false),
        (">", "inbox.>", false),
        ("a.b", "inbox.a.b", false),
        ("a b", "inbox.a", false),
        ("{user}", "inbox.{user}", true),
        ("mike", "inbox.{user}", false),
    ] {
        let claims = claims(user, &[], &[]);
        let verdict = own.subscribe(Asker::User(&claims), name.as_bytes(), channel::kind(name.as_bytes()));
        assert_eq!(verdict.is_allowed, expected, "{user} {name}");
    }
}

#[test]
fn the_holder_of_the_publish_key_publishes_everywhere_and_is_stamped_as_nobody() {
    let stamped = rules(vec![rule("a", Who::Nobody, Who::Nobody).stamp(true)]);
    let verdict = stamped.publish(Asker::Key, b"a");
    assert!(verdict.is_allowed && verdict.stamps);
    assert!(stamped.publish(Asker::Key, b"b").is_allowed);
    assert!(!stamped.subscribe(Asker::Key, b"b", Kind::Exact).is_allowed);
}

#[test]
fn the_work_for_a_pattern_is_bounded_by_the_number_of_rules() {
    let most = Config::CHANNEL_RULES_CEILING;
    let list: Vec<_> = (0..most).map(|number| rule(&format!("a{number}.>"), Who::Token, Who::Nobody)).collect();
    let claims = claims("mike", &["*".to_owned(), "*.>".to_owned()], &[]);
    let verdict = rules(list).subscribe(Asker::User(&claims), b">", Kind::Pattern);
    assert!(verdict.is_allowed);
    assert!(verdict.steps < 20 * most as u64, "{}", verdict.steps);
}
