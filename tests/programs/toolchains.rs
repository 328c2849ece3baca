//! Package managers, compilers, builds.

use super::programs;

programs! {
    node_files_and_streams:
        r#"node -e '
const fs = require("fs"), { pipeline } = require("stream/promises"), { Readable } = require("stream");
(async () => {
  fs.writeFileSync("sync.txt", "sync"); await fs.promises.writeFile("async.json", JSON.stringify({ a: 1 })); await fs.promises.appendFile("sync.txt", " more");
  await pipeline(Readable.from((function* () { for (let i = 0; i < 20000; i++) yield `line ${i}\n`; })()), fs.createWriteStream("stream.log"));
  await fs.promises.cp("stream.log", "copy.log"); await fs.promises.rename("copy.log", "renamed.log");
})()'"#,
        leaves &["sync.txt", "async.json", "stream.log", "renamed.log"],
        proof r#"[ "$(cat sync.txt)" = "sync more" ]; python3 -c 'import json; assert json.load(open("async.json")) == {"a": 1}'; [ "$(tail -n 1 stream.log)" = "line 19999" ]; cmp stream.log renamed.log"#;
    npm_install:
        r#"mkdir lib app; printf '{"name":"lib","version":"1.0.0","main":"i.js"}' > lib/package.json; echo 'module.exports = 42' > lib/i.js
           cd app; printf '{"name":"app","version":"1.0.0"}' > package.json; (cd ../lib && npm pack --silent --cache /tmp/$$-npm > /dev/null)
           npm install --silent --no-audit --no-fund --offline --cache /tmp/$$-npm ../lib/lib-1.0.0.tgz > /dev/null; rm -rf /tmp/$$-npm; node -e 'require("fs").writeFileSync("answer", String(require("lib")))'"#,
        leaves &["lib/package.json", "lib/i.js", "lib/lib-1.0.0.tgz", "app/package.json", "app/package-lock.json", "app/answer", "app/node_modules/*"],
        proof r#"[ "$(cat app/answer)" = 42 ]; grep -q lib-1.0.0.tgz app/package-lock.json"#;
    cargo_new_and_build:
        r#"export HOME=${CARGO_TEST_HOME:-/root}; cargo new -q --vcs none hello; cd hello; echo 'fn main() { println!("built here") }' > src/main.rs; cargo build -q --offline; cp target/debug/hello ../hello.bin; ../hello.bin > ../said"#,
        leaves &["hello/Cargo.toml", "hello/Cargo.lock", "hello/src/main.rs", "hello.bin", "said", "hello/target/*"],
        proof r#"[ "$(./hello.bin)" = "built here" ]; [ "$(cat said)" = "built here" ]"#;
    make_in_parallel:
        r#"for i in $(seq 12); do echo "int f$i(void) { return $i; }" > f$i.c; done; { for i in $(seq 12); do echo "int f$i(void);"; done; echo 'int main(void) { return f1() + f12() - 13; }'; } > main.c
           printf 'out: $(patsubst %%.c,%%.o,$(wildcard *.c))\n\tcc -o $@ $^\n%%.o: %%.c\n\tcc -c -o $@ $<\n' > Makefile; make -s -j4; make -s -j4 -q; ./out"#,
        leaves &["Makefile", "main.c", "main.o", "out", "f*"],
        proof "./out; make -s -q";
}
