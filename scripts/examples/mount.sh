#!/bin/sh
# The pipeline on a mount: the scripts write files, nothing in them knows of outputfs.
#   mount.sh FOLDER-OF-THE-SCRIPTS       in an empty folder; OUTPUTFS_SESSION_ID names the session
set -eu
scripts=$1
step() { outputfs run --step "$1" -- python3 "$scripts/$1.py"; }
# A retry takes the place of what the failed attempt left.
step extract || step extract
step analyze
outputfs seal "$OUTPUTFS_SESSION_ID" >&2
# The link is served for as long as something serves: a mount, or `outputfs serve`.
python3 "$scripts/notify.py" "$(outputfs link "$OUTPUTFS_SESSION_ID/report.md" --quiet)"
