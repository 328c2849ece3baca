//! Sizes and times for people.

use crate::artifact::time::Timestamp;

/// `1.4 MB`: powers of ten, as file managers show.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} {}", if bytes == 1 { "byte" } else { "bytes" });
    }
    let mut scale = 1000u128;
    let mut unit = 0;
    // 999,950 and above would round up to "1000.0".
    while unit + 1 < UNITS.len() && u128::from(bytes) * 20 >= scale * 19_999 {
        scale *= 1000;
        unit += 1;
    }
    let tenths = (u128::from(bytes) * 10 + scale / 2) / scale;
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
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
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1000, "1.0 kB"),
            (1449, "1.4 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (5_000_000_000, "5.0 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
        assert_eq!(moment(Timestamp::from_parts(1_700_000_000, 0)), "14 Nov 2023, 22:13 UTC");
    }
}
