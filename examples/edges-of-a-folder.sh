#!/bin/sh
# Edge pictures of every image below a folder, its tree kept, in one process.
#
#   examples/edges-of-a-folder.sh PHOTOS OUT
#
# Names may hold spaces, quotes, line breaks, a leading dash or any script: they never pass through the shell's
# word splitting. Run it again after adding photographs: what exists is left alone.
set -eu
if [ $# -ne 2 ]; then
    echo "usage: $0 PHOTOS OUT" >&2
    exit 2
fi
case $1 in -*) photos=./$1 ;; *) photos=$1 ;; esac
exec convcli apply "$photos" --recursive --kernel sobel --layout picture --out-dir "$2" --skip-existing --quiet
