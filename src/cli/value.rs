//! Values as people write them: sizes, durations, moments, conditions, addresses.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use crate::artifact::key::Rate;
use crate::artifact::metadata::check_key;
use crate::artifact::query::parse_condition;
use crate::artifact::time::{Timestamp, Ttl};
use crate::artifact::{Error, Result};

/// Bytes: `4096`, `500MB`, `10GiB`, `10G` (which is `10GiB`, as in `dd`).
///
/// # Errors
/// `Invalid` with examples.
pub fn size(text: &str) -> Result<u64> {
    let bad = || Error::invalid(format!("'{text}' is not a size: write bytes, or 500MB, 64MiB, 10GiB, 2TiB"));
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let scale: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return Err(bad()),
    };
    number.checked_mul(scale).ok_or_else(bad)
}

/// A time to wait: `500ms`, `30s`, `5m`, `2h`.
///
/// # Errors
/// `Invalid` with examples.
pub fn duration(text: &str) -> Result<Duration> {
    let bad = || Error::invalid(format!("'{text}' is not a time to wait: write 500ms, 30s, 5m, 2h or 1d"));
    if let Some(millis) = text.strip_suffix("ms") {
        return millis.parse().map(Duration::from_millis).map_err(|_| bad());
    }
    match text.parse::<Ttl>().map_err(|_| bad())? {
        Ttl::Seconds(seconds) => Ok(Duration::from_secs(seconds)),
        Ttl::Never | Ttl::At(_) => Err(bad()),
    }
}

/// `100` or `50/500`: requests a second in the long run, and at once after a pause (twice as many unless said).
///
/// # Errors
/// `Invalid`.
pub fn rate(text: &str) -> Result<Rate> {
    let wrong =
        || Error::invalid(format!("'{text}' is not a rate: write 100, or 50/500 for 50 a second and 500 at once"));
    let number = |t: &str| t.parse::<u32>().ok().filter(|n| *n > 0).ok_or_else(wrong);
    let (sustained, burst) = text.split_once('/').map_or((text, None), |(s, b)| (s, Some(b)));
    let sustained = number(sustained)?;
    let burst = burst.map_or(Ok(sustained.saturating_mul(2)), number)?;
    Ok(Rate { sustained, burst })
}

/// The origin of a web page, RFC 6454: scheme, host and port; or `*`.
///
/// # Errors
/// `Invalid`.
pub fn origin(text: &str) -> Result<String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let fine =
        rest.is_some_and(|r| !r.is_empty() && r.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b)));
    if fine || text == "*" {
        return Ok(text.to_owned());
    }
    Err(Error::invalid(format!("'{text}' is not an origin: write https://app.example.org, without a path, or '*'")))
}

/// The window in which versions replace one another: a duration, or `off` (zero).
///
/// # Errors
/// `Invalid` with examples.
pub fn window(text: &str) -> Result<Duration> {
    if text == "off" { Ok(Duration::ZERO) } else { duration(text) }
}

/// How many versions a path keeps: a number from 1, or `all` (none).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep(pub Option<u32>);

impl FromStr for Keep {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.parse::<u32>() {
            _ if text == "all" => Ok(Self(None)),
            Ok(n) if n > 0 => Ok(Self(Some(n))),
            _ => Err(Error::invalid(format!("'{text}' is not a number of versions: write 1, 10, or all"))),
        }
    }
}

/// A moment: RFC 3339, or a duration before now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    At(Timestamp),
    Ago(u64),
}

impl Moment {
    #[must_use]
    pub fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Moment::At(at) => at,
            Moment::Ago(seconds) => {
                let nanos = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
                Timestamp(now.0.saturating_sub(nanos))
            }
        }
    }
}

impl FromStr for Moment {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        if let Ok(Ttl::Seconds(seconds)) = text.parse() {
            return Ok(Moment::Ago(seconds));
        }
        Timestamp::parse_rfc3339(text).map(Moment::At).map_err(|_| {
            Error::invalid(format!("'{text}' is not a time: write 90m, 7d, or 2026-01-31T12:00:00Z (RFC 3339)"))
        })
    }
}

/// `key=value`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta(pub String, pub String);

impl FromStr for Meta {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        parse_condition(text).map(|(key, value)| Meta(key, value))
    }
}

/// `key=value`, or `key~pattern`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    Is(String, String),
    Like(String, String),
}

impl FromStr for Condition {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match (text.find('='), text.find('~')) {
            (is, Some(like)) if is.is_none_or(|is| like < is) => {
                let (key, pattern) = (&text[..like], &text[like + 1..]);
                check_key(key)?;
                Ok(Condition::Like(key.to_owned(), pattern.to_owned()))
            }
            _ => parse_condition(text).map(|(key, value)| Condition::Is(key, value)),
        }
    }
}

/// A number or a size, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub Option<u64>);

impl FromStr for Limit {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        if text == "none" { Ok(Self(None)) } else { size(text).map(|n| Self(Some(n))) }
    }
}

/// `--http`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    Off,
    On(SocketAddr),
}

impl FromStr for Http {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        if text.eq_ignore_ascii_case("off") {
            return Ok(Http::Off);
        }
        text.parse()
            .map(Http::On)
            .map_err(|_| Error::invalid(format!("'{text}' is not an address: write 127.0.0.1:7780, [::1]:7780 or off")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("4096", 4096), ("500MB", 500_000_000), ("64MiB", 64 << 20), ("1g", 1 << 30)] {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
        for bad in ["", "MB", "-1", "1.5GB", "1 parsec", "99999999999TiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_to_wait() {
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("5m").unwrap(), Duration::from_secs(300));
        for bad in ["", "5", "never", "ms", "-1s"] {
            assert!(duration(bad).unwrap_err().message.contains("time to wait"), "{bad}");
        }
    }

    #[test]
    fn moments() {
        let now = Timestamp::from_parts(10_000, 0);
        assert_eq!("90s".parse::<Moment>().unwrap().resolve(now), Timestamp::from_parts(9_910, 0));
        let at = "1970-01-01T00:00:05Z".parse::<Moment>().unwrap();
        assert_eq!(at.resolve(now), Timestamp::from_parts(5, 0));
        assert!("yesterday".parse::<Moment>().is_err() && "never".parse::<Moment>().is_err());
    }

    #[test]
    fn addresses() {
        assert_eq!("off".parse::<Http>().unwrap(), Http::Off);
        assert!(matches!("[::1]:1".parse::<Http>().unwrap(), Http::On(_)));
        assert!("7780".parse::<Http>().is_err());
    }
}
