//! Sources as the rules see them: comments and strings blanked, tests left out, line numbers kept.

/// One file of production code.
pub struct Source {
    /// From the repository's root.
    pub path: String,
    /// The text as written.
    pub raw: String,
    /// The same, byte for byte as long, with comments, literals and `#[cfg(test)]` items blanked.
    pub code: String,
}

impl Source {
    /// The name of the layer: `src/blob/local.rs` and `src/blob.rs` are `blob`; none for `main.rs` and `lib.rs`.
    pub fn layer(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        let name = rest.split('/').next().unwrap_or(rest);
        match name.strip_suffix(".rs") {
            Some("main" | "lib") => None,
            Some(module) => Some(module),
            None => Some(name),
        }
    }
    pub fn line_of(&self, offset: usize) -> usize {
        1 + self.code[..offset].bytes().filter(|b| *b == b'\n').count()
    }
}

/// The production code among the files: without those that a `#[cfg(test)] mod name;` brings in.
pub fn production(files: &[(String, String)]) -> Vec<Source> {
    let mut test_modules = Vec::new();
    let mut sources = Vec::new();
    for (path, raw) in files {
        let (code, modules) = without_tests(&blank(raw));
        let dir = path.strip_suffix("/mod.rs").or(path.strip_suffix(".rs")).unwrap_or(path);
        let dir = dir.strip_suffix("/lib").or(dir.strip_suffix("/main")).unwrap_or(dir);
        test_modules.extend(modules.iter().map(|m| format!("{dir}/{m}")));
        sources.push(Source { path: path.clone(), raw: raw.clone(), code });
    }
    sources
        .retain(|s| !test_modules.iter().any(|m| s.path == format!("{m}.rs") || s.path.starts_with(&format!("{m}/"))));
    sources
}

/// The text with comments, strings and characters turned into spaces.
fn blank(text: &str) -> String {
    let b = text.as_bytes();
    let mut out = b.to_vec();
    let mut i = 0;
    while i < b.len() {
        let end = match b[i] {
            b'/' if b[i + 1..].first() == Some(&b'/') => find(b, i, b"\n").unwrap_or(b.len()),
            b'/' if b[i + 1..].first() == Some(&b'*') => end_of_block_comment(b, i),
            b'"' => end_of_string(b, i),
            b'r' if !is_word(b, i.wrapping_sub(1)) || b[i - 1] == b'b' => end_of_raw_string(b, i).unwrap_or(i),
            b'\'' => end_of_char(b, i).unwrap_or(i),
            _ => i,
        };
        for byte in &mut out[i..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        i = end.max(i + 1);
    }
    // Whole literals and comments were blanked, never a part of a character.
    String::from_utf8(out).expect("still UTF-8")
}

/// Every string literal: its line and its text, escapes resolved so far as a shell's syntax needs them.
pub fn literals(text: &str) -> Vec<(usize, String)> {
    let b = text.as_bytes();
    let (mut found, mut i) = (Vec::new(), 0);
    while i < b.len() {
        let (end, open, close) = match b[i] {
            b'/' if b[i + 1..].first() == Some(&b'/') => (find(b, i, b"\n").unwrap_or(b.len()), 0, 0),
            b'/' if b[i + 1..].first() == Some(&b'*') => (end_of_block_comment(b, i), 0, 0),
            b'"' => (end_of_string(b, i), 1, 1),
            b'r' if !is_word(b, i.wrapping_sub(1)) || b[i - 1] == b'b' => {
                let hashes = b[i + 1..].iter().take_while(|c| **c == b'#').count();
                end_of_raw_string(b, i).map_or((i, 0, 0), |end| (end, 2 + hashes, 1 + hashes))
            }
            b'\'' => (end_of_char(b, i).unwrap_or(i), 0, 0),
            _ => (i, 0, 0),
        };
        if open > 0 && end >= i + open + close {
            let body = &text[i + open..end - close];
            let line = 1 + text[..i].matches('\n').count();
            found.push((line, if open == 1 { unescape(body) } else { body.to_owned() }));
        }
        i = end.max(i + 1);
    }
    found
}

fn unescape(body: &str) -> String {
    let (mut out, mut chars) = (String::new(), body.chars().peekable());
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some('t')) => out.push('\t'),
            // A line that goes on.
            ('\\', Some('\n')) => {
                while chars.next_if(|c| c.is_whitespace()).is_some() {}
                continue;
            }
            ('\\', Some(escaped)) => out.push(*escaped),
            _ => {
                out.push(c);
                continue;
            }
        }
        chars.next();
    }
    out
}

fn find(b: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    b[from..].windows(what.len()).position(|w| w == what).map(|at| from + at)
}

fn is_word(b: &[u8], at: usize) -> bool {
    b.get(at).is_some_and(|c| c.is_ascii_alphanumeric() || *c == b'_')
}

fn end_of_block_comment(b: &[u8], start: usize) -> usize {
    let (mut i, mut depth) = (start, 0);
    while i < b.len() {
        match &b[i..(i + 2).min(b.len())] {
            b"/*" => (depth, i) = (depth + 1, i + 2),
            b"*/" => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    b.len()
}

fn end_of_string(b: &[u8], start: usize) -> usize {
    let mut i = start + 1;
    while i < b.len() {
        match b[i] {
            b'\\' => i += 2,
            b'"' => return i + 1,
            _ => i += 1,
        }
    }
    b.len()
}

fn end_of_raw_string(b: &[u8], start: usize) -> Option<usize> {
    let hashes = b[start + 1..].iter().take_while(|c| **c == b'#').count();
    let open = start + 1 + hashes;
    if b.get(open) != Some(&b'"') {
        return None;
    }
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    Some(find(b, open + 1, &close).map_or(b.len(), |at| at + close.len()))
}

/// A character literal, not a lifetime.
fn end_of_char(b: &[u8], start: usize) -> Option<usize> {
    if b.get(start + 1) == Some(&b'\\') {
        return find(b, start + 3, b"'").map(|at| at + 1);
    }
    // At most four bytes of UTF-8 between the quotes; a lifetime has no second quote there.
    let close = (start + 2..=start + 5).find(|at| b.get(*at) == Some(&b'\''))?;
    let one = std::str::from_utf8(&b[start + 1..close]).is_ok_and(|s| s.chars().count() == 1);
    one.then_some(close + 1)
}

/// Blanks every item under `#[cfg(test)]`; with the names of modules that are in files of their own.
fn without_tests(code: &str) -> (String, Vec<String>) {
    let mut out = code.as_bytes().to_vec();
    let mut modules = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find("#[cfg(test)]").map(|at| from + at) {
        // The item ends at its `;` or with its block, whichever comes first.
        let rest = &code.as_bytes()[at..];
        let stop = rest.iter().position(|c| matches!(c, b';' | b'{')).unwrap_or(rest.len() - 1);
        let mut end = at + stop + 1;
        if rest[stop] == b'{' {
            let mut depth = 1;
            while depth > 0 && end < code.len() {
                depth += match code.as_bytes()[end] {
                    b'{' => 1,
                    b'}' => -1,
                    _ => 0,
                };
                end += 1;
            }
        } else if let Some((_, name)) = code[at..end - 1].rsplit_once("mod ") {
            modules.push(name.trim().to_owned());
        }
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        from = end;
    }
    (String::from_utf8(out).expect("still UTF-8"), modules)
}
