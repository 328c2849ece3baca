//! `Range` (RFC 9110, 14.2): which bytes were asked for.

use std::ops::Range;

/// More ranges than this in one request are answered with the whole: RFC 9110 14.2 lets a server do so, and no player
/// or downloader asks for more.
const MAX_RANGES: usize = 16;

/// What a `Range` header means for a representation of a known size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// No range, or one that is to be ignored: status 200.
    Whole,
    /// One range (206) or several (206, `multipart/byteranges`), in the order asked for, none of them empty.
    Parts(Vec<Range<u64>>),
    /// Nothing of it exists: status 416.
    Unsatisfiable,
}

/// Reads a `Range` header. A malformed one is ignored, as the RFC demands; so are an unknown unit, too many ranges
/// and ranges that together exceed the whole (the known attack with overlapping ranges).
#[must_use]
pub fn parse(header: &str, size: u64) -> Asked {
    let Some((unit, set)) = header.split_once('=') else { return Asked::Whole };
    // An empty file has no byte to point at: the whole of it is the better answer than an error.
    if !unit.trim().eq_ignore_ascii_case("bytes") || size == 0 {
        return Asked::Whole;
    }
    let mut parts = Vec::new();
    let mut specs = 0;
    for spec in set.split(',').map(str::trim).filter(|s| !s.is_empty()) {
        specs += 1;
        match one(spec, size) {
            Ok(Some(range)) => parts.push(range),
            Ok(None) => {}
            Err(Malformed) => return Asked::Whole,
        }
    }
    let total = parts.iter().fold(0u64, |sum, r| sum.saturating_add(r.end - r.start));
    if specs == 0 || specs > MAX_RANGES || (parts.len() > 1 && total > size) {
        Asked::Whole
    } else if parts.is_empty() {
        Asked::Unsatisfiable
    } else {
        Asked::Parts(parts)
    }
}

struct Malformed;

/// `None`: outside the file. `size` is not zero.
fn one(spec: &str, size: u64) -> Result<Option<Range<u64>>, Malformed> {
    let (first, last) = spec.split_once('-').ok_or(Malformed)?;
    match (first.trim(), last.trim()) {
        ("", "") => Err(Malformed),
        ("", suffix) => {
            let suffix = number(suffix).ok_or(Malformed)?;
            Ok((suffix > 0).then(|| size - suffix.min(size)..size))
        }
        (first, last) => {
            let first = number(first).ok_or(Malformed)?;
            let end = if last.is_empty() { size } else { number(last).ok_or(Malformed)?.saturating_add(1) };
            if end <= first && !last.is_empty() {
                return Err(Malformed);
            }
            Ok((first < size).then(|| first..end.min(size)))
        }
    }
}

/// Digits alone (no sign); a number beyond 64 bits is beyond every file.
fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().unwrap_or(u64::MAX - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "a list of ranges with one in it is meant")]
    fn ranges_as_the_rfc_reads_them() {
        let parts = |ranges: &[Range<u64>]| Asked::Parts(ranges.to_vec());
        for (header, expected) in [
            ("bytes=0-499", parts(&[0..500])),
            ("bytes=500-", parts(&[500..10_000])),
            ("bytes=-500", parts(&[9500..10_000])),
            ("bytes=-99999", parts(&[0..10_000])),
            ("bytes=9999-9999", parts(&[9999..10_000])),
            ("bytes=0-99999999999999999999999", parts(&[0..10_000])),
            ("Bytes = 0-0 , -1", parts(&[0..1, 9999..10_000])),
            ("bytes=0-0,20000-", parts(&[0..1])),
            ("bytes=10000-", Asked::Unsatisfiable),
            ("bytes=99999999999999999999999-", Asked::Unsatisfiable),
            ("bytes=-0", Asked::Unsatisfiable),
            ("bytes=5-4", Asked::Whole),
            ("bytes=", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("lines=0-1", Asked::Whole),
            ("0-1", Asked::Whole),
            ("bytes=0-9999,0-9999", Asked::Whole),
        ] {
            assert_eq!(parse(header, 10_000), expected, "{header}");
        }
        let many = (0..17).map(|i| format!("{i}-{i}")).collect::<Vec<_>>().join(",");
        assert_eq!(parse(&format!("bytes={many}"), 10_000), Asked::Whole);
        assert_eq!(parse("bytes=0-", 0), Asked::Whole);
    }

    proptest! {
        #[test]
        fn parts_lie_inside_and_are_not_empty(header in "(bytes=)?[0-9,\\- ]{0,30}", size in 0u64..3000) {
            if let Asked::Parts(parts) = parse(&header, size) {
                prop_assert!(!parts.is_empty());
                prop_assert!(parts.iter().all(|r| r.start < r.end && r.end <= size));
            }
        }
    }
}
