//! Files that change while the server runs.

use super::*;

#[test]
fn new_files_serve_the_next_handshake_and_wrong_ones_leave_the_last() {
    let folder = Folder::new();
    folder.certify("a", &["a.example"]);
    let (acceptor, client) = (folder.acceptor(&["a"]), folder.client());
    let first = certificate(&folder, "a");
    let (old_client, _old_server) = handshake(&acceptor, &Arc::new(client.clone()), "a.example").unwrap();
    folder.certify("a", &["a.example"]);
    let second = certificate(&folder, "a");
    assert_eq!(shown(&acceptor, &client, "a.example").unwrap(), first, "nobody has looked");
    acceptor.look();
    assert_eq!(shown(&acceptor, &client, "a.example").unwrap(), second);
    assert_eq!(old_client.peer_certificates().unwrap()[0], first);
    let key = fs::read(folder.path.join("a.key")).unwrap();
    for text in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        let before = acceptor.reloads_failed();
        folder.write("a.key", text);
        (0..3).for_each(|_| acceptor.look());
        assert_eq!(acceptor.reloads_failed(), before + 1, "each change counts once");
        assert_eq!(shown(&acceptor, &client, "a.example").unwrap(), second);
    }
    fs::remove_file(folder.path.join("a.pem")).unwrap();
    (0..3).for_each(|_| acceptor.look());
    assert_eq!(acceptor.reloads_failed(), 3);
    folder.certify("a", &["a.example"]);
    acceptor.look();
    assert_eq!(shown(&acceptor, &client, "a.example").unwrap(), certificate(&folder, "a"), "it recovers by itself");
    assert_ne!(fs::read(folder.path.join("a.key")).unwrap(), key);
    assert_eq!(acceptor.reloads_failed(), 3);
}

#[test]
fn a_reload_checks_first_and_changes_everything_later() {
    let folder = Folder::new();
    folder.certify("a", &["a.example"]);
    folder.certify("b", &["b.example"]);
    let (acceptor, client) = (folder.acceptor(&["a"]), folder.client());
    acceptor.check(&folder.config(&["a"])).unwrap();
    assert_eq!(acceptor.take_checked(), [""; 0], "nothing is new");
    acceptor.check(&folder.config(&["a", "b"])).unwrap();
    assert!(shown(&acceptor, &client, "b.example").is_err(), "they are checked and not used yet");
    assert_eq!(acceptor.take_checked(), ["tls-cert", "tls-key"]);
    assert_eq!(shown(&acceptor, &client, "b.example").unwrap(), certificate(&folder, "b"));
    folder.write("b.key", "");
    assert!(acceptor.check(&folder.config(&["a", "b"])).unwrap_err().contains("there is no private key"));
    assert_eq!(acceptor.take_checked(), [""; 0]);
    assert_eq!(shown(&acceptor, &client, "b.example").unwrap(), certificate(&folder, "b"));
    acceptor.look();
    assert_eq!(acceptor.reloads_failed(), 1, "the look has found the same fault");
    acceptor.check(&folder.config(&["a"])).unwrap();
    assert_eq!(acceptor.take_checked(), ["tls-cert", "tls-key"]);
    acceptor.look();
    assert_eq!(acceptor.reloads_failed(), 1, "nobody reads the file of b any more");
}

