#!/bin/sh
# Edges of a folder by GNU parallel, a shard a process; stopped half-way, the same line goes on where it ended.
#
#   examples/job-parallel.sh JOB IN OUT [SHARD]
#
# Add --sshlogin and --env job to the parallel line for several machines that see the same folders.
set -eu
if [ $# -lt 3 ]; then
    echo "usage: $0 JOB IN OUT [SHARD]" >&2
    exit 2
fi
export job="$1"  # by the environment: no name has to be quoted for the shells that parallel starts
[ -e "$job/job.json" ] || convcli job plan "$job" "$2" --recursive -k sobel --out-dir "$3" --shard "${4:-1000}" --quiet
last=$(($(convcli job status "$job" --json | sed 's/.*"shards": \([0-9]*\).*/\1/') - 1))
# Status 7 is a shard that is done, with inputs that failed: the report names them. Anything else is tried twice more.
seq 0 "$last" | parallel --jobs 100% --retries 3 \
    'convcli job run "$job" --shard {} --jobs 1 --quiet || { status=$?; [ $status = 7 ] || exit $status; }'
convcli job report "$job"
