#!/bin/sh
# For cron: edge pictures of what is new below a folder. It says nothing where all went well, so cron mails failures only.
#
#   17 3 * * *  /path/to/examples/nightly.sh /srv/photos /srv/edges
#
# Existing pictures are left alone, and each appears whole or not at all: a run that was killed is made up for by the next.
# The exit status is convcli's: 7 if some photographs failed and all others are done.
set -eu
if [ $# -ne 2 ]; then
    echo "usage: $0 PHOTOS OUT" >&2
    exit 2
fi
case $1 in -*) photos=./$1 ;; *) photos=$1 ;; esac
case $2 in -*) out=./$2 ;; *) out=$2 ;; esac
if [ ! -d "$photos" ]; then # a disk that is not mounted, most of the time
    echo "$0: $photos: no such folder" >&2
    exit 2
fi
status=0
errors=$(convcli apply "$photos" --recursive -k sobel --layout picture --out-dir "$out" --skip-existing --quiet 2>&1) ||
    status=$?
case $status in
0) ;;
7) printf '%s: some photographs failed, the others are done:\n%s\n' "$0" "$errors" >&2 ;;
*) printf '%s: nothing can be said to be done (exit status %s):\n%s\n' "$0" "$status" "$errors" >&2 ;;
esac
exit "$status"
