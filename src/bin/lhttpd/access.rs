//! Who may reach the server, and from where: one sentence for the first line.

use std::fmt::Display;

use lhttp::config::{Config, Listen};

/// The note about the default address.
const FOR_THIS_MACHINE: &str = " (--listen 0.0.0.0:8081 opens it to others)";

/// The most names of a list that the sentence shows.
const NAMES_MAX: usize = 3;

/// Who may connect to these places, with TLS or without, from which pages and through which proxies, and who may subscribe
/// and publish.
pub(crate) fn sentence(config: &Config, places: &[Listen]) -> String {
    let parts =
        [Some(open_to(places)), tls(config, places), Some(pages(config)), proxies(config), Some(rights(config))];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn open_to(places: &[Listen]) -> String {
    let is_for_this_machine =
        places.iter().all(|place| place.tcp().is_none_or(|address| address.ip().to_canonical().is_loopback()));
    let note = if places == Config::default().listen { FOR_THIS_MACHINE } else { "" };
    format!("open to {}{note}", if is_for_this_machine { "this machine alone" } else { "other machines" })
}

/// A unix socket needs no TLS.
fn tls(config: &Config, places: &[Listen]) -> Option<String> {
    let mut addresses = places.iter().filter(|place| place.tcp().is_some());
    let (first, count) = (addresses.next()?.is_tls(), addresses.clone().count());
    let same = addresses.filter(|place| place.is_tls() == first).count();
    let with = match (first, same == count) {
        (false, true) => "without TLS",
        (true, true) => "with TLS",
        (_, false) => "with TLS and without",
    };
    let needs_certificate = with != "without TLS" && config.tls_client_ca.is_some();
    Some(format!("{with}{}", if needs_certificate { " (for clients with a certificate)" } else { "" }))
}

fn pages(config: &Config) -> String {
    match &config.allow_origin[..] {
        [] => "from pages of the same host".to_owned(),
        origins if origins.iter().any(|origin| origin.to_string() == "*") => "from pages of all hosts".to_owned(),
        origins => format!("from pages of the same host and {}", some(origins)),
    }
}

fn proxies(config: &Config) -> Option<String> {
    (!config.trust_proxy.is_empty()).then(|| format!("through proxies at {}", some(&config.trust_proxy)))
}

fn rights(config: &Config) -> String {
    let has_tokens = config.token_key.is_some() || config.token_jwks.is_some();
    let clients = match (has_tokens, config.require_token) {
        (true, true) => "for clients with a token, and to the channels that it names",
        (true, false) => "for clients whose token names the channels that they subscribe or publish to",
        (false, _) => "for anyone to subscribe and publish",
    };
    let rules = match config.channels.iter().filter(|rule| rule.says_who()).count() {
        0 => String::new(),
        1 => " except where its rule says otherwise".to_owned(),
        count => format!(" except where its {count} rules say otherwise"),
    };
    let posts = match (config.publish_key.is_some(), has_tokens) {
        (true, true) => ", POST /publish with the key or a token alone",
        (true, false) => ", POST /publish with the key alone",
        (false, _) => "",
    };
    format!("{clients}{rules}{posts}")
}

/// The first names, and how many others there are.
fn some<T: Display>(items: &[T]) -> String {
    let shown: Vec<String> = items.iter().take(NAMES_MAX).map(T::to_string).collect();
    match items.len().saturating_sub(NAMES_MAX) {
        0 => shown.join(" and "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use lhttp::config::{ChannelRule, Who};

    use super::*;

    fn said(options: &[(&str, &str)], places: &[&str]) -> String {
        let mut config = Config::default();
        options.iter().for_each(|(name, value)| config.set(name, value).expect("a value"));
        let places: Vec<Listen> = places.iter().map(|place| place.parse().expect("a place")).collect();
        sentence(&config, &places)
    }

    #[test]
    fn the_sentence_names_the_machine_the_pages_and_the_rights() {
        assert_eq!(
            said(&[], &["127.0.0.1:8081"]),
            "open to this machine alone (--listen 0.0.0.0:8081 opens it to others), without TLS, from pages of the same \
             host, for anyone to subscribe and publish"
        );
        assert_eq!(
            said(&[("allow-origin", "https://a.example, https://b.example"), ("publish-key", "k")], &["0.0.0.0:80"]),
            "open to other machines, without TLS, from pages of the same host and https://a.example and \
             https://b.example, for anyone to subscribe and publish, POST /publish with the key alone"
        );
        assert_eq!(
            said(&[("allow-origin", "*"), ("trust-proxy", "unix,10.0.0.1,10.0.0.2,10.0.0.3")], &["unix:/run/x"]),
            "open to this machine alone, from pages of all hosts, through proxies at unix, 10.0.0.1, 10.0.0.2 and 1 \
             more, for anyone to subscribe and publish"
        );
    }

    #[test]
    fn the_sentence_says_that_there_are_rules_and_that_a_token_is_required() {
        let mut config = Config { token_key: Some("/key".into()), require_token: true, ..Config::default() };
        config.publish_key = Some("k".into());
        let rule = |pattern: &str| pattern.parse::<ChannelRule>().expect("a rule");
        config.channels = vec![rule("news").publish(Who::Nobody), rule("kept").history(5)];
        assert_eq!(
            rights(&config),
            "for clients with a token, and to the channels that it names except where its rule says otherwise, \
             POST /publish with the key or a token alone"
        );
        config.channels.push(rule("room.*").subscribe(Who::Anyone));
        let config = Config { token_key: None, require_token: false, publish_key: None, ..config };
        assert_eq!(rights(&config), "for anyone to subscribe and publish except where its 2 rules say otherwise");
    }

    #[test]
    fn the_sentence_says_who_needs_a_certificate_or_a_token() {
        let options = [("tls-client-ca", "/ca"), ("token-key", "/key")];
        let tokens = "for clients whose token names the channels that they subscribe or publish to";
        for (places, with) in [
            (&["tls://0.0.0.0:443"][..], "with TLS (for clients with a certificate)"),
            (&["tls://0.0.0.0:443", "0.0.0.0:80", "unix:/x"], "with TLS and without (for clients with a certificate)"),
            (&["0.0.0.0:80", "[::]:80"], "without TLS"),
        ] {
            let expected = format!("open to other machines, {with}, from pages of the same host, {tokens}");
            assert_eq!(said(&options, places), expected);
        }
    }
}
