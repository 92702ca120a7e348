#!/bin/sh
# Sharpened copies of the photographs that find picks, their tree kept: one convcli a folder, which gets the names through
# a pipe, each ended by NUL, so that spaces, quotes and line breaks in them do no harm. Change pick() to taste: -newer
# last-run, -size -10M, -perm ...
#
#   examples/tree-from-find.sh PHOTOS OUT
#
# The exit status is 0 only if every image was done; a broken one is named on standard error and the others go on.
set -eu
if [ $# -ne 2 ]; then
    echo "usage: $0 PHOTOS OUT" >&2
    exit 2
fi
case $1 in /*) photos=$1 ;; *) photos=./$1 ;; esac
case $2 in /*) out=$2 ;; *) out=$PWD/$2 ;; esac
mkdir -p "$out"
out=$(CDPATH='' cd "$out" && pwd -P)
export out
cd "$photos"
photos=$(pwd -P)
if [ "$out" = "$photos" ]; then
    echo "$0: OUT is PHOTOS: the copies would have the names of the photos" >&2
    exit 2
fi
# Where OUT lies in PHOTOS it is not searched; its path is a pattern to find, so its wildcards are quoted.
case $out in
"${photos%/}"/*) prune=$(printf '%s\n' "./${out#"${photos%/}"/}" | sed 's/[][*?\\]/\\&/g') ;;
*) prune=//none ;;
esac
exec find . -path "$prune" -prune -o -type d -exec sh -c '
    pick() { find "$1" -maxdepth 1 -type f \( -iname "*.jpg" -o -iname "*.jpeg" -o -iname "*.png" \) -print0; }
    status=0
    for folder do
        [ -n "$(pick "$folder" | tr "\0" x)" ] || continue
        pick "$folder" | convcli apply --files-from - -0 -k sharpen --layout picture --out-dir "$out/$folder" \
            --name "{stem}.{ext}" --skip-existing --quiet || status=1
    done
    exit $status
' sh {} +
