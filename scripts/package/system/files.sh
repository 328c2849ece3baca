# Sourced: what a system gets beside the program.

# system_files BINARY USR: program, mount helper, man pages, completions, systemd unit, below the folder USR.
system_files() {
  local binary=$1 usr=$2 here
  here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
  install -Dm755 "$binary" "$usr/bin/outputfs" && mkdir -p "$usr/sbin" "$usr/share/man/man1" || return 1
  # mount(8) looks for it in /sbin.
  ln -s ../bin/outputfs "$usr/sbin/mount.fuse.outputfs" || return 1
  "$binary" man --out "$usr/share/man/man1" && gzip -9n "$usr/share/man/man1"/*.1 || return 1
  mkdir -p "$usr/share/bash-completion/completions" "$usr/share/zsh/vendor-completions" "$usr/share/fish/vendor_completions.d" || return 1
  "$binary" completions bash >"$usr/share/bash-completion/completions/outputfs" \
    && "$binary" completions zsh >"$usr/share/zsh/vendor-completions/_outputfs" \
    && "$binary" completions fish >"$usr/share/fish/vendor_completions.d/outputfs.fish" || return 1
  install -Dm644 "$here/outputfs@.service" "$usr/lib/systemd/system/outputfs@.service"
}
