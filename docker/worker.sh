#!/bin/bash
# The job worker beside a Ray node of its own: who drives a Ray cluster needs a node on the same host. The node has
# no cores, so nothing is trained here. Each of the two ends with the other, and the container is started anew.
set -uo pipefail
here=/opt/tuneladder

$here/ray-node.sh --address="$TUNELADDER_RAY_ADDRESS" --num-cpus=0 &
ray=$!
worker=
stop() {
    [ -z "$worker" ] || kill -TERM "$worker" 2>/dev/null
}
trap stop TERM INT

until python -IS $here/healthcheck.py tcp://127.0.0.1:6380 2>/dev/null; do
    kill -0 $ray 2>/dev/null || { echo "the Ray node has ended before it was up" >&2; exit 1; }
    sleep 0.5
done

python -m service.worker &
worker=$!
wait -n $ray $worker
stop # the node has ended; does no harm after a signal, nor if it is the worker that has ended
wait $worker
code=$?
kill -TERM $ray 2>/dev/null
wait $ray
exit $code
