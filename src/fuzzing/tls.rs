//! TLS: records that a client with the right keys forges, short writes, and handshakes.

use std::{
    io::IoSlice,
    sync::{Arc, LazyLock},
};

use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring as provider,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::dice::{Dice, pieces};
use crate::{
    config::TlsRecords,
    tls::{
        Cause, Handshake, RECORD_BYTES_MAX, Records,
        forger::Forger,
        mirror::{self, SUITES, Suite},
    },
};

const DATA: u8 = 23;
const HANDSHAKE: u8 = 22;
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
const KEY_UPDATE_REQUESTED: [u8; 5] = [24, 0, 0, 1, 1];

/// The most ciphertext of one write.
const OUT_BYTES_MAX: usize = 70_000;

/// More than a handshake's limit, and what rustls makes of it.
const HANDSHAKE_BYTES_MAX: usize = 300_000;

/// Records are read in the same way however they are cut; short writes lose and change nothing; a handshake ends and takes
/// bounded memory.
pub fn tls_records(bytes: &[u8]) {
    let mut dice = Dice::new(bytes);
    match dice.below(4) {
        0 | 1 => read(&mut dice),
        2 => write(&mut dice),
        _ => shake_hands(&mut dice),
    }
}

/// Lets a server read forged records, whole and in pieces.
fn read(dice: &mut Dice<'_>) {
    let suite = dice.choose(&SUITES);
    let lengths = dice.take(4);
    let (mut forger, mut wire, mut data) = (Forger::new(suite), Vec::new(), Vec::new());
    while !dice.is_empty() && wire.len() < 200_000 {
        match dice.below(8) {
            0..=2 => {
                let text = vec![dice.byte(); dice.choose(&[1, 0, 2, 100, 16_383, 16_384])];
                wire.extend(forger.seal(DATA, &text, dice.choose(&[0, 0, 1, 255])));
                data.extend_from_slice(&text);
            }
            3 => {
                let update = dice.choose(&[KEY_UPDATE, KEY_UPDATE_REQUESTED]);
                wire.extend(forger.seal(HANDSHAKE, &update, 0));
                forger.update();
            }
            4 => {
                let kind = dice.choose(&[21, 22, 20, 24, 0]);
                let len = dice.below(8);
                let text = dice.take(len);
                wire.extend(forger.seal(kind, text, dice.choose(&[0, 3])));
                // The type of a record is its last byte that is not 0 (RFC 8446 §5.4).
                if kind == 0
                    && let [text @ .., DATA] = without_zeros(text)
                {
                    data.extend_from_slice(text); // if it is not refused
                }
            }
            5 => {
                wire.extend(forger.seal(DATA, b"x", dice.choose(&[16_000, 16_384, 17_000])));
                data.push(b'x'); // if it is not refused
            }
            6 => {
                let len = dice.below(40);
                wire.extend_from_slice(dice.take(len));
            }
            _ if !wire.is_empty() => {
                let at = wire.len() - 1 - dice.below(wire.len().min(65_536));
                wire[at] ^= 1 << dice.below(8);
            }
            _ => {}
        }
    }
    let whole = Reader::new(suite).read(std::iter::once(&wire[..]));
    let cut = Reader::new(suite).read(pieces(&wire, lengths));
    assert_eq!(whole.end, cut.end, "the verdict depends on how the records are cut");
    if whole.end == End::Open {
        assert_eq!(whole.got, cut.got);
    }
    // No byte that was changed, or was made up without the keys, may come out as plaintext.
    assert!(data.starts_with(&cut.got), "it read what was not written");
}

/// The bytes up to the last one that is not 0.
fn without_zeros(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1)]
}

/// How a connection stands after all input.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Open,
    Closed,
    Failed(Cause),
}

/// A server's end that reads.
struct Reader {
    records: Records,
    rest: Vec<u8>,
    got: Vec<u8>,
    end: End,
}

impl Reader {
    fn new(suite: Suite) -> Self {
        Self { records: mirror::pair(suite).1, rest: Vec::new(), got: Vec::new(), end: End::Open }
    }

    fn read<'b>(mut self, pieces: impl Iterator<Item = &'b [u8]>) -> Self {
        for piece in pieces {
            self.rest.extend_from_slice(piece);
            match self.records.open(&mut self.rest) {
                Ok(opened) => {
                    assert!(opened.plaintext <= opened.used && opened.used <= self.rest.len());
                    self.got.extend_from_slice(&self.rest[..opened.plaintext]);
                    self.rest.drain(..opened.used);
                    assert!(self.rest.len() < RECORD_BYTES_MAX, "a record that is too long is waited for");
                    assert!(!opened.is_closed || self.rest.is_empty());
                    if opened.is_closed {
                        self.end = End::Closed;
                    }
                }
                Err(failure) => {
                    assert!(self.records.open(&mut [0; 30]).is_err(), "it goes on after a failure");
                    self.end = End::Failed(failure.cause());
                    break;
                }
            }
        }
        self
    }
}

