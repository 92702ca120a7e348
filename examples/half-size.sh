#!/bin/sh
# Half-size copies of the images in a folder: a binomial blur with stride 2, one convcli a file, as find hands them out.
#
#   examples/half-size.sh PHOTOS OUT
#
# The exit status is 0 only if every image was done; a broken one is named on standard error and the others go on.
set -eu
if [ $# -ne 2 ]; then
    echo "usage: $0 PHOTOS OUT" >&2
    exit 2
fi
case $1 in -*) photos=./$1 ;; *) photos=$1 ;; esac
mkdir -p -- "$2"
out=$(cd -- "$2" && pwd)
export out
find "$photos" -type f \( -iname '*.png' -o -iname '*.jpg' -o -iname '*.jpeg' -o -iname '*.tif' \) -exec sh -c '
    status=0
    for photo do
        name=${photo##*/}
        convcli apply "$photo" -k binomial --stride 2 -o "$out/${name%.*}.png" --quiet --overwrite || status=1
    done
    exit $status
' sh {} +
