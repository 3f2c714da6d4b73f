//! Certificate and key: read, checked against each other, and read again without a restart.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The files that make `server.listen` speak TLS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateFiles {
    /// The certificate and those that lead from it to a root, as PEM.
    pub cert_file: PathBuf,
    /// Its key, as PEM, closed to everyone but its owner.
    pub key_file: PathBuf,
}

/// What new connections are shown. Clones are the same, so that one of them can read the files again for all.
#[derive(Clone)]
pub struct Certificates {
    files: CertificateFiles,
    current: Arc<RwLock<Arc<ServerConfig>>>,
}

/// What is wrong with one of the files; says nothing of what is in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CertificateFault {
    /// The certificate is at fault.
    Cert(String),
    /// The key is.
    Key(String),
}

// === impl Certificates ===

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn open(files: CertificateFiles) -> Result<Self, CertificateFault> {
        let current = Arc::new(RwLock::new(files.read()?));
        Ok(Self { files, current })
    }

    /// Reads the files again, for connections from now on. Where something is wrong with them, all stays as it is.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn reload(&self) -> Result<(), CertificateFault> {
        let new = self.files.read()?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    pub(super) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificates").field(&self.files).finish()
    }
}

// === impl CertificateFiles ===

impl CertificateFiles {
    /// Checks that the files can be read and belong together.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(&self) -> Result<(), CertificateFault> {
        self.read().map(drop)
    }

    fn read(&self) -> Result<Arc<ServerConfig>, CertificateFault> {
        let chain = self.chain().map_err(CertificateFault::Cert)?;
        let key = self.key().map_err(CertificateFault::Key)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| CertificateFault::Cert(format!("cannot be used: {error}")))?;
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(|error| {
            let (cert, key) = (self.cert_file.display(), self.key_file.display());
            match error {
                rustls::Error::InconsistentKeys(_) => CertificateFault::Key(format!(
                    "\"{key}\" is not the key of the certificate in \"{cert}\""
                )),
                rustls::Error::InvalidCertificate(_) => CertificateFault::Cert(format!(
                    "\"{cert}\" holds a certificate that cannot be used: {error}"
                )),
                error => CertificateFault::Key(format!("\"{key}\" holds a key that cannot be used: {error}")),
            }
        })?;
        config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let name = self.cert_file.display();
        let text = read(&self.cert_file, |_| Ok(()))?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        match chain {
            Ok(chain) if !chain.is_empty() => Ok(chain),
            Ok(_) => Err(format!("\"{name}\" holds no certificate in PEM form")),
            Err(_) => Err(format!("\"{name}\" is not well-formed PEM")),
        }
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, String> {
        let name = self.key_file.display();
        let text = read(&self.key_file, |file| {
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                let mode =
                    file.metadata().map_err(|error| error.kind().to_string())?.permissions().mode() & 0o777;
                if mode & 0o077 != 0 {
                    return Err(format!(
                        "\"{name}\" is open to others (mode {mode:03o}); chmod 600 closes it"
                    ));
                }
            }
            #[cfg(not(unix))]
            let _ = file;
            Ok(())
        })?;
        PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            pem::Error::NoItemsFound => {
                format!("\"{name}\" holds no key in PEM form, or one with a password")
            }
            _ => format!("\"{name}\" is not well-formed PEM"),
        })
    }
}

/// The bytes of a file that is not too long and passes `check`.
fn read(path: &Path, check: impl FnOnce(&std::fs::File) -> Result<(), String>) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("cannot read \"{}\": {}", path.display(), error.kind());
    let file = std::fs::File::open(path).map_err(unreadable)?;
    check(&file)?;
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("\"{}\" is too long for a certificate or a key", path.display()));
    }
    Ok(bytes)
}

// === impl CertificateFault ===

impl CertificateFault {
    /// What is wrong, in words that name the file.
    pub fn words(&self) -> &str {
        let (Self::Cert(words) | Self::Key(words)) = self;
        words
    }
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

impl std::error::Error for CertificateFault {}

/// What `stream` carries inside TLS; none where the other end does not manage to agree on it in time.
pub(super) async fn shake_hands<S>(config: Arc<ServerConfig>, stream: S) -> Option<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(stream)) => return Some(stream),
        // Whoever scans the network, or trusts another certificate: nothing that an operator could mend.
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
    None
}

/// Whether both ends have agreed on HTTP/2.
pub(super) fn is_http2<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP2)
}

/// RFC 9113 §3.2.
const HTTP2: &[u8] = b"h2";
/// Chosen: as the first head; two round trips and a signature.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// In bytes; chosen: far more than any chain has, so that a film given by mistake is not read whole.
const LONGEST: u64 = 1024 * 1024;
