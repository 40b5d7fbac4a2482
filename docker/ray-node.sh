#!/bin/bash
# A Ray node in the foreground; the arguments are those of `ray start`. Its object store takes nine tenths of the
# container's shared memory: left to itself, Ray wants 30 % of the machine's memory and, where shared memory is
# smaller, puts its objects on the disk.
set -euo pipefail
shm_bytes=$(df --output=avail --block-size=1 /dev/shm | tail -n 1)
exec ray start --block --disable-usage-stats --node-manager-port=6380 \
    --object-store-memory=$((shm_bytes / 10 * 9)) "$@"
