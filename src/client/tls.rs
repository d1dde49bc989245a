//! TLS for `wss://`: rustls with ring, and the certificate authorities of the system or of one file.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use super::stream::{Socket, Stream};

/// The certificates that a client trusts, made once and used for every attempt.
#[derive(Clone, Debug)]
pub(super) struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Trusts only the certificates in this PEM file; without a file, the certificates of the system.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        match ca_file {
            Some(path) => {
                let shown = path.display();
                let certificates = CertificateDer::pem_file_iter(path).map_err(|error| format!("{shown}: {error}"))?;
                for certificate in certificates {
                    let added = certificate
                        .map_err(|error| error.to_string())
                        .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
                    added.map_err(|error| format!("{shown}: {error}"))?;
                }
                if roots.is_empty() {
                    return Err(format!("{shown}: there is no certificate in it"));
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                let _ = roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    let sentence =
                        "the system has no certificate authorities (package ca-certificates); name a CA file";
                    return Err(sentence.to_owned());
                }
            }
        }
        // Name the provider, because a program may have others compiled in.
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// TLS over this socket, to a server that must prove to be `host`. The first write performs the handshake.
    pub(super) fn wrap(&self, host: &str, socket: Socket) -> Result<Stream, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host} is not a server's name"))?;
        let tls = ClientConnection::new(Arc::clone(&self.0), name).map_err(|error| error.to_string())?;
        Ok(Stream::Tls(Box::new(StreamOwned::new(tls, socket))))
    }
}
