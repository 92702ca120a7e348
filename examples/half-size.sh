#!/bin/sh
# Half-size copies of the images below a folder: a binomial blur with stride 2, one convcli a file, as find hands them
# out. The copies have the names and the format of the photos, in the same tree below OUT; those that exist are left.
#
#   examples/half-size.sh PHOTOS OUT
#
# The exit status is 0 only if every image was done; a broken one is named on standard error and the others go on.
set -eu
if [ $# -ne 2 ]; then
    echo "usage: $0 PHOTOS OUT" >&2
    exit 2
fi
case $1 in /*) photos=$1 ;; *) photos=./$1 ;; esac
case $2 in /*) out=$2 ;; *) out=./$2 ;; esac
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
find . -path "$prune" -prune -o \
    -type f \( -iname '*.png' -o -iname '*.jpg' -o -iname '*.jpeg' -o -iname '*.tif' \) -exec sh -c '
    status=0
    for photo do
        photo=${photo#./}
        mkdir -p "$out/./$(dirname "./$photo")" &&
            convcli apply "./$photo" -k binomial --stride 2 -o "$out/$photo" --layout picture --quiet --skip-existing ||
            status=1
    done
    exit $status
' sh {} +