/// Lets a server write to a socket that takes a part of each write.
fn write(dice: &mut Dice<'_>) {
    let suite = dice.choose(&SUITES);
    let (mut client, mut server) = mirror::pair(suite);
    let (mut forger, mut pending, mut open, mut number) = (Forger::new(suite), Vec::new(), 0, 0_u8);
    let (mut sent, mut got) = (Vec::new(), Vec::new());
    let mut wire = Vec::new();
    while !dice.is_empty() && sent.len() < 200_000 {
        match dice.below(8) {
            0 | 1 => {
                let len = dice.choose(&[1, 20, 100, 16_384, 16_385, 40_000]);
                number = number.wrapping_add(1);
                pending.resize(pending.len() + len, number);
            }
            2 => {
                let mut update = forger.seal(HANDSHAKE, &KEY_UPDATE_REQUESTED, 0);
                forger.update();
                if server.open(&mut update).is_err() {
                    return; // TLS 1.2, or too many
                }
            }
            3 => pending.truncate(open.max(pending.len() / 2)),
            4 if open > 0 => {
                pending[dice.below(open.min(65_536))] ^= 1 << dice.below(8);
                let failure = server.seal(&[IoSlice::new(&pending)], &mut Vec::new(), OUT_BYTES_MAX).unwrap_err();
                assert_eq!(failure.cause(), Cause::ChangedPlaintext);
                return;
            }
            _ => {
                let slices: Vec<IoSlice<'_>> = pending.chunks(1 + dice.below(30_000)).map(IoSlice::new).collect();
                let mut out = Vec::new();
                server.seal(&slices, &mut out, dice.below(OUT_BYTES_MAX.min(65_536))).expect("nothing was changed");
                let taken = if dice.is_one_in(3) { out.len() } else { dice.below(out.len().clamp(1, 65_536)) };
                let told = server.sent(&out, taken);
                wire.extend_from_slice(&out[..taken]);
                sent.extend(pending.drain(..told.plaintext));
                open = told.open;
                assert!(open <= pending.len());
                let opened = client.open(&mut wire).expect("honest records");
                got.extend_from_slice(&wire[..opened.plaintext]);
                wire.drain(..opened.used);
                assert!(got == sent, "another text arrived");
            }
        }
    }
}

/// Makes a handshake with a client whose bytes are changed, or with no client at all.
fn shake_hands(dice: &mut Dice<'_>) {
    let (server, client) = &*CONFIGS;
    let mut handshake = Handshake::new(server);
    let lengths = dice.take(2);
    if dice.is_one_in(2) {
        let (kind, rest) = (dice.choose(&[22, 21, 20, 23]), dice.take(usize::MAX));
        let mut record = vec![kind, 3, 1, 0, rest.len() as u8];
        record.extend_from_slice(rest);
        let mut records = 0;
        while pieces(&record, lengths).try_for_each(|piece| handshake.receive(piece)).is_ok() && records < 300 {
            records += 1;
            assert!(handshake.buffered() < HANDSHAKE_BYTES_MAX);
        }
        return;
    }
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(Arc::clone(client), name).expect("a client");
    let mut is_changed = false;
    for _ in 0..4 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("a `Vec` takes all");
        }
        if dice.is_one_in(4) && !wire.is_empty() {
            is_changed = true;
            let at = dice.below(wire.len());
            wire[at] ^= 1 << dice.below(8);
        }
        if pieces(&wire, lengths).try_for_each(|piece| handshake.receive(piece)).is_err() {
            assert!(is_changed, "an honest client is refused");
            return;
        }
        assert!(handshake.buffered() < HANDSHAKE_BYTES_MAX);
        let mut output = handshake.output();
        while !output.is_empty() && client.read_tls(&mut output).is_ok() && client.process_new_packets().is_ok() {}
        handshake.sent(handshake.output().len());
    }
    if handshake.is_done() {
        let (mut records, mut rest) = handshake.finish(TlsRecords::Own).expect("it is done");
        let _ = records.open(&mut rest);
    }
}

/// A server with a certificate that nobody could verify, and a client that does not try.
static CONFIGS: LazyLock<(Arc<ServerConfig>, Arc<ClientConfig>)> = LazyLock::new(|| {
    let crypto = Arc::new(provider::default_provider());
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).expect("a key");
    let key = PrivatePkcs8KeyDer::from(key.as_ref().to_vec()).into();
    let key = provider::sign::any_supported_type(&key).expect("a key that signs");
    let certified = CertifiedKey::new(vec![CertificateDer::from(b"no certificate".to_vec())], key);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&crypto)).with_safe_default_protocol_versions();
    let resolver = Arc::new(SingleCertAndKey::from(certified));
    let mut server = builder.expect("versions").with_no_client_auth().with_cert_resolver(resolver);
    server.enable_secret_extraction = true;
    let builder = ClientConfig::builder_with_provider(crypto).with_safe_default_protocol_versions();
    let client = builder
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
});

/// Trusts every server.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
