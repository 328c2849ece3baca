# Sourced by `run` and the mount scripts: the harness, our binary.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
BENCH_DIR=$ROOT/scripts/bench
export OUTPUTFS_BENCH_HARNESS=${OUTPUTFS_BENCH_HARNESS:-$ROOT/../shared/bench}
[ -f "$OUTPUTFS_BENCH_HARNESS/lib-mount.sh" ] || die "the bench harness is not at $OUTPUTFS_BENCH_HARNESS: set OUTPUTFS_BENCH_HARNESS"
export OUTPUTFS_BENCH_HARNESS; OUTPUTFS_BENCH_HARNESS=$(cd "$OUTPUTFS_BENCH_HARNESS" && pwd)
RELEASE=${CARGO_TARGET_DIR:-$ROOT/target}/release
OUTPUTFS_BIN=${OUTPUTFS_BIN:-$RELEASE/outputfs}
PUT_LOOP_BIN=${PUT_LOOP_BIN:-$RELEASE/examples/put_loop}
export OUTPUTFS_BIN PUT_LOOP_BIN
