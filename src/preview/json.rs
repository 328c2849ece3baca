//! JSON, one value a line.

use serde_json::Value;

/// `None` when it is not JSON, or when nothing would be gained. The order of keys stays.
#[must_use]
pub fn pretty(text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    serde_json::to_string_pretty(&value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_order_and_depth_is_bounded() {
        assert_eq!(pretty(r#"{"b":1,"a":[2]}"#).unwrap(), "{\n  \"b\": 1,\n  \"a\": [\n    2\n  ]\n}");
        assert_eq!(pretty("{"), None);
        assert_eq!(pretty(&"[".repeat(100_000)), None);
    }
}
