//! Guessing a content type where nobody said one.

/// Types of files that agents make and the table of the `mime_guess` crate lacks or takes for something else (`.ts` is a video
/// there, `.dot` a template of Word). Registered with IANA where there is such a name.
const OWN: [(&str, &str); 62] = [
    ("arrow", "application/vnd.apache.arrow.file"),
    ("avro", "application/vnd.apache.avro"),
    ("bat", "text/plain"),
    ("cjs", "text/javascript"),
    ("ckpt", "application/octet-stream"),
    ("cts", "text/x-typescript"),
    ("cu", "text/x-cuda"),
    ("diff", "text/x-diff"),
    ("dot", "text/vnd.graphviz"),
    ("drawio", "application/vnd.jgraph.mxfile"),
    ("feather", "application/vnd.apache.arrow.file"),
    ("gguf", "application/x-gguf"),
    ("go", "text/x-go"),
    ("gql", "application/graphql"),
    ("graphql", "application/graphql"),
    ("gv", "text/vnd.graphviz"),
    ("h5", "application/x-hdf5"),
    ("hdf5", "application/x-hdf5"),
    ("ipynb", "application/x-ipynb+json"),
    ("java", "text/x-java"),
    ("jl", "text/x-julia"),
    ("joblib", "application/x-pickle"),
    ("jsonl", "application/jsonl"),
    ("kt", "text/x-kotlin"),
    ("kts", "text/x-kotlin"),
    ("log", "text/plain"),
    ("lua", "text/x-lua"),
    ("mdx", "text/mdx"),
    ("mermaid", "text/vnd.mermaid"),
    ("mjs", "text/javascript"),
    ("mmd", "text/vnd.mermaid"),
    ("mts", "text/x-typescript"),
    ("ndjson", "application/x-ndjson"),
    ("npy", "application/x-npy"),
    ("npz", "application/x-npz"),
    ("obj", "model/obj"),
    ("onnx", "application/x-onnx"),
    ("parquet", "application/vnd.apache.parquet"),
    ("patch", "text/x-diff"),
    ("pickle", "application/x-pickle"),
    ("pkl", "application/x-pickle"),
    ("proto", "text/x-protobuf"),
    ("pt", "application/x-pytorch"),
    ("pth", "application/x-pytorch"),
    ("py", "text/x-python"),
    ("r", "text/x-r"),
    ("rs", "text/x-rust"),
    ("safetensors", "application/x-safetensors"),
    ("scala", "text/x-scala"),
    ("sql", "application/sql"),
    ("sqlite", "application/vnd.sqlite3"),
    ("sqlite3", "application/vnd.sqlite3"),
    ("stl", "model/stl"),
    ("svelte", "text/x-svelte"),
    ("swift", "text/x-swift"),
    ("tf", "text/x-terraform"),
    ("toml", "application/toml"),
    ("ts", "text/x-typescript"),
    ("tsx", "text/x-typescript"),
    ("vue", "text/x-vue"),
    ("yaml", "application/yaml"),
    ("zst", "application/zstd"),
];

pub const BINARY: &str = "application/octet-stream";
pub const TEXT: &str = "text/plain";

/// Bytes of a file's beginning that [`by_bytes`] wants to see (tar's mark lies at 257).
pub const HEAD: usize = 512;

/// The type of a file of this name whose bytes are of type `bytes`. A known ending of the name decides; else what [`by_bytes`] said.
/// It is asked again whenever the name changes.
#[must_use]
pub fn guess<'a>(name: &[u8], bytes: &'a str) -> &'a str {
    by_name(name).unwrap_or(bytes)
}

/// What bytes that begin with `head` are, whatever they are called: by the marks that formats begin with; else whether it is text.
#[must_use]
pub fn by_bytes(head: &[u8]) -> &'static str {
    infer::get(head).map_or(if is_text(head) { TEXT } else { BINARY }, |kind| kind.mime_type())
}

fn by_name(name: &[u8]) -> Option<&'static str> {
    let name = name.rsplit(|&b| b == b'/').next()?;
    let dot = name.iter().rposition(|&b| b == b'.')?;
    // `.profile` is hidden, not of type profile.
    if dot == 0 {
        return None;
    }
    let ext = std::str::from_utf8(&name[dot + 1..]).ok()?.to_ascii_lowercase();
    let ext = if ext == "yml" { "yaml" } else { &ext };
    let own = OWN.iter().find(|(e, _)| *e == ext).map(|(_, t)| *t);
    own.or_else(|| mime_guess::from_ext(ext).first_raw())
}

