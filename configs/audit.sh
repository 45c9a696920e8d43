#!/bin/sh
# A nightly audit: explains a folder again, measures the maps, and compares them with the last night without a fault.
# Cron mails the messages. Exit code 5: a bound of `audit:` was crossed. The HTML pages are in the folder of tonight.
IMAGES=${IMAGES:-/srv/images}
NIGHTS=${NIGHTS:-/srv/audit/nights}
CONFIG=${CONFIG:-/etc/smoothcam/audit.yaml}
TONIGHT=${TONIGHT:-$NIGHTS/$(date +%F)}

worst=0
note() { [ "$1" -eq 0 ] || [ "$worst" -eq 5 ] || worst=$1; }

mkdir -p "$NIGHTS"
smoothcam explain "$IMAGES" --config "$CONFIG" -o "$TONIGHT" -q; note $?
[ "$worst" -eq 0 ] || [ "$worst" -eq 3 ] || [ "$worst" -eq 5 ] || exit "$worst"
smoothcam evaluate "$TONIGHT" --config "$CONFIG" -q; note $?
if [ -e "$NIGHTS/in-order" ]; then
    smoothcam compare "$NIGHTS/in-order" "$TONIGHT" --config "$CONFIG" --html "$TONIGHT/change.html" > "$TONIGHT/change.txt"; note $?
fi
smoothcam report "$TONIGHT" -q; note $?
[ "$worst" -ne 0 ] || ln -sfn "$TONIGHT" "$NIGHTS/in-order"
exit "$worst"
