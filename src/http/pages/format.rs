//! Sizes and times for people.

use crate::artifact::amount;
use crate::artifact::time::Timestamp;

/// `1.4 MiB`, as everywhere; single bytes in words.
pub fn size(bytes: u64) -> String {
    if bytes < 1024 { amount::count(bytes, "byte") } else { amount::size(bytes) }
}

/// `23 Nov 2026, 04:05 UTC`.
pub fn moment(time: Timestamp) -> String {
    jiff::Timestamp::from_second(time.parts().0)
        .map_or_else(|_| time.to_rfc3339(), |t| t.strftime("%-d %b %Y, %H:%M UTC").to_string())
}

pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in
            [(0, "0 bytes"), (1, "1 byte"), (1023, "1023 bytes"), (1500, "1.5 KiB"), (5 << 30, "5.0 GiB")]
        {
            assert_eq!(size(bytes), text, "{bytes}");
        }
        assert_eq!(moment(Timestamp::from_parts(1_700_000_000, 0)), "14 Nov 2023, 22:13 UTC");
    }
}
