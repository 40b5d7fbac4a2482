#!/bin/sh
# Writes an .env with random secrets, readable by its owner alone; never over one that is there.
#
#   docker/make-env.sh [FILE]
set -eu
example=$(dirname "$0")/../.env.example
file=${1:-$(dirname "$0")/../.env}
[ ! -e "$file" ] || { echo "$file is there already and holds secrets in use: it stays as it is" >&2; exit 1; }
umask 077
while IFS= read -r line; do
    case $line in
        *_PASSWORD= | *_TOKEN=) echo "$line$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" ;;
        *) printf '%s\n' "$line" ;;
    esac
done < "$example" > "$file"
echo "wrote $file"
