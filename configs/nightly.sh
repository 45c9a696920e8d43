#!/bin/sh
# Explains what is new in a folder, and says how the folder stands only if something is wrong. Cron and systemd run it.
# Arguments are added to those of `smoothcam explain`: nightly.sh -q --retry-failed
PHOTOS=${PHOTOS:-/srv/photos}
OUT=${OUT:-/srv/audit/photos}
CONFIG=${CONFIG:-/etc/smoothcam/audit.yaml}
LOCK_WAIT=${LOCK_WAIT:-3600}  # seconds that last night's run may still take

trap : HUP INT TERM           # whoever stops a job stops all its processes; wait until smoothcam has finished the image in hand
smoothcam explain "$PHOTOS" --config "$CONFIG" -o "$OUT" --lock-wait "$LOCK_WAIT" "$@"
code=$?
[ "$code" -eq 0 ] || smoothcam summarize "$OUT"
exit "$code"
