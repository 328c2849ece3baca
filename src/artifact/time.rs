//! Moments and durations as plain numbers. Nothing here reads a clock: callers pass `now`.

use std::fmt;
use std::str::FromStr;

use super::error::{Error, Result};

const NANOS_PER_SEC: i64 = 1_000_000_000;

/// Nanoseconds since the Unix epoch, UTC. 64 bits reach from 1677 to 2262.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The moment `seconds` and `nanos` after the epoch; what does not fit is clamped.
    #[must_use]
    pub fn from_parts(seconds: i64, nanos: u32) -> Self {
        Self(seconds.saturating_mul(NANOS_PER_SEC).saturating_add(i64::from(nanos)))
    }

    /// Whole seconds since the epoch (rounded down) and the nanoseconds above them.
    #[must_use]
    pub fn parts(self) -> (i64, u32) {
        let nanos = u32::try_from(self.0.rem_euclid(NANOS_PER_SEC)).unwrap_or(0);
        (self.0.div_euclid(NANOS_PER_SEC), nanos)
    }

    /// RFC 3339 in UTC with microseconds, as all our JSON shows it.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        let micros = self.0.div_euclid(1000);
        jiff::Timestamp::from_microsecond(micros).map_or_else(|_| String::from("invalid"), |t| format!("{t:.6}"))
    }

    /// # Errors
    /// `EINVAL` unless `text` is an RFC 3339 date and time with an offset.
    pub fn parse_rfc3339(text: &str) -> Result<Self> {
        let t: jiff::Timestamp = text
            .parse()
            .map_err(|_| Error::invalid(format!("'{text}' is not an RFC 3339 time such as 2026-01-31T12:00:00Z")))?;
        i64::try_from(t.as_nanosecond())
            .map(Self)
            .map_err(|_| Error::invalid(format!("'{text}' is out of range: years 1678 to 2261 are known")))
    }

    #[must_use]
    pub fn plus(self, ttl: Ttl) -> Option<Timestamp> {
        match ttl {
            Ttl::Never => None,
            Ttl::At(at) => Some(at),
            Ttl::Seconds(s) => {
                Some(Self(self.0.saturating_add(i64::try_from(s).unwrap_or(i64::MAX).saturating_mul(NANOS_PER_SEC))))
            }
        }
    }
}

/// How long something lives. Written `90s`, `90m`, `12h`, `7d`, `2w`, `never`, or as the moment of its end (RFC 3339).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ttl {
    Seconds(u64),
    /// Until then.
    At(Timestamp),
    Never,
}

impl Ttl {
    /// What a tenant has unless it says otherwise: 30 days.
    pub const DEFAULT: Ttl = Ttl::Seconds(30 * 86_400);
    /// A hundred years: beyond it, people mean `never`.
    const MAX_SECONDS: u64 = 36_525 * 86_400;
}

impl FromStr for Ttl {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        let bad = || {
            Error::invalid(format!(
                "'{s}' is not a duration: write 90s, 90m, 12h, 7d, 2w, never or 2026-01-31T12:00:00Z"
            ))
        };
        if s == "never" {
            return Ok(Ttl::Never);
        }
        // A date and a time: no duration has either mark.
        if s.contains('-') && s.contains(':') {
            return Timestamp::parse_rfc3339(s).map(Ttl::At);
        }
        let unit = s.chars().last().ok_or_else(bad)?;
        let scale = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            _ => return Err(bad()),
        };
        let digits = &s[..s.len() - 1];
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let seconds = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(scale)).ok_or_else(bad)?;
        if seconds == 0 || seconds > Self::MAX_SECONDS {
            return Err(Error::invalid(format!("'{s}' is not a usable duration: from 1s to 36525d, or never")));
        }
        Ok(Ttl::Seconds(seconds))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Ttl::Never => f.write_str("never"),
            Ttl::At(at) => f.write_str(&at.to_rfc3339()),
            Ttl::Seconds(s) => {
                let (n, unit) = [(86_400, 'd'), (3600, 'h'), (60, 'm')]
                    .into_iter()
                    .find(|(scale, _)| s % scale == 0)
                    .map_or((s, 's'), |(scale, unit)| (s / scale, unit));
                write!(f, "{n}{unit}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, seconds) in [("90s", 90), ("90m", 5400), ("12h", 43_200), ("7d", 604_800), ("2w", 1_209_600)] {
            assert_eq!(text.parse::<Ttl>().unwrap(), Ttl::Seconds(seconds));
        }
        assert_eq!("never".parse::<Ttl>().unwrap(), Ttl::Never);
        for bad in ["", "d", "7", "-1d", "+1d", "1.5h", "0s", "7 d", "9999999999999d", "1y", "é"] {
            assert!(bad.parse::<Ttl>().is_err(), "{bad}");
        }
        let at = Timestamp::parse_rfc3339("2026-01-31T12:00:00Z").unwrap();
        assert_eq!("2026-01-31T13:00:00+01:00".parse::<Ttl>().unwrap(), Ttl::At(at));
        assert_eq!(Timestamp(5).plus(Ttl::At(at)), Some(at));
        for text in ["90s", "90m", "12h", "7d", "never", "2026-01-31T12:00:00.000000Z"] {
            assert_eq!(text.parse::<Ttl>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn times_are_rfc3339_in_utc() {
        let t = Timestamp::from_parts(1_700_000_000, 123_456_789);
        assert_eq!(t.to_rfc3339(), "2023-11-14T22:13:20.123456Z");
        assert_eq!(Timestamp::parse_rfc3339("2023-11-14T23:13:20.5+01:00").unwrap().0, 1_700_000_000_500_000_000);
        assert_eq!(Timestamp(-1).parts(), (-1, 999_999_999));
        assert!(Timestamp::parse_rfc3339("yesterday").is_err());
    }
}
