use super::*;

#[test]
fn both_sides_talk_behind_the_handshake_with_every_suite() {
    for suite in SUITES {
        let mut pair = Pair::new(suite);
        pair.client_writes(b"hello");
        assert_eq!(pair.server_reads().unwrap(), b"hello", "{suite:?}");
        let sent = pair.server_writes(b"hello back", usize::MAX).unwrap();
        assert_eq!((sent, &pair.got[..]), (Sent { plaintext: 10, open: 0 }, &b"hello back"[..]), "{suite:?}");
    }
}

#[test]
fn data_right_behind_the_handshake_is_left_for_the_record_layer() {
    for suite in SUITES {
        for piece in [1, 7, 1000, usize::MAX] {
            let mut client = client(&client_config(suite));
            client.writer().write_all(b"early bird").unwrap();
            let mut pair = Pair::establish(client, || piece);
            assert_eq!(pair.server_reads().unwrap(), b"early bird", "{suite:?}, {piece}");
        }
    }
}
