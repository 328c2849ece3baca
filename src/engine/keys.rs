//! API keys: made, found, revoked, counted.

use subtle::ConstantTimeEq;

use crate::artifact::key::{ApiKey, KeySecret, Rate, RunOf, Scope};
use crate::artifact::time::Timestamp;
use crate::artifact::{Error, Result};
use crate::engine::store::Store;

/// Longest name of a key, in characters.
const NAME_MAX: usize = 128;

/// A fresh key: the only time it is known.
pub struct NewKey {
    pub key: ApiKey,
    pub secret: KeySecret,
}

impl Store {
    /// Makes a key of this tenant.
    ///
    /// # Errors
    /// `Invalid` for a name that is too long, no scope or an impossible rate.
    pub async fn create_key(&self, name: &str, scopes: Vec<Scope>, rate: Option<Rate>) -> Result<NewKey> {
        if name.chars().count() > NAME_MAX {
            return Err(Error::invalid(format!("a key's name has at most {NAME_MAX} characters")));
        }
        if scopes.is_empty() {
            return Err(Error::invalid("a key without a scope opens nothing: give read, write or admin"));
        }
        if rate.is_some_and(|r| r.sustained == 0 || r.burst == 0) {
            return Err(Error::invalid("a rate of 0 requests lets nobody in: revoke the key instead"));
        }
        let mut scopes = scopes;
        scopes.sort_unstable();
        scopes.dedup();
        let made = self.make_key(name, scopes, rate, None).await?;
        tracing::info!(key = made.key.id, name = made.key.name, "key made");
        Ok(made)
    }

    /// A key for the run of this store, which opens what the key `text` opens. None: `text` opens nothing here.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn key_for_run(&self, text: &str) -> Result<Option<NewKey>> {
        let Some(run) = self.run() else { return Ok(None) };
        let Some(from) = self.authenticate(text).await? else { return Ok(None) };
        let of = RunOf { run, attempt: self.attempt() };
        self.make_key(&from.id, from.scopes, from.rate, Some(of)).await.map(Some)
    }

    async fn make_key(&self, name: &str, scopes: Vec<Scope>, rate: Option<Rate>, of: Option<RunOf>) -> Result<NewKey> {
        let secret = KeySecret::from_random(&rand::random::<[u8; KeySecret::RANDOM_BYTES]>())?;
        let key = ApiKey {
            id: secret.id(),
            tenant: self.tenant.id,
            name: name.to_owned(),
            hash: secret.hash(),
            last4: secret.last4().to_owned(),
            scopes,
            rate,
            created: self.clock.now(),
            revoked: None,
            last_used: None,
            of,
        };
        self.catalog.add_key(key.clone()).await?;
        Ok(NewKey { key, secret })
    }

    /// Newest first, revoked ones too; those of runs are no one's to manage.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn keys(&self) -> Result<Vec<ApiKey>> {
        let mut keys = self.catalog.keys(self.tenant.id).await?;
        keys.retain(|k| k.of.is_none());
        Ok(keys)
    }

    /// From this moment on the key opens nothing.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when `text` is neither a key's ID nor a key.
    pub async fn revoke_key(&self, text: &str) -> Result<ApiKey> {
        let id = match text.parse::<KeySecret>() {
            Ok(secret) => secret.id(),
            Err(_) if text.starts_with("key_") => text.to_owned(),
            Err(_) => return Err(Error::invalid("name a key by its ID, key_ and eight letters")),
        };
        let key = self.catalog.revoke_key(self.tenant.id, &id, self.clock.now()).await?;
        tracing::info!(key = key.id, "key revoked");
        Ok(key)
    }

    /// The key that `text` is, if it opens this tenant now. Found by its public part; the rest is compared in constant time.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn authenticate(&self, text: &str) -> Result<Option<ApiKey>> {
        let Ok(secret) = text.parse::<KeySecret>() else { return Ok(None) };
        let Some(key) = self.catalog.key(&secret.id()).await? else { return Ok(None) };
        let same: bool = key.hash.0.ct_eq(&secret.hash().0).into();
        let mut from = key.clone();
        // What it was made from must stand too.
        while from.of.is_some() {
            match self.catalog.key(&from.name).await?.filter(|k| k.revoked.is_none()) {
                Some(above) => from = above,
                None => return Ok(None),
            }
        }
        Ok((same && key.revoked.is_none() && key.tenant == self.tenant.id).then_some(key))
    }

    /// Requests of this month, those that are not written down yet included.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn requests_this_month(&self) -> Result<u64> {
        let written = self.catalog.metered(self.tenant.id, month(self.clock.now())).await?;
        Ok(written + self.inner.meter.waiting())
    }

    /// Counts a request with a key.
    pub fn count_request(&self, key: &ApiKey) {
        self.inner.meter.count(&key.id, self.clock.now());
    }

    /// Writes down what was counted. Without success it is kept for the next time.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn write_meter(&self) -> Result<()> {
        let uses = self.inner.meter.take();
        if uses.is_empty() {
            return Ok(());
        }
        let written = self.catalog.meter(self.tenant.id, month(self.clock.now()), uses.clone()).await;
        if written.is_err() {
            self.inner.meter.put_back(uses);
        }
        written
    }

    /// The secret of that name, made at the first asking.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn secret(&self, name: &str) -> Result<[u8; 32]> {
        self.catalog.secret(name, rand::random()).await
    }
}

/// Year × 100 + month, UTC.
fn month(now: Timestamp) -> u32 {
    let text = now.to_rfc3339();
    let part = |range: std::ops::Range<usize>| text.get(range).and_then(|t| t.parse::<u32>().ok()).unwrap_or(0);
    part(0..4) * 100 + part(5..7)
}

#[cfg(test)]
mod tests {
    use crate::catalog::records::KeyUse;
    use crate::engine::store_state::Meter;

    use super::*;

    #[test]
    fn months_are_of_the_calendar() {
        assert_eq!(month(Timestamp::parse_rfc3339("2026-01-31T23:59:59Z").unwrap()), 202_601);
        assert_eq!(month(Timestamp::parse_rfc3339("2026-02-01T00:00:00Z").unwrap()), 202_602);
    }

    #[test]
    fn what_could_not_be_written_down_is_kept() {
        let meter = Meter::default();
        meter.count("key_a", Timestamp(1));
        meter.count("key_a", Timestamp(2));
        let uses = meter.take();
        assert_eq!(uses, [KeyUse { id: "key_a".into(), requests: 2, last: Timestamp(2) }]);
        meter.count("key_a", Timestamp(3));
        meter.put_back(uses);
        assert_eq!(meter.waiting(), 3);
        assert_eq!(meter.take()[0].last, Timestamp(3));
    }
}
