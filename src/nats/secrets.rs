//! The files with this node's login and certificates, and with the certificates that it trusts.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_nats::Auth;
use nkeys::KeyPair;
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::config::{Config, Login, Secret, read_file};

/// The login of this node.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Secrets {
    None,
    Password(String, String),
    Token(String),
    Nkey(String),
    /// A JWT, and the seed of its user.
    Credentials(String, String),
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    /// # Errors
    /// One sentence that names the option and the file, and no secret.
    pub(super) fn read(login: Option<&Login>) -> Result<Self, String> {
        let secret = |secret: &Secret| secret.expose().to_owned();
        Ok(match login {
            None => Self::None,
            Some(Login::Password(user, password)) => Self::Password(user.clone(), secret(password)),
            Some(Login::Token(token)) => Self::Token(secret(token)),
            Some(Login::PasswordFile(user, path)) => {
                Self::Password(user.clone(), first_line("nats-password-file", path)?)
            }
            Some(Login::Credentials(path)) => {
                let text = read("nats-creds", path)?;
                let mut parts = decorated(&text);
                match (parts.next(), parts.next()) {
                    (Some(jwt), Some(seed)) if KeyPair::from_seed(seed).is_ok() => {
                        Self::Credentials(jwt.to_owned(), seed.to_owned())
                    }
                    _ => return Err(format!("nats-creds: {} is not a credentials file", path.display())),
                }
            }
            Some(Login::Nkey(path)) => {
                let seed = first_line("nats-nkey", path)?;
                if !seed.starts_with("SU") || KeyPair::from_seed(&seed).is_err() {
                    return Err(format!("nats-nkey: {} does not hold a seed, which begins with SU", path.display()));
                }
                Self::Nkey(seed)
            }
        })
    }

    /// The option that names the file of this login.
    pub(super) fn option(login: Option<&Login>) -> Option<&'static str> {
        Some(match login? {
            Login::Password(..) | Login::Token(_) => "nats",
            Login::PasswordFile(..) => "nats-password-file",
            Login::Credentials(_) => "nats-creds",
            Login::Nkey(_) => "nats-nkey",
        })
    }

    /// The login for a server that has sent this nonce.
    ///
    /// # Errors
    /// A seed that cannot sign.
    pub(super) fn auth(&self, nonce: &[u8]) -> Result<Auth, String> {
        let mut auth = Auth::new();
        let pair = |seed: &str| KeyPair::from_seed(seed).map_err(|_| "a seed is none".to_owned());
        let sign = |pair: &KeyPair| pair.sign(nonce).map_err(|_| "a seed does not sign".to_owned());
        match self {
            Self::None => {}
            Self::Password(user, password) => {
                auth.username = Some(user.clone());
                auth.password = Some(password.clone());
            }
            Self::Token(token) => auth.token = Some(token.clone()),
            Self::Nkey(seed) => {
                let pair = pair(seed)?;
                auth.nkey = Some(pair.public_key());
                auth.signature = Some(sign(&pair)?);
            }
            Self::Credentials(jwt, seed) => {
                auth.jwt = Some(jwt.clone());
                auth.signature = Some(sign(&pair(seed)?)?);
            }
        }
        Ok(auth)
    }
}

/// The lines that follow a line of dashes with `BEGIN` in it.
fn decorated(text: &str) -> impl Iterator<Item = &str> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    std::iter::from_fn(move || {
        lines.find(|line| line.starts_with("---") && line.contains("BEGIN"))?;
        lines.next()
    })
}

/// The options of TLS, and their files.
pub(super) struct TlsFiles {
    ca: Option<PathBuf>,
    /// The certificate and the key of this node.
    own: Option<(PathBuf, PathBuf)>,
    pub(super) is_required: bool,
    /// TLS begins before the server's first line.
    pub(super) is_first: bool,
    /// The last files that could be used: their texts, and the configuration made of them. None until TLS is needed.
    kept: Mutex<(Vec<String>, Option<Arc<ClientConfig>>)>,
}

impl fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsFiles").field("is_required", &self.is_required).finish_non_exhaustive()
    }
}

