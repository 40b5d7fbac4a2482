#!/bin/bash
# Writes a backup of a deployment into a new folder: both databases, checkpoints and bundles, MLflow's artifacts.
# The worker rests meanwhile, so that record and files say the same; its jobs wait in the queue and go on after it.
# The .env with the secrets is no part of it: keep that elsewhere.
#
#   docker/backup.sh FOLDER
#   COMPOSE='docker-compose --project-name other' docker/backup.sh FOLDER
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: docker/backup.sh FOLDER" >&2; exit 2; }
mkdir -m 700 "$1"
folder=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
read -ra compose <<<"${COMPOSE:-docker-compose}"

"${compose[@]}" stop worker
trap '"${compose[@]}" start worker' EXIT
for database in tuneladder mlflow; do
    "${compose[@]}" exec -T postgres pg_dump --username=postgres --format=custom $database > "$folder/$database.dump"
done
"${compose[@]}" exec -T api tar -czC /var/lib/tuneladder . > "$folder/home.tar.gz"
"${compose[@]}" exec -T mlflow tar -czC /var/lib/mlflow . > "$folder/artifacts.tar.gz"
(cd "$folder" && sha256sum ./* > SHA256SUMS)
echo "wrote $folder"
