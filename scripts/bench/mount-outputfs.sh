#!/usr/bin/env bash
# outputfs for the harness: S3 on its server, catalog and staging on the local disk.
# The script's name says which: mount-outputfs.sh, -local (--durability local), -fsync (--durability fsync), -nopt (--no-passthrough).
NAME=$(basename "$0" .sh); NAME=${NAME#mount-}
. "$(dirname "$0")/common.sh"
. "$OUTPUTFS_BENCH_HARNESS/lib-mount.sh"
STATE=(--state-dir "$ST/state")
STORE=("${STATE[@]}" --store "s3://$BUCKET/$NAME" --s3-endpoint "$S3_ENDPOINT" --s3-path-style)

do_up() {
  local extra=()
  case $NAME in *-local) extra+=(--durability local) ;; *-fsync) extra+=(--durability fsync) ;; *-nopt) extra+=(--no-passthrough) ;; esac
  # The harness makes its folders in the mount's root: so the root is a session.
  nohup "$OUTPUTFS_BIN" mount "$M" "${STORE[@]}" --session bench --http off --foreground "${extra[@]}" >>"$ST/out" 2>&1 </dev/null &
  echo $! >"$ST/pid"
  wait_up || { tail -n 20 "$ST/out" >&2; return 1; }
}
eval "harness_down() $(declare -f do_down | tail -n +2)"
do_down() {
  local p i; p=$(do_pids)
  mountpoint_up && "$OUTPUTFS_BIN" umount "$M" "${STATE[@]}" >>"$ST/out" 2>&1
  # Takes the mount off where umount failed.
  harness_down
  [ -n "$p" ] || return 0
  for i in $(seq 300); do kill -0 "$p" 2>/dev/null || { rm -f "$ST/pid"; return 0; }; sleep 0.1; done
  echo "$NAME: the daemon (pid $p) did not end within 30 s of umount" >&2
  return 1
}
# Nothing pending: exit 0; something: 1; no answer that we understand: 3.
do_drained() {
  "$OUTPUTFS_BIN" status --json "${STORE[@]}" | python3 -c '
import json, sys
def pending(x):
    if isinstance(x, dict):
        for k, v in x.items():
            if k.startswith("pending"):
                yield len(v) if isinstance(v, list) else v if isinstance(v, int) else 0
                continue
            yield from pending(v)
    elif isinstance(x, list):
        for v in x: yield from pending(v)
found = list(pending(json.load(sys.stdin)))
sys.exit(3 if not found else 1 if any(found) else 0)'
}
do_wipe() { rm -rf "$ST/state/cache"; }
do_reset() { rm -rf "$ST"; mkdir -p "$ST"; s3rm "$NAME/" >/dev/null; }
main "$@"
