#!/bin/sh
# Explains the new images of a folder. Prints the summary only if something is wrong. Cron and systemd run it.
# Its arguments are passed to `smoothcam explain`: nightly.sh -q --retry-failed
IMAGES=${IMAGES:-/srv/images}
OUT=${OUT:-/srv/audit/images}
CONFIG=${CONFIG:-/etc/smoothcam/audit.yaml}
LOCK_WAIT=${LOCK_WAIT:-3600}  # seconds to wait for last night's run, if it has not ended

trap : HUP INT TERM           # a stop signal goes to all processes of the job: this script waits until smoothcam has finished its current images
smoothcam explain "$IMAGES" --config "$CONFIG" -o "$OUT" --lock-wait "$LOCK_WAIT" "$@"
code=$?
[ "$code" -eq 0 ] || smoothcam summarize "$OUT"
exit "$code"
