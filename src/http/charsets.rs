//! The charset of texts, as their bytes say it: without one browsers take what comes for UTF-8.

use std::num::NonZeroUsize;

use encoding_rs::{Encoding, UTF_8};
use lru::LruCache;
use parking_lot::Mutex;

use crate::artifact::ids::BlobHash;
use crate::artifact::record::Artifact;
use crate::artifact::{Result, charset};
use crate::http::App;
use crate::http::media::Media;

/// Texts whose charset is known.
// Not zero, as the compiler sees.
const KNOWN: NonZeroUsize = NonZeroUsize::new(8192).unwrap();

/// What was found before, by hash.
pub struct Charsets(Mutex<LruCache<BlobHash, &'static Encoding>>);

impl Default for Charsets {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(KNOWN)))
    }
}

/// How an artifact's bytes are sent. The charset comes from the beginning of its content, where the record says none.
///
/// # Errors
/// When the content cannot be read.
pub async fn media(app: &App, artifact: &Artifact) -> Result<Media> {
    let media = Media::of(&artifact.content_type);
    if !media.guesses_charset() || artifact.size == 0 {
        return Ok(media);
    }
    let known = app.charsets.0.lock().get(&artifact.hash).copied();
    let found = match known {
        Some(found) => found,
        None => {
            let reader = app.store.stream(artifact).await?;
            let sample = app.readers.read(&reader, 0, charset::SAMPLE).await?;
            let cut = (sample.len() as u64) < artifact.size;
            // What is no text is called what it always was: nobody can read it anyhow.
            let found = charset::of(&sample, cut, None).unwrap_or(UTF_8);
            app.charsets.0.lock().put(artifact.hash, found);
            found
        }
    };
    Ok(media.in_charset(found.name()))
}
