//! Uploads in parts that nobody finishes: their parts take space until they are abandoned.

use super::{PAGE, S3Store, errors, moment};
use crate::artifact::Result;
use crate::blob::{BlobKey, Unfinished};

pub(super) async fn list(store: &S3Store, prefix: &str, after: Option<&Unfinished>) -> Result<Vec<Unfinished>> {
    let page = store
        .call("listing unfinished uploads", 0, || {
            store
                .client
                .list_multipart_uploads()
                .bucket(&*store.bucket)
                .prefix(format!("{}{prefix}", store.prefix))
                .max_uploads(PAGE)
                .set_key_marker(after.map(|u| store.object(&u.key)))
                .set_upload_id_marker(after.map(|u| u.id.clone()))
                .send()
        })
        .await?;
    // A server that does not know the markers would answer the same page for ever.
    let listed = page.uploads().iter().filter_map(|upload| {
        let key = upload.key()?.strip_prefix(&*store.prefix)?;
        Some(Unfinished {
            key: BlobKey(key.to_owned()),
            id: upload.upload_id()?.to_owned(),
            started: upload.initiated().map(moment),
        })
    });
    let past = |u: &Unfinished| after.is_none_or(|a| (&u.key.0, &u.id) != (&a.key.0, &a.id) && u.key.0 >= a.key.0);
    Ok(listed.filter(|u| u.key.0.starts_with(prefix) && past(u)).collect())
}

pub(super) async fn abort(store: &S3Store, upload: &Unfinished) -> Result<()> {
    let what = format!("abandoning an upload of '{}'", upload.key.0);
    store
        .call(&what, 0, || {
            store
                .client
                .abort_multipart_upload()
                .bucket(&*store.bucket)
                .key(store.object(&upload.key))
                .upload_id(&upload.id)
                .send()
        })
        .await
        .map(drop)
        .or_else(|e| if errors::is_unknown_upload(&e) || errors::is_missing_key(&e) { Ok(()) } else { Err(e) })
}
