//! An event is one line of the log, whatever names it tells of.

use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

use crate::artifact::visible::{visible, visible_json};
use crate::cli::args::LogFormat;

/// Writes each event, which comes whole, as one line without control characters.
pub struct OneLine<W> {
    to: W,
    format: LogFormat,
}

impl<W> OneLine<W> {
    pub fn new(to: W, format: LogFormat) -> Self {
        Self { to, format }
    }
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for OneLine<W> {
    type Writer = OneLine<W::Writer>;
    fn make_writer(&'a self) -> Self::Writer {
        OneLine { to: self.to.make_writer(), format: self.format }
    }
}

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event.strip_suffix(b"\n").unwrap_or(event));
        let mut line = match self.format {
            LogFormat::Json => visible_json(&text),
            LogFormat::Text => visible(&text),
        };
        line.push('\n');
        self.to.write_all(line.as_bytes())?;
        Ok(event.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let mut text = OneLine::new(Vec::new(), LogFormat::Text);
        text.write_all("commit path=a\n2026 INFO forged\u{202e}\n".as_bytes()).unwrap();
        assert_eq!(String::from_utf8(text.to).unwrap(), "commit path=a\u{240a}2026 INFO forged[U+202E]\n");
        let mut json = OneLine::new(Vec::new(), LogFormat::Json);
        json.write_all("{\"path\":\"\u{9b}\"}\n".as_bytes()).unwrap();
        assert_eq!(json.to, b"{\"path\":\"\\u009b\"}\n");
    }
}
