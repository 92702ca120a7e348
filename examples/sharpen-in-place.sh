#!/bin/sh
# Sharpen the photographs below folders in their place, as mogrify does; the old ones stay beside, with .orig at the end.
#
#   examples/sharpen-in-place.sh FOLDER...
#
# Each photograph keeps its format, mode and owner, and is replaced by a whole new file or left as it was, whatever goes
# wrong. A second run is refused, because the .orig files exist: nothing is sharpened twice. To undo it all:
#
#   find FOLDER -name '*.orig' -exec sh -c 'for old do mv -- "$old" "${old%.orig}"; done' sh {} +
set -eu
if [ $# -eq 0 ]; then
    echo "usage: $0 FOLDER..." >&2
    exit 2
fi
for folder do
    case $folder in -*) folder=./$folder ;; esac
    set -- "$@" "$folder"
    shift
done
exec convcli apply "$@" --recursive --kernel sharpen --in-place --backup .orig --quiet
