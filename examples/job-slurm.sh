#!/bin/sh
# Submit a planned job to SLURM as an array, a shard a task; submitted again, finished shards end at once.
#
#   convcli job plan JOB /data/photos -r -k sobel --out-dir /data/edges
#   examples/job-slurm.sh JOB [sbatch options]
set -eu
if [ $# -lt 1 ]; then
    echo "usage: $0 JOB [sbatch options]" >&2
    exit 2
fi
job=$1
shift
last=$(($(convcli job status "$job" --json | sed 's/.*"shards": \([0-9]*\).*/\1/') - 1))
# The name stands in single quotes below: one in it ends them, is escaped, and begins them again.
quoted=$(printf '%s' "$job" | sed "s/'/'\\\\''/g")
# Arrays end at MaxArraySize, often 1000: there, take larger shards, or --shard A-B with several in a task.
sbatch --array="0-$last" --cpus-per-task=2 --mem=4G --requeue --job-name=convcli "$@" <<SCRIPT
#!/bin/sh
convcli job run '$quoted' --shard "\$SLURM_ARRAY_TASK_ID" --jobs "\$SLURM_CPUS_PER_TASK" --quiet
status=\$?
# 7: the shard is done, and the report names the inputs that failed.
[ \$status = 7 ] || exit \$status
SCRIPT
