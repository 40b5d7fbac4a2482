#!/bin/bash
# Puts a backup in the place of all that a deployment holds. The version of tuneladder is that of the backup, or a
# later one; the secrets in .env may be others.
#
#   docker/restore.sh FOLDER
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: docker/restore.sh FOLDER" >&2; exit 2; }
folder=$(cd "$1" && pwd)
(cd "$folder" && sha256sum --check --quiet SHA256SUMS)
cd "$(dirname "$0")/.."
read -ra compose <<<"${COMPOSE:-docker-compose}"

"${compose[@]}" stop api worker mlflow
"${compose[@]}" up --detach postgres
"${compose[@]}" run --rm --no-deps -T api sh -c 'find . -mindepth 1 -delete && tar -xzf -' < "$folder/home.tar.gz"
"${compose[@]}" run --rm --no-deps -T --workdir /var/lib/mlflow mlflow \
    sh -c 'find . -mindepth 1 -delete && tar -xzf -' < "$folder/artifacts.tar.gz"
until "${compose[@]}" exec -T postgres pg_isready --quiet --host=127.0.0.1; do sleep 1; done
for database in tuneladder mlflow; do
    "${compose[@]}" exec -T postgres sh -c "dropdb --username=postgres --force $database &&
        createdb --username=postgres --owner=$database $database &&
        psql --username=postgres --quiet --command='REVOKE ALL ON DATABASE $database FROM PUBLIC' &&
        pg_restore --username=postgres --exit-on-error --dbname=$database" < "$folder/$database.dump"
done
echo "restored $folder: start the services again"
