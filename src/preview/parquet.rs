//! The first rows of a Parquet file. Its bytes are fetched as its reader wants them: the footer and the first pages,
//! not the whole.
//!
//! A file can lie about every size in it. What is read at once is bounded, and a compressed page is unpacked once into
//! nothing, to see how large it gets, before the reader may unpack it into memory.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::schema::types::Type;

use super::Bytes as Source;
use super::table::{Table, shorten};

/// Bytes read at once: a page, or the footer.
const PIECE_MAX: usize = 4 << 20;
/// Bytes that all of a page's columns together may unpack to.
const UNPACKED_MAX: u64 = 64 << 20;
/// Bytes that one page may claim to unpack to.
const PAGE_MAX: u64 = 16 << 20;
/// Bytes read for one preview.
const READ_MAX: usize = 64 << 20;
/// Read ahead where the reader takes a few bytes at a time.
const AHEAD: usize = 64 << 10;
/// The last bytes of a file: the footer's length and the format's name. No page's header is as short.
const FOOTER: usize = 8;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// `None` when it is none, or one that is not to be trusted.
pub fn read(file: impl Source + 'static, size: u64, rows: usize, columns: usize) -> Option<Table> {
    let chunks = Chunks { file: Mutex::new(Box::new(file)), size, read: AtomicUsize::new(0) };
    table(chunks, rows, columns).ok().flatten()
}

fn table(chunks: Chunks, rows: usize, columns: usize) -> Result<Option<Table>> {
    let file = SerializedFileReader::new(chunks)?;
    let schema = file.metadata().file_metadata().schema();
    let fields = schema.get_fields();
    let shown: Vec<_> = fields.iter().take(columns).cloned().collect();
    let head: Vec<String> = shown.iter().map(|f| shorten(f.name())).collect();
    if head.is_empty() {
        return Ok(None);
    }
    let hidden_columns = fields.len() - shown.len();
    let projection = Type::group_type_builder(schema.name()).with_fields(shown).build()?;
    let total = u64::try_from(file.metadata().file_metadata().num_rows()).ok();
    let mut read = Vec::new();
    for row in file.get_row_iter(Some(projection))?.take(rows) {
        let row = row?;
        let mut cells: Vec<String> = row.get_column_iter().map(|(_, field)| unquoted(&field.to_string())).collect();
        cells.resize(head.len(), String::new());
        read.push(cells);
    }
    let more = total.is_some_and(|t| t > read.len() as u64);
    Ok(Some(Table { head, rows: read, hidden_columns, total, more }))
}

/// Text is shown as it is, without the quotes that tell it from numbers.
fn unquoted(text: &str) -> String {
    shorten(text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text))
}

/// The file as its reader sees it.
struct Chunks {
    file: Mutex<Box<dyn Source>>,
    size: u64,
    /// Bytes so far.
    read: AtomicUsize,
}

impl Chunks {
    fn fetch(&self, start: u64, length: usize) -> Result<Bytes> {
        let before = self.read.fetch_add(length, Ordering::Relaxed);
        if length > PIECE_MAX || before + length > READ_MAX {
            return Err(ParquetError::General(String::from("its parts are too large for a preview")));
        }
        self.file.lock().read_at(start, length).map_err(|e| ParquetError::General(e.to_string()))
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Chunks {
    type T = Ahead;

    fn get_read(&self, start: u64) -> Result<Ahead> {
        let rest = usize::try_from(self.len().saturating_sub(start)).unwrap_or(usize::MAX);
        let bytes = self.fetch(start, rest.min(AHEAD))?;
        Ok(Ahead { bytes: std::io::Cursor::new(bytes), footer: rest <= FOOTER })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let bytes = self.fetch(start, length)?;
        if bytes.len() != length {
            return Err(ParquetError::EOF(String::from("it ends before its last page")));
        }
        unpacks(&bytes)?;
        Ok(bytes)
    }
}

/// The next bytes of a file, enough for the header of any honest page.
struct Ahead {
    bytes: std::io::Cursor<Bytes>,
    footer: bool,
}

impl Read for Ahead {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        // But for the footer's length, what is really read in this way are headers of pages.
        if self.bytes.position() == 0 && !self.footer {
            modest(self.bytes.get_ref()).map_err(std::io::Error::other)?;
        }
        self.bytes.read(into)
    }
}

/// A page's header says how large the page unpacks to, and its reader takes as much memory before it unpacks. The header
/// is Thrift's compact form: the page's kind and that size are its first two fields, as every writer has them.
///
/// # Errors
/// When it says more than [`PAGE_MAX`], or is of another form.
fn modest(header: &[u8]) -> Result<()> {
    const NEXT_FIELD_I32: u8 = 0x15;
    let mut at = 0;
    let mut last = 0;
    for _ in 0..2 {
        let refused = || ParquetError::General(String::from("its pages are not as a preview wants them"));
        if header.get(at) != Some(&NEXT_FIELD_I32) {
            return Err(refused());
        }
        at += 1;
        last = 0;
        for shift in (0..35).step_by(7) {
            let byte = *header.get(at).ok_or_else(refused)?;
            at += 1;
            last |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
    }
    // Zigzag: even numbers are the non-negative ones.
    if last % 2 == 1 || last / 2 > PAGE_MAX {
        return Err(ParquetError::General(String::from("a page of it is too large for a preview")));
    }
    Ok(())
}

/// # Errors
/// When something in `bytes` would unpack to more than [`UNPACKED_MAX`]. Wherever in them it begins: pages of the second
/// version have plain bytes first.
fn unpacks(bytes: &[u8]) -> Result<()> {
    let mut total = 0u64;
    let mut sink = vec![0; 64 << 10];
    for at in bytes.windows(4).enumerate().filter(|(_, w)| *w == ZSTD_MAGIC).map(|(at, _)| at) {
        let Ok(mut decoder) = zstd::stream::read::Decoder::new(&bytes[at..]) else { continue };
        // An error is the end of it: chance bytes, or plain ones behind it.
        while let Ok(n @ 1..) = decoder.read(&mut sink) {
            total += n as u64;
            if total > UNPACKED_MAX {
                return Err(ParquetError::General(String::from("it unpacks to too much for a preview")));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn immodest_headers_are_refused() {
        assert!(modest(&[0x15, 0x00, 0x15, 0x80, 0x01, 0x15, 0x02]).is_ok());
        assert!(modest(&[0x15, 0x04, 0x15, 0x80, 0x80, 0x80, 0x80, 0x10]).is_err(), "2 GiB");
        assert!(modest(&[0x15, 0x00, 0x15, 0x01]).is_err(), "negative");
        assert!(modest(&[0x25, 0x00, 0x15, 0x02]).is_err(), "another order");
        assert!(modest(&[0x15]).is_err() && modest(&[]).is_err());
    }

    #[test]
    fn bombs_are_seen_before_they_go_off() {
        let bomb = zstd::bulk::compress(&vec![0; 80 << 20], 19).unwrap();
        assert!(bomb.len() < 1 << 20);
        assert!(unpacks(&bomb).is_err());
        assert!(unpacks(&[b"levels".as_slice(), &bomb].concat()).is_err());
        assert!(unpacks(&zstd::bulk::compress(&vec![0; 1 << 20], 3).unwrap()).is_ok());
        assert!(unpacks(&[ZSTD_MAGIC.as_slice(), b"chance"].concat()).is_ok());
    }
}
