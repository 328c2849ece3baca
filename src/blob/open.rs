//! From what the user said to a store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::BlobStore;
use super::local::LocalStore;
use super::retry::Policy;
use super::s3::{S3Config, S3Store};
use crate::artifact::{Error, Result};

/// Where blobs are kept and how to get there.
#[derive(Clone, Debug, Default)]
pub struct StoreOptions {
    /// `s3://bucket/prefix`, `file:///dir`, a path; none: `local_root`.
    pub url: Option<String>,
    /// S3 only; none: as the `aws` CLI finds it.
    pub endpoint: Option<String>,
    /// S3 only; none: the bucket is in the path when there is an endpoint.
    pub path_style: Option<bool>,
    /// S3 only; none: as the `aws` CLI finds it.
    pub region: Option<String>,
    /// The store when no URL is given: `StateDir::blobs_dir`.
    pub local_root: PathBuf,
    /// How long a request to S3 is tried.
    pub retry: Policy,
}

/// Opens the store that `options` name. A bucket is not asked whether it exists: the first request will tell.
///
/// # Errors
/// `Invalid` for a URL that names no store; I/O errors of a local one.
pub async fn open_store(options: &StoreOptions) -> Result<Arc<dyn BlobStore>> {
    let url = options.url.as_deref().unwrap_or("");
    if url.starts_with("s3://") {
        let config = S3Config {
            endpoint: options.endpoint.clone(),
            path_style: options.path_style,
            region: options.region.clone(),
            retry: options.retry,
            ..S3Config::parse(url)?
        };
        return Ok(Arc::new(S3Store::open(config).await));
    }
    Ok(Arc::new(LocalStore::open(&local_root(url, &options.local_root)?)?))
}

fn local_root(url: &str, default: &Path) -> Result<PathBuf> {
    if url.is_empty() {
        return Ok(default.to_path_buf());
    }
    match url.split_once("://") {
        // `s3:` and the like: a URL cut short, not the name of a directory.
        None if !url.split('/').next().unwrap_or_default().ends_with(':') => Ok(PathBuf::from(url)),
        Some(("file", path)) if path.starts_with('/') => Ok(PathBuf::from(path)),
        _ => Err(Error::invalid(format!(
            "'{url}' is not a store: write s3://bucket/prefix, file:///directory or a directory's path"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_and_what_is_none() {
        let default = Path::new("/state/blobs");
        assert_eq!(local_root("", default).unwrap(), default);
        assert_eq!(local_root("file:///srv/blobs", default).unwrap(), Path::new("/srv/blobs"));
        assert_eq!(local_root("./blobs", default).unwrap(), Path::new("./blobs"));
        for bad in ["s3:", "s3:/bucket", "gs://bucket", "http://host/bucket", "file://relative"] {
            assert!(local_root(bad, default).is_err(), "{bad}");
        }
    }
}
