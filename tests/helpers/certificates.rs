//! Certificates for a server and its clients, in files.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SignatureAlgorithm};

use super::scratch::Scratch;

/// A certificate authority whose files stand in a folder.
pub(crate) struct Certifier {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: Scratch,
    /// The file with its own certificate.
    pub(crate) ca: String,
}

/// A certificate and its key, in files.
#[derive(Clone, Debug)]
pub(crate) struct Certified {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Certifier {
    /// An authority with this name.
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::OrganizationName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
        let folder = Scratch::new();
        let ca = folder.write("ca.pem", &issuer.pem());
        Self { issuer, folder, ca }
    }

    /// Certifies a key of the kind ECDSA P-256 for these hosts. The files have this name; a second call replaces them.
    pub(crate) fn certify(&self, name: &str, hosts: &[&str]) -> Certified {
        self.certify_kind(name, hosts, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    /// The same with a key of another kind.
    pub(crate) fn certify_kind(&self, name: &str, hosts: &[&str], kind: &'static SignatureAlgorithm) -> Certified {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        self.certify_with(name, CertificateParams::new(hosts).expect("names"), kind)
    }

    /// A certificate that has expired, or is not valid yet: it is valid between the first days of two years.
    pub(crate) fn certify_between(&self, name: &str, years: [i32; 2]) -> Certified {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        [params.not_before, params.not_after] = years.map(|year| rcgen::date_time_ymd(year, 1, 1));
        self.certify_with(name, params, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    fn certify_with(&self, name: &str, params: CertificateParams, kind: &'static SignatureAlgorithm) -> Certified {
        let key = KeyPair::generate_for(kind).expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let certificate = self.folder.write(&format!("{name}.pem"), &certificate.pem());
        let key = self.folder.write(&format!("{name}.key"), &key.serialize_pem());
        fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("the file is ours");
        Certified { certificate, key }
    }

    /// Writes another file into the folder.
    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        self.folder.write(name, content)
    }
}

impl Certified {
    /// The flags of a server with this certificate.
    pub(crate) fn flags(&self) -> [&str; 4] {
        ["--tls-cert", &self.certificate, "--tls-key", &self.key]
    }
}