impl TlsFiles {
    /// # Errors
    /// One sentence that names the option and the file, and no secret.
    pub(super) fn read(config: &Config, is_tls: bool) -> Result<Self, String> {
        let own = config.nats_tls_cert.clone().zip(config.nats_tls_key.clone());
        let (ca, is_first) = (config.nats_tls_ca.clone(), config.nats_tls_first);
        let is_required = is_tls || ca.is_some() || own.is_some() || is_first;
        let files = Self { ca, own, is_required, is_first, kept: Mutex::default() };
        files.reread()?;
        Ok(files)
    }

    /// Reads the files again, and gives the options whose files have changed.
    ///
    /// # Errors
    /// As [`TlsFiles::read`]; the last contents stay in use.
    pub(super) fn reread(&self) -> Result<Vec<&'static str>, String> {
        let mut texts = Vec::new();
        if let Some(path) = &self.ca {
            texts.push(("nats-tls-ca", path, read("nats-tls-ca", path)?));
        }
        if let Some((certificate, key)) = &self.own {
            texts.push(("nats-tls-cert", certificate, read("nats-tls-cert", certificate)?));
            texts.push(("nats-tls-key", key, read("nats-tls-key", key)?));
        }
        let news: Vec<String> = texts.iter().map(|(.., text)| text.clone()).collect();
        let mut kept = lock(&self.kept);
        let options = texts.iter().map(|(option, ..)| *option).enumerate();
        let changed: Vec<_> =
            options.filter(|(at, _)| kept.0.get(*at) != news.get(*at)).map(|(_, name)| name).collect();
        if !changed.is_empty() {
            let text_of = |option| {
                texts.iter().find(|(name, ..)| *name == option).map(|(_, path, text)| (path.as_path(), &**text))
            };
            let client = build(text_of("nats-tls-ca"), text_of("nats-tls-cert").zip(text_of("nats-tls-key")))?;
            *kept = (news, Some(Arc::new(client)));
        }
        Ok(changed)
    }

    /// The TLS configuration for a new connection. Each connection reads the files again.
    ///
    /// # Errors
    /// The system has no certificates.
    pub(super) fn client(&self) -> Result<Arc<ClientConfig>, String> {
        if let Err(reason) = self.reread() {
            log::warn!("NATS: {reason}; the last usable files stay in use");
        }
        let mut kept = lock(&self.kept);
        if let Some(client) = &kept.1 {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(build(None, None)?);
        kept.1 = Some(Arc::clone(&client));
        Ok(client)
    }
}

type Text<'t> = (&'t Path, &'t str);

fn build(ca: Option<Text<'_>>, own: Option<(Text<'_>, Text<'_>)>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some((path, text)) => {
            for certificate in certificates("nats-tls-ca", path, text)? {
                let is_sound = roots.add(certificate).is_ok();
                if !is_sound {
                    return Err(format!("nats-tls-ca: a certificate in {} cannot be used", path.display()));
                }
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("nats: TLS cannot be used: {error}"))?
        .with_root_certificates(roots);
    let Some(((path, text), (key_path, key))) = own else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates("nats-tls-cert", path, text)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|_| format!("nats-tls-key: there is no private key in {}", key_path.display()))?;
    builder.with_client_auth_cert(chain, key).map_err(|_| {
        format!("nats-tls-key: {} does not belong to the certificate in {}", key_path.display(), path.display())
    })
}

fn certificates(option: &str, path: &Path, text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(format!("{option}: there is no certificate in {}", path.display())),
    }
}

fn read(option: &str, path: &Path) -> Result<String, String> {
    let text = read_file(path).and_then(|content| String::from_utf8(content).map_err(io::Error::other));
    text.map_err(|error| format!("{option}: cannot read {}: {error}", path.display()))
}

fn first_line(option: &str, path: &Path) -> Result<String, String> {
    let text = read(option, path)?;
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(format!("{option}: {} is empty", path.display())),
    }
}

/// Locks state that is shared with the thread that reloads the configuration. Nothing panics half way while it holds such
/// a lock.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
