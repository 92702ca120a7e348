#!/bin/sh
# Print an indexed Kubernetes job, a shard a pod, for kubectl; a pod that is lost is started again.
#
#   convcli job plan JOB IN -r -k sobel --out-dir OUT
#   examples/job-kubernetes.sh JOB IMAGE | kubectl apply -f -
#
# IMAGE has convcli installed. JOB, IN and OUT are paths of a volume that every pod mounts, or URLs of a store whose
# credentials are in the secret "convcli-store".
set -eu
if [ $# -ne 2 ]; then
    echo "usage: $0 JOB IMAGE" >&2
    exit 2
fi
shards=$(convcli job status "$1" --json | sed 's/.*"shards": \([0-9]*\).*/\1/')
# The name stands in single quotes below: one in it ends them, is escaped, and begins them again.
quoted=$(printf '%s' "$1" | sed "s/'/'\\\\''/g")
cat <<YAML
apiVersion: batch/v1
kind: Job
metadata:
  name: convcli
spec:
  completionMode: Indexed
  completions: $shards
  parallelism: 50
  backoffLimitPerIndex: 3
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: convcli
          image: "$2"
          command: ["sh", "-c"]
          args:
            - |
              convcli job run '$quoted' --shard "\$JOB_COMPLETION_INDEX" --jobs 2 --quiet
              status=\$?
              [ \$status = 7 ] || exit \$status
          resources:
            requests: {cpu: "2", memory: 4Gi}
          envFrom:
            - secretRef: {name: convcli-store, optional: true}
YAML
