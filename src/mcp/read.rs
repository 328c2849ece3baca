//! Content as blocks: text as text, pictures and sound as such, the rest as base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::json;

use super::resources;
use crate::artifact::record::Artifact;
use crate::artifact::{Error, Kind, Result, charset};
use crate::engine::store::Store;

/// Text in one answer, in bytes: about what a model can take at once.
pub const TEXT_MAX: u64 = 256 << 10;
/// Anything else in one answer, in bytes before base64.
pub const BINARY_MAX: u64 = 4 << 20;

enum Form {
    Text,
    Image,
    Audio,
    Other,
}

/// Text that is not called so.
const TEXTS: [&str; 12] = [
    "application/json",
    "application/jsonl",
    "application/x-ndjson",
    "application/yaml",
    "application/toml",
    "application/javascript",
    "application/sql",
    "application/xml",
    "application/xhtml+xml",
    "application/x-sh",
    "application/x-ipynb+json",
    "image/svg+xml",
];

fn form(content_type: &str) -> Form {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        e if e.starts_with("text/") || e.ends_with("+json") || TEXTS.contains(&e) => Form::Text,
        "image/png" | "image/jpeg" | "image/gif" | "image/webp" => Form::Image,
        e if e.starts_with("audio/") => Form::Audio,
        _ => Form::Other,
    }
}

/// The bytes from `offset`, at most `length` of them, and what they are a part of.
///
/// # Errors
/// `Invalid` for a stretch outside of the content; of the store.
pub async fn blocks(store: &Store, artifact: &Artifact, offset: u64, length: Option<u64>) -> Result<CallToolResult> {
    let size = artifact.size;
    if offset > size || length == Some(0) {
        return Err(Error::invalid(format!("the artifact has {size} bytes: there are none to read from {offset}")));
    }
    let form = form(&artifact.content_type);
    let part = offset > 0 || length.is_some_and(|n| n < size);
    let most = if matches!(form, Form::Text) { TEXT_MAX } else { BINARY_MAX };
    if !part && !matches!(form, Form::Text) && size > most {
        return Err(Error::new(
            Kind::Invalid,
            format!(
                "the artifact has {size} bytes, too many for one answer: read it in parts of at most {most} bytes \
                 with offset and length, or make a download link"
            ),
        ));
    }
    let wanted = length.unwrap_or(most).min(most).min(size - offset);
    let bytes = store.reader(artifact).await?.read_at(offset, usize::try_from(wanted).unwrap_or(usize::MAX)).await?;
    let mut taken = bytes.len() as u64;
    let block = match form {
        Form::Text => {
            let more = offset + taken < size;
            match whole_characters(&bytes, more) {
                Some(text) => {
                    taken = text.len() as u64;
                    ContentBlock::text(text)
                }
                None => match decoded(store, artifact, offset, &bytes, more).await? {
                    Some((text, used)) => {
                        taken = used;
                        ContentBlock::text(text)
                    }
                    None => embedded(artifact, &bytes),
                },
            }
        }
        Form::Image if !part => ContentBlock::image(STANDARD.encode(&bytes), artifact.content_type.clone()),
        Form::Audio if !part => ContentBlock::audio(STANDARD.encode(&bytes), artifact.content_type.clone()),
        _ => embedded(artifact, &bytes),
    };
    let end = offset + taken;
    let mut result = CallToolResult::success(vec![block]);
    if end < size {
        result
            .content
            .push(ContentBlock::text(format!("This is bytes {offset} to {end} of {size}. Read on with offset {end}.")));
    }
    result.structured_content = Some(json!({
        "artifact_id": artifact.id.to_string(),
        "content_type": artifact.content_type,
        "size_bytes": size,
        "offset": offset,
        "length": taken,
        "next_offset": (end < size).then_some(end),
    }));
    Ok(result)
}

/// All of an artifact as a resource.
///
/// # Errors
/// `FileTooLarge` above [`BINARY_MAX`]; of the store.
pub async fn resource(store: &Store, artifact: &Artifact) -> Result<ResourceContents> {
    if artifact.size > BINARY_MAX {
        let message = format!(
            "the artifact has {} bytes: resources are read up to {BINARY_MAX}; read_artifact reads parts, \
             create_download_link gives it whole",
            artifact.size
        );
        return Err(Error::new(Kind::FileTooLarge, message));
    }
    let length = usize::try_from(artifact.size).unwrap_or(usize::MAX);
    let bytes = store.reader(artifact).await?.read_at(0, length).await?;
    let said = charset::said(&artifact.content_type);
    Ok(match (form(&artifact.content_type), charset::text(&bytes, false, said)) {
        (Form::Text, Some(text)) => ResourceContents::text(text, resources::uri(artifact.id)),
        _ => ResourceContents::blob(STANDARD.encode(&bytes), resources::uri(artifact.id)),
    }
    .with_mime_type(artifact.content_type.clone()))
}

/// The part of a text in another encoding than UTF-8, and of how many bytes it is; `None` when it is no text. What the encoding is, the
/// beginning of the artifact says.
async fn decoded(
    store: &Store,
    artifact: &Artifact,
    offset: u64,
    bytes: &[u8],
    more: bool,
) -> Result<Option<(String, u64)>> {
    let head = if offset == 0 {
        bytes::Bytes::copy_from_slice(bytes)
    } else {
        store.reader(artifact).await?.read_at(0, charset::SAMPLE).await?
    };
    let cut = (head.len() as u64) < artifact.size;
    let Some(encoding) = charset::of(&head, cut, charset::said(&artifact.content_type)) else { return Ok(None) };
    Ok(charset::part(encoding, bytes, offset == 0, more))
}

/// `None` when it is not UTF-8. A character that `more` would complete is left to the next part.
fn whole_characters(bytes: &[u8], more: bool) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(e) if more && e.error_len().is_none() && e.valid_up_to() > 0 => {
            std::str::from_utf8(&bytes[..e.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

fn embedded(artifact: &Artifact, bytes: &[u8]) -> ContentBlock {
    let contents = ResourceContents::blob(STANDARD.encode(bytes), resources::uri(artifact.id));
    ContentBlock::resource(contents.with_mime_type(artifact.content_type.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_never_cut() {
        let text = "añ".as_bytes();
        assert_eq!(whole_characters(&text[..2], true), Some("a"));
        assert_eq!(whole_characters(&text[..2], false), None);
        assert_eq!(whole_characters(text, true), Some("añ"));
        assert_eq!(whole_characters(&[0xff, b'a'], true), None);
        assert_eq!(whole_characters(b"", false), Some(""));
    }
}
