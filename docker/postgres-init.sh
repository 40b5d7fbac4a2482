# Run once, when the volume is empty: a database and a role for the service and for MLflow each; neither role can
# read the other's. Sourced by the image's entrypoint.
for owner in tuneladder mlflow; do
    if [ "$owner" = mlflow ]; then secret=$MLFLOW_PASSWORD; else secret=$STORE_PASSWORD; fi
    psql -v ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres \
        --set owner="$owner" --set secret="$secret" <<'SQL'
CREATE ROLE :"owner" LOGIN PASSWORD :'secret';
CREATE DATABASE :"owner" OWNER :"owner";
REVOKE ALL ON DATABASE :"owner" FROM PUBLIC;
SQL
done
