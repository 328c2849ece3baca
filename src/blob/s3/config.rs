//! Where a bucket is and how to reach it.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use crate::artifact::{Error, Result};
use crate::blob::retry::Policy;

/// A server that does not even accept within this is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than servers and NAT gateways keep idle connections, so that a request seldom meets a dead one.
const IDLE_CONNECTION: Duration = Duration::from_secs(15);

/// A bucket, a prefix in it, and its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Config {
    pub bucket: String,
    /// Empty, or ends in `/`.
    pub prefix: String,
    /// None: `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, the profile's, else AWS itself.
    pub endpoint: Option<String>,
    /// The bucket in the path instead of the host name. None: so for every server but AWS itself.
    pub path_style: Option<bool>,
    /// None: as `aws` finds it, else `us-east-1`, which most other servers take.
    pub region: Option<String>,
    pub retry: Policy,
}

impl S3Config {
    /// Reads `s3://bucket` or `s3://bucket/prefix`.
    ///
    /// # Errors
    /// `Invalid`, with the reason.
    pub fn parse(url: &str) -> Result<Self> {
        let rest = url
            .strip_prefix("s3://")
            .ok_or_else(|| Error::invalid(format!("'{url}' is not an S3 URL such as s3://bucket/prefix")))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(plain) {
            return Err(Error::invalid(format!(
                "'{bucket}' is not a bucket's name: 3 to 63 letters, digits, '.', '-'"
            )));
        }
        let prefix = prefix.trim_matches('/');
        if prefix.contains("//") || prefix.split('/').any(|part| part == "." || part == "..") {
            return Err(Error::invalid(format!(
                "'{prefix}' is not usable as a prefix: it has an empty or dotted part"
            )));
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
            endpoint: None,
            path_style: None,
            region: None,
            retry: Policy::default(),
        })
    }

    fn endpoint(&self) -> Option<String> {
        let set = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
        self.endpoint.clone().or_else(|| set("AWS_ENDPOINT_URL_S3")).or_else(|| set("AWS_ENDPOINT_URL"))
    }

    /// True when nobody between here and the server can change what is sent: TLS, or the wire never leaves this host.
    pub(super) fn wire_is_private(&self) -> bool {
        let Some(endpoint) = self.endpoint() else { return true };
        let Some(rest) = endpoint.strip_prefix("http://") else { return true };
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        let host = match host.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    pub(super) fn describe(&self) -> String {
        let url = format!("s3://{}/{}", self.bucket, self.prefix);
        let url = url.trim_end_matches('/');
        self.endpoint().map_or_else(|| url.to_owned(), |endpoint| format!("{url} at {endpoint}"))
    }

    pub(super) async fn client(&self) -> Client {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .pool_idle_timeout(IDLE_CONNECTION)
            .build_https();
        let endpoint = self.endpoint();
        let named = RegionProviderChain::first_try(self.region.clone().map(Region::new));
        let region = if endpoint.is_some() {
            // Not the instance's region: asking for it takes seconds where there is none, and a server of one's
            // own knows nothing of it.
            named.or_else(EnvironmentVariableRegionProvider::new()).or_else(ProfileFileRegionProvider::new())
        } else {
            named.or_default_provider()
        };
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .region(region.or_else(Region::new("us-east-1")))
            // Every attempt is bounded by `S3Store::attempt`, by what it carries, and tried again by `retry::Policy`.
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(endpoint) = &endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let shared = loader.load().await;
        let config = aws_sdk_s3::config::Builder::from(&shared)
            .force_path_style(self.path_style.unwrap_or(endpoint.is_some()))
            // We send our own SHA-256 and verify what we read: no trailers, no second checksum.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        Client::from_conf(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_and_loopback_are_private() {
        let at = |endpoint: &str| {
            let mut config = S3Config::parse("s3://my-bucket").unwrap();
            config.endpoint = Some(endpoint.to_owned());
            config.wire_is_private()
        };
        for private in ["https://s3.example", "http://127.0.0.1:3900", "http://localhost:9000/x", "http://[::1]:9000"] {
            assert!(at(private), "{private}");
        }
        for open in
            ["http://10.0.0.7:9000", "http://localhost.example", "http://127.0.0.1.example/", "http://garage:3900"]
        {
            assert!(!at(open), "{open}");
        }
    }

    #[test]
    fn s3_urls() {
        let config = S3Config::parse("s3://my-bucket/a/b/").unwrap();
        assert_eq!((config.bucket.as_str(), config.prefix.as_str()), ("my-bucket", "a/b/"));
        for whole in ["s3://my-bucket", "s3://my-bucket/"] {
            assert_eq!(S3Config::parse(whole).unwrap().prefix, "");
        }
        for bad in
            ["my-bucket", "s3://", "s3:///x", "s3://b", "s3://has space/x", "s3://bucket/a//b", "s3://bucket/../x"]
        {
            assert!(S3Config::parse(bad).is_err(), "{bad}");
        }
    }
}
