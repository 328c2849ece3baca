//! URLs that carry their own permission: for one artifact or upload, until a moment.

use crate::artifact::Result;
use crate::engine::store::Store;

/// Hexadecimal digits of a signature: 128 bits.
const LEN: usize = 32;

/// What a URL permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Download,
    Upload,
}

/// `expires=…&signature=…`, good until `expires` (seconds since 1970).
///
/// # Errors
/// Of the catalog, which keeps the secret.
pub async fn query(store: &Store, purpose: Purpose, id: &str, expires: i64) -> Result<String> {
    let secret = store.secret("urls").await?;
    Ok(format!("expires={expires}&signature={}", signature(&secret, purpose, id, expires)))
}

/// Whether `query` permits it at this moment.
///
/// # Errors
/// Of the catalog.
pub async fn permits(store: &Store, purpose: Purpose, id: &str, query: &str) -> Result<bool> {
    let value = |name: &str| query.split('&').find_map(|p| p.strip_prefix(name)?.strip_prefix('='));
    let (Some(expires), Some(given)) = (value("expires").and_then(|e| e.parse::<i64>().ok()), value("signature"))
    else {
        return Ok(false);
    };
    let right = signature(&store.secret("urls").await?, purpose, id, expires);
    let same: bool = subtle::ConstantTimeEq::ct_eq(right.as_bytes(), given.as_bytes()).into();
    Ok(same && store.clock.now().parts().0 < expires)
}

fn signature(secret: &[u8; 32], purpose: Purpose, id: &str, expires: i64) -> String {
    let text = format!("{purpose:?}\n{id}\n{expires}");
    blake3::keyed_hash(secret, text.as_bytes()).to_hex()[..LEN].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_one_purpose_thing_and_moment() {
        let of = |purpose, id, expires| signature(&[7; 32], purpose, id, expires);
        let one = of(Purpose::Download, "art_1", 5);
        assert_eq!(one.len(), LEN);
        assert_eq!(one, of(Purpose::Download, "art_1", 5));
        for other in
            [of(Purpose::Upload, "art_1", 5), of(Purpose::Download, "art_2", 5), of(Purpose::Download, "art_1", 6)]
        {
            assert_ne!(one, other);
        }
        assert_ne!(one, signature(&[8; 32], Purpose::Download, "art_1", 5));
    }
}
