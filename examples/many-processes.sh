#!/bin/sh
# Edge pictures by several processes, as xargs starts them: each takes up to eight photographs. On one machine
# `convcli apply -j` does this by itself; this is the pattern for job queues and other starters.
#
#   examples/many-processes.sh OUT PROCESSES PHOTO...
#
# The exit status is 0 if all went well, and 123 (xargs' own) if some were not done: standard error names them.
set -eu
if [ $# -lt 3 ]; then
    echo "usage: $0 OUT PROCESSES PHOTO..." >&2
    exit 2
fi
case $1 in -*) out=./$1 ;; *) out=$1 ;; esac
processes=$2
shift 2
export out
# Names come last and behind --, where a leading dash is no flag. Every process is given one thread: they share the cores.
printf '%s\0' "$@" | xargs -0 -n 8 -P "$processes" sh -c '
    exec convcli apply -k sobel --layout picture --out-dir "$out" --jobs 1 --threads 1 --quiet -- "$@"' sh
