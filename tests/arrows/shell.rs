//! Shell in the tests' literals: what `bash -e` lets pass although it failed.
//!
//! A `! CMD` never ends a script, nor does what fails on the left of `&&`, unless the list is the last of its script,
//! subshell or function. An assertion written like that in the middle cannot fail. Conditions of `if`, `while` and
//! `until` may hold both.

/// What is wrong, and where in the script.
#[derive(Debug, PartialEq, Eq)]
pub struct Blind {
    pub offset: usize,
    pub what: &'static str,
}

const NOT: &str = "a bare `!` never fails: refuses CMD…, lacks PATTERN CMD…";
const AND: &str = "what fails before this list's last `&&` is ignored: `;`, or `if`";

/// A script above this is a program, and belongs into Python or Rust.
pub const MAX_LINES: usize = 15;

/// Whether it is a shell script, and a long one. Python that is run as such begins with its imports; what a word of the
/// script holds (a program for `python3 -c`) is not the script's own.
pub fn long(script: &str) -> bool {
    let lines = script.lines().count();
    if lines <= MAX_LINES || script.trim_start().starts_with("import ") || script.trim_start().starts_with("from ") {
        return false;
    }
    let within: usize = tokens(script, 0, &mut Vec::new())
        .iter()
        .map(|(_, token)| if let Token::Word(word) = token { word.matches('\n').count() } else { 0 })
        .sum();
    lines.saturating_sub(within) > MAX_LINES
}

/// Every assertion in the script that cannot fail.
pub fn blind(script: &str) -> Vec<Blind> {
    let mut found = Vec::new();
    walk(script, 0, &mut found);
    found.sort_by_key(|b| b.offset);
    found
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    /// `;`, `&`, a line's end, `;;`.
    End,
    And,
    Or,
    Pipe,
    Open,
    Close,
}

/// What the commands stand in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Subshell,
    Function,
    /// `{ …; }`, and between `then` or `do` and its end.
    Block,
    /// Between `if`, `while`, `until` and `then`, `do`.
    Condition,
}

fn walk(script: &str, base: usize, found: &mut Vec<Blind>) {
    let tokens = tokens(script, base, found);
    let mut within: Vec<Within> = Vec::new();
    let mut and: Option<usize> = None;
    let (mut at_command, mut function) = (true, false);
    for (n, (at, token)) in tokens.iter().enumerate() {
        let conditional = within.contains(&Within::Condition);
        let ends = match token {
            Token::End | Token::Close => true,
            Token::Word(w) => at_command && matches!(*w, "}" | "}}" | "then" | "do" | "else" | "elif" | "fi" | "done"),
            _ => false,
        };
        if ends && let Some(at) = and.take() {
            let next = tokens[n..].iter().find(|(_, t)| *t != Token::End).map(|(_, t)| *t);
            let last = matches!(
                (next, within.last()),
                (None, None)
                    | (Some(Token::Close), Some(Within::Subshell))
                    | (Some(Token::Word("}" | "}}")), Some(Within::Function))
            );
            if !last && !conditional {
                found.push(Blind { offset: at, what: AND });
            }
        }
        match token {
            Token::End | Token::Pipe => at_command = true,
            Token::And => (and, at_command) = (Some(base + at), true),
            Token::Or => (and, at_command) = (None, true),
            Token::Open if !at_command => {
                // `name()`: its `)` comes next.
                function = true;
                within.push(Within::Subshell);
            }
            Token::Open => within.push(Within::Subshell),
            // Without its `(`: the end of a pattern of `case`.
            Token::Close => {
                at_command = true;
                if within.last() == Some(&Within::Subshell) {
                    within.pop();
                    at_command = function;
                }
            }
            Token::Word(word) if at_command => {
                at_command = true;
                let negates = matches!(tokens.get(n + 1), Some((_, Token::Word(_) | Token::Open)));
                match *word {
                    "!" if !conditional && negates => found.push(Blind { offset: base + at, what: NOT }),
                    "!" | "time" | "else" => {}
                    "if" | "while" | "until" => within.push(Within::Condition),
                    "elif" => replace(&mut within, Within::Condition),
                    "then" => replace(&mut within, Within::Block),
                    // Of a `for` there is no condition.
                    "do" if conditional => replace(&mut within, Within::Block),
                    "{" | "{{" if function => within.push(Within::Function),
                    "do" | "{" | "{{" => within.push(Within::Block),
                    "fi" | "done" | "}" | "}}" => {
                        within.pop();
                        at_command = false;
                    }
                    _ => at_command = false,
                }
                function = false;
            }
            Token::Word(_) => {}
        }
    }
}

fn replace(within: &mut Vec<Within>, by: Within) {
    within.pop();
    within.push(by);
}

