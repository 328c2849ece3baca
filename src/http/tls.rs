//! HTTPS: a certificate and its key from PEM files, read again when they change (as renewals do, every few weeks).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::artifact::{Error, Result};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// `--tls-cert` and `--tls-key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then those that vouch for it.
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// The certificate in use. A leaf lock.
pub struct Tls {
    files: TlsFiles,
    now: Mutex<Current>,
}

struct Current {
    acceptor: TlsAcceptor,
    of: Stamps,
    looked: Instant,
}

/// When the files were written.
type Stamps = [Option<SystemTime>; 2];

impl Tls {
    /// # Errors
    /// `Invalid` when a file cannot be read, or key and certificate do not belong together.
    pub fn open(files: TlsFiles) -> Result<Self> {
        let of = stamps(&files);
        let acceptor = load(&files)?;
        Ok(Self { files, now: Mutex::new(Current { acceptor, of, looked: Instant::now() }) })
    }

    /// For the next connection. Files that changed and are not fit yet (a renewal half done) leave the former ones in use.
    pub fn acceptor(&self) -> TlsAcceptor {
        let mut now = self.now.lock();
        if now.looked.elapsed() >= LOOK {
            now.looked = Instant::now();
            let of = stamps(&self.files);
            if of != now.of {
                match load(&self.files) {
                    Ok(acceptor) => {
                        now.acceptor = acceptor;
                        now.of = of;
                        tracing::info!(file = %self.files.chain.display(), "the certificate was read again");
                    }
                    Err(e) => tracing::warn!(error = %e, "the former certificate stays in use"),
                }
            }
        }
        now.acceptor.clone()
    }
}

fn stamps(files: &TlsFiles) -> Stamps {
    let of = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    [of(&files.chain), of(&files.key)]
}

fn load(files: &TlsFiles) -> Result<TlsAcceptor> {
    let unfit = |path: &Path, what: &str, e: &dyn std::fmt::Display| {
        Error::invalid(format!("{}: {what} in PEM is wanted here: {e}", path.display()))
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.chain)
        .and_then(Iterator::collect)
        .map_err(|e| unfit(&files.chain, "a certificate", &e))?;
    if chain.is_empty() {
        return Err(unfit(&files.chain, "a certificate", &"there is none in it"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| unfit(&files.key, "a private key", &e))?;
    let together = |e: tokio_rustls::rustls::Error| {
        Error::invalid(format!("{} and {}: {e}", files.chain.display(), files.key.display()))
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(together)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(together)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
