//! Which certificate a client gets: SNI (RFC 6066 §3), and the kinds of keys that the client can check.

use std::{collections::HashMap, sync::Arc};

use rustls::{
    SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// The certificates of a server, by the hosts that they name.
#[derive(Debug)]
pub(super) struct Choice {
    all: Vec<Arc<CertifiedKey>>,
    /// For each name of a certificate, in lower case and with a `*` if it has one, the places in `all`.
    by_name: HashMap<Box<str>, Vec<usize>>,
    /// For clients that name no host, or an unknown one: the first certificate, and those that share its first name.
    default: Vec<usize>,
}

impl Choice {
    /// `certificates` are not empty, each with the names of its hosts.
    pub(super) fn new(certificates: Vec<(Arc<CertifiedKey>, Vec<String>)>) -> Self {
        let first_name = certificates.first().and_then(|(_, names)| Some(names.first()?.to_ascii_lowercase()));
        let mut by_name: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        let mut all = Vec::with_capacity(certificates.len());
        for (place, (certificate, names)) in certificates.into_iter().enumerate() {
            for name in names {
                let places = by_name.entry(name.to_ascii_lowercase().into()).or_default();
                if !places.contains(&place) {
                    places.push(place);
                }
            }
            all.push(certificate);
        }
        let default = first_name.and_then(|name| by_name.get(&*name).cloned()).unwrap_or_else(|| vec![0]);
        Self { all, by_name, default }
    }

    /// The certificate for a host: the first one that names the host itself, or else its domain with a wildcard, and whose
    /// key signs as the client allows. If no key does, the first one: then the handshake fails.
    fn find(&self, host: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<CertifiedKey>> {
        let places = host.and_then(|host| self.places(host)).unwrap_or(&self.default);
        let certificates = || places.iter().map(|&place| &self.all[place]);
        certificates().find(|certificate| certificate.key.choose_scheme(schemes).is_some()).or(certificates().next())
    }

    fn places(&self, host: &str) -> Option<&[usize]> {
        let host = host.to_ascii_lowercase();
        // A wildcard stands for exactly one label (RFC 6125 §6.4.3).
        let wild = || self.by_name.get(&*format!("*.{}", host.split_once('.')?.1));
        self.by_name.get(&*host).or_else(wild).map(Vec::as_slice)
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name(), hello.signature_schemes()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::{
        client::verify_server_name,
        crypto::ring,
        pki_types::{PrivateKeyDer, ServerName},
        server::ParsedCertificate,
    };

    use super::*;

    const ECDSA: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
    const ED25519: SignatureScheme = SignatureScheme::ED25519;

    fn certified(names: &[&str], kind: &'static rcgen::SignatureAlgorithm) -> (Arc<CertifiedKey>, Vec<String>) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate_for(kind).unwrap();
        let certificate = CertificateParams::new(names.clone()).unwrap().self_signed(&key).unwrap();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let chain = vec![certificate.der().clone()];
        (Arc::new(CertifiedKey::from_der(chain, key, &ring::default_provider()).unwrap()), names)
    }

    fn ecdsa(names: &[&str]) -> (Arc<CertifiedKey>, Vec<String>) {
        certified(names, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    /// The place of the certificate for a host.
    fn place(choice: &Choice, host: Option<&str>, schemes: &[SignatureScheme]) -> usize {
        let found = choice.find(host, schemes).unwrap();
        choice.all.iter().position(|certificate| Arc::ptr_eq(certificate, found)).unwrap()
    }

    #[test]
    fn the_host_chooses_and_the_first_certificate_serves_the_others() {
        let choice =
            Choice::new(vec![ecdsa(&["a.example"]), ecdsa(&["*.b.example", "B.Example"]), ecdsa(&["x.b.example"])]);
        for (host, expected) in [
            (None, 0),
            (Some("a.example"), 0),
            (Some("A.EXAMPLE"), 0),
            (Some("b.example"), 1),
            (Some("y.b.example"), 1),
            (Some("x.b.example"), 2),
            (Some("z.y.b.example"), 0),
            (Some("*.b.example"), 1),
            (Some("example"), 0),
            (Some("unknown.example"), 0),
            (Some(""), 0),
        ] {
            assert_eq!(place(&choice, host, &[ECDSA]), expected, "{host:?}");
        }
    }

    #[test]
    fn of_two_certificates_for_a_host_the_client_gets_the_one_that_it_can_check() {
        let choice = Choice::new(vec![
            certified(&["a.example"], &rcgen::PKCS_ED25519),
            ecdsa(&["b.example"]),
            ecdsa(&["a.example"]),
        ]);
        for host in [None, Some("a.example"), Some("unknown.example")] {
            assert_eq!(place(&choice, host, &[ECDSA]), 2, "{host:?}");
            assert_eq!(place(&choice, host, &[ECDSA, ED25519]), 0, "{host:?}");
        }
        assert_eq!(place(&choice, Some("b.example"), &[ED25519]), 1, "no other one names the host");
    }

    #[test]
    fn a_certificate_that_names_no_host_serves_all() {
        let choice = Choice::new(vec![ecdsa(&[]), ecdsa(&["b.example"])]);
        assert_eq!([None, Some("b.example")].map(|host| place(&choice, host, &[ECDSA])), [0, 1]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Webpki decides what a certificate is valid for. Of those that are, an exact name goes before a wildcard.
        #[test]
        fn the_certificate_is_valid_for_the_host_if_any_is(
            names in prop::collection::vec("(\\*\\.)?([ab]\\.){0,2}[ab]\\.c", 1..6),
            host in "([abAB]\\.){0,3}[abAB]\\.c",
        ) {
            let certificates: Vec<_> = names.iter().map(|name| ecdsa(&[name])).collect();
            let choice = Choice::new(certificates);
            let server_name = ServerName::try_from(host.clone()).unwrap();
            let is_valid = |place: usize| {
                let certificate = ParsedCertificate::try_from(&choice.all[place].cert[0]).unwrap();
                verify_server_name(&certificate, &server_name).is_ok()
            };
            let chosen = place(&choice, Some(&host), &[ECDSA]);
            let exact = names.iter().position(|name| name.eq_ignore_ascii_case(&host));
            let wild = (0..names.len()).find(|&place| is_valid(place));
            prop_assert_eq!(chosen, exact.or(wild).unwrap_or(0));
        }
    }
}