/// UTF-8 without control characters other than those of text; the last character may be cut.
fn is_text(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        Err(e) => e.error_len().is_none(),
    };
    // Terminal output has escapes (0x1b) and backspaces.
    valid && head.iter().all(|&b| b >= 0x20 || b"\t\n\r\x0c\x1b\x08".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn guess(name: &[u8], head: &[u8]) -> String {
        super::guess(name, by_bytes(head)).to_owned()
    }

    #[test]
    fn the_name_wins_when_it_is_known() {
        for (name, want) in [
            ("report.pdf", "application/pdf"),
            ("a/b.c/Q3.PNG", "image/png"),
            ("index.html", "text/html"),
            ("data.csv", "text/csv"),
            ("data.json", "application/json"),
            ("notes.md", "text/markdown"),
            ("main.ts", "text/x-typescript"),
            ("t.parquet", "application/vnd.apache.parquet"),
            ("x.tar.gz", "application/gzip"),
            ("app.log", "text/plain"),
            ("a.svg", "image/svg+xml"),
            ("a.dot", "text/vnd.graphviz"),
            ("a.jsonl", "application/jsonl"),
            ("a.ipynb", "application/x-ipynb+json"),
            ("a.webp", "image/webp"),
            ("a.avif", "image/avif"),
            ("Cargo.toml", "application/toml"),
            ("a.tsx", "text/x-typescript"),
            ("a.rs", "text/x-rust"),
            ("a.go", "text/x-go"),
            ("a.py", "text/x-python"),
            ("a.gguf", "application/x-gguf"),
            ("a.safetensors", "application/x-safetensors"),
            ("a.npz", "application/x-npz"),
            ("a.mdx", "text/mdx"),
            ("a.drawio", "application/vnd.jgraph.mxfile"),
            ("a.mmd", "text/vnd.mermaid"),
            ("a.patch", "text/x-diff"),
            ("a.sqlite", "application/vnd.sqlite3"),
            ("a.yml", "application/yaml"),
            ("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
            ("a.wasm", "application/wasm"),
            ("a.tsv", "text/tab-separated-values"),
            ("a.js", "text/javascript"),
            ("a.mjs", "text/javascript"),
            ("a.kt", "text/x-kotlin"),
            ("a.R", "text/x-r"),
            ("a.proto", "text/x-protobuf"),
            ("a.h5", "application/x-hdf5"),
            ("a.pt", "application/x-pytorch"),
            ("a.pkl", "application/x-pickle"),
            ("a.feather", "application/vnd.apache.arrow.file"),
            ("a.csv.zst", "application/zstd"),
        ] {
            assert_eq!(guess(name.as_bytes(), b"\x89PNG\r\n\x1a\n"), want, "{name}");
        }
    }

    #[test]
    fn bytes_decide_where_the_name_says_nothing() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        for name in ["chart", "chart.", ".png", "chart.unheard-of", "dir.png/chart"] {
            assert_eq!(guess(name.as_bytes(), png), "image/png", "{name}");
        }
        assert_eq!(guess(b"doc", b"%PDF-1.7"), "application/pdf");
        assert_eq!(guess(b"README", "Grüße\n\x1b[1m".as_bytes()), TEXT);
        assert_eq!(guess(b"cut", &"Grü".as_bytes()[..3]), TEXT);
        assert_eq!(guess(b"empty", b""), TEXT);
        assert_eq!(guess(b"blob", b"abc\0def"), BINARY);
        assert_eq!(guess(b"latin1", b"Gr\xfc\xdfe"), BINARY);
        assert_eq!(guess(b"\xff.\xfe", b"x"), TEXT);
    }

    /// The search below takes the first.
    #[test]
    fn every_ending_stands_once_and_in_order() {
        assert!(OWN.is_sorted_by(|a, b| a.0 < b.0));
    }

    proptest! {
        #[test]
        fn never_panics_and_is_a_type(name in any::<Vec<u8>>(), head in any::<Vec<u8>>()) {
            prop_assert!(guess(&name, &head).contains('/'));
        }
    }
}