/// The script's words and operators; substitutions are walked on their own.
fn tokens<'a>(script: &'a str, base: usize, found: &mut Vec<Blind>) -> Vec<(usize, Token<'a>)> {
    let b = script.as_bytes();
    let mut tokens = Vec::new();
    let mut heredocs: Vec<String> = Vec::new();
    let mut i = 0;
    while i < b.len() {
        let two = &b[i..(i + 2).min(b.len())];
        let (token, len) = match (b[i], two) {
            (b' ' | b'\t', _) => {
                i += 1;
                continue;
            }
            (b'#', _) => {
                i = script[i..].find('\n').map_or(b.len(), |n| i + n);
                continue;
            }
            (b'\n', _) => {
                let at = i;
                i += 1;
                for end in heredocs.drain(..) {
                    i = after_heredoc(script, i, &end);
                }
                tokens.push((at, Token::End));
                continue;
            }
            (_, b"&&") => (Token::And, 2),
            (_, b"||") => (Token::Or, 2),
            (_, b";;") => (Token::End, 2),
            (_, b"((") => {
                i = close(b, i, b'(', b')');
                tokens.push((i, Token::Word("((")));
                continue;
            }
            (b'&', _) if two != b"&>" => (Token::End, 1),
            (b';', _) => (Token::End, 1),
            (b'|', _) => (Token::Pipe, 1),
            (b'(', _) => (Token::Open, 1),
            (b')', _) => (Token::Close, 1),
            _ => {
                let end = word(script, i, base, &mut heredocs, found);
                let text = &script[i..end];
                // `[[ a && b ]]` is one command.
                let end = if text == "[[" { script[i..].find("]]").map_or(b.len(), |n| i + n + 2) } else { end };
                (Token::Word(&script[i..end]), end - i)
            }
        };
        tokens.push((i, token));
        i += len;
    }
    tokens
}

/// The end of the word that begins at `start`, redirections and quoted parts included.
fn word(script: &str, start: usize, base: usize, heredocs: &mut Vec<String>, found: &mut Vec<Blind>) -> usize {
    let b = script.as_bytes();
    let mut i = start;
    let mut quoted = false;
    while i < b.len() {
        let rest = &b[i..];
        match b[i] {
            b'\\' => i += 2,
            b'\'' if !quoted => i = script[i + 1..].find('\'').map_or(b.len(), |n| i + n + 2),
            b'"' => (quoted, i) = (!quoted, i + 1),
            _ if rest.starts_with(b"$((") => i = close(b, i + 1, b'(', b')'),
            _ if rest.starts_with(b"$(") || (!quoted && (rest.starts_with(b"<(") || rest.starts_with(b">("))) => {
                let end = close(b, i + 1, b'(', b')');
                walk(&script[i + 2..end.saturating_sub(1).max(i + 2)], base + i + 2, found);
                i = end;
            }
            _ if rest.starts_with(b"${") => i = close(b, i + 1, b'{', b'}'),
            _ if quoted => i += 1,
            _ if rest.starts_with(b"<<<") => i += 3,
            _ if rest.starts_with(b"<<") => {
                let line = script[i + 2..].lines().next().unwrap_or_default();
                let name =
                    line.trim_start_matches(['-', ' ']).split([' ', ';', '|', ')', '>']).next().unwrap_or_default();
                heredocs.push(name.trim_matches(['\'', '"']).to_owned());
                i += 2 + line.find(name).unwrap_or_default() + name.len();
            }
            _ if [b">&".as_slice(), b"<&", b"&>", b">|"].iter().any(|op| rest.starts_with(op)) => i += 2,
            b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' => break,
            _ => i += 1,
        }
    }
    let mut end = i.min(b.len()).max(start + 1);
    while !script.is_char_boundary(end) {
        end += 1;
    }
    end
}

/// After the bracket that closes the one at `open`, quotes respected.
fn close(b: &[u8], open: usize, opens: u8, closes: u8) -> usize {
    let (mut i, mut depth) = (open, 0);
    while i < b.len() {
        match b[i] {
            b'\\' => i += 1,
            b'\'' | b'"' => {
                let quote = b[i];
                i += 1;
                while i < b.len() && b[i] != quote {
                    if quote == b'"' && b[i] == b'\\' {
                        i += 1;
                    } else if quote == b'"' && b[i..].starts_with(b"$(") {
                        i = close(b, i + 1, b'(', b')') - 1;
                    }
                    i += 1;
                }
            }
            c if c == opens => depth += 1,
            c if c == closes => depth -= 1,
            _ => {}
        }
        i += 1;
        if depth == 0 {
            return i.min(b.len());
        }
    }
    b.len()
}

fn after_heredoc(script: &str, from: usize, end: &str) -> usize {
    let mut at = from;
    for line in script[from..].split_inclusive('\n') {
        at += line.len();
        if line.trim_end_matches('\n').trim_start_matches('\t') == end {
            return at;
        }
    }
    at
}