#[test]
fn an_expired_certificate_serves_at_the_start_and_replaces_no_other() {
    let folder = Folder::new();
    folder.certify_from_until("a", 2020, 2021);
    folder.certify_from_until("b", 2020, 2999);
    let acceptor = folder.acceptor(&["a", "b"]);
    assert_eq!(acceptor.days_left(), 0);
    folder.certify_from_until("b", 2021, 2999);
    acceptor.look();
    let (client, renewed) = (folder.client(), certificate(&folder, "b"));
    assert_eq!(shown(&acceptor, &client, "b").unwrap(), renewed, "the expired one does not keep b from being renewed");
    for (from, until, said) in [(2022, 2023, "expired at 2023-01-01"), (2998, 2999, "valid only from 2998-01-01")] {
        let before = acceptor.reloads_failed();
        folder.certify_from_until("b", from, until);
        let sentence = acceptor.check(&folder.config(&["a", "b"])).unwrap_err();
        assert!(sentence.contains(said), "{sentence}");
        acceptor.look();
        assert_eq!(acceptor.reloads_failed(), before + 1);
        assert_eq!(shown(&acceptor, &client, "b").unwrap(), renewed);
    }
    folder.certify_from_until("a", 2020, 2999);
    acceptor.look_at(date_time_ymd(2998, 6, 1).unix_timestamp() as u64);
    assert_eq!(shown(&acceptor, &client, "a").unwrap(), certificate(&folder, "a"));
    assert!(acceptor.days_left() > 300_000, "its time has come, so the file of b is used, and a is renewed too");
}

#[test]
fn the_days_left_are_those_of_the_certificate_that_expires_first() {
    let folder = Folder::new();
    let days = |from_now: u64| {
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        let seconds = now() + from_now * DAY_SECONDS + 3600;
        params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        params
    };
    folder.certify_with("a", days(90));
    folder.certify_with("b", days(7));
    assert_eq!(folder.acceptor(&["a", "b"]).days_left(), 7);
}

#[test]
fn a_session_is_resumed_after_a_reload_but_not_after_other_clients_are_asked_for() {
    let folder = Folder::new();
    folder.certify("a", &["a.example"]);
    folder.write("ca.pem", &folder.authority.pem());
    let other = authority();
    for version in [&TLS12, &TLS13] {
        let acceptor = folder.acceptor(&["a"]);
        let client = Arc::new(folder.client_with(&[version], Some(folder.of_client())));
        let kind = || handshake(&acceptor, &client, "a.example").map(|(client, _)| client.handshake_kind());
        assert_eq!(kind(), Ok(Some(HandshakeKind::Full)));
        assert_eq!(kind(), Ok(Some(HandshakeKind::Resumed)));
        folder.certify("a", &["a.example"]);
        acceptor.look();
        assert_eq!(kind(), Ok(Some(HandshakeKind::Resumed)), "tickets outlive a reload");
        acceptor.check(&folder.config_for_clients_of("a", "ca.pem")).unwrap();
        assert_eq!(acceptor.take_checked(), ["tls-client-ca"]);
        assert_eq!(kind(), Ok(Some(HandshakeKind::Full)), "the ticket stands for no certificate");
        assert_eq!(kind(), Ok(Some(HandshakeKind::Resumed)));
        folder.write("ca.pem", &other.pem());
        acceptor.look();
        assert!(kind().is_err(), "the ticket stands for a certificate of an authority that has gone");
        folder.write("ca.pem", &folder.authority.pem());
    }
}

#[test]
fn the_log_warns_once_a_day_of_an_end_that_is_near_until_the_certificate_is_renewed() {
    let folder = Folder::new();
    folder.certify_from_until("a", 2020, 2990);
    folder.certify_from_until("b", 2020, 2999);
    let acceptor = folder.acceptor(&["a", "b"]);
    let end = date_time_ymd(2990, 1, 1).unix_timestamp() as u64;
    let said = |now: u64| lock(&acceptor.0.files).ends(now);
    assert_eq!(said(end - 15 * DAY_SECONDS), []);
    for days in [13, 12, 1, 0] {
        let lines = said(end - days * DAY_SECONDS - 1);
        let [(Level::Warn, line)] = &lines[..] else { panic!("{lines:?}") };
        assert!(line.contains("a.pem") && line.contains(&format!("expires in {days} days")), "{line}");
        assert_eq!(said(end - days * DAY_SECONDS - 1), [], "once a day");
    }
    for days in [1, 2] {
        let lines = said(end + days * DAY_SECONDS);
        assert!(matches!(&lines[..], [(Level::Error, line)] if line.contains("expired at 2990-01-01")), "{lines:?}");
    }
    folder.certify_from_until("a", 2020, 2999);
    acceptor.look_at(end);
    assert_eq!(said(end + 5 * DAY_SECONDS), []);
}
