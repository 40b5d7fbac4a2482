# One image for every part of the service: api, worker, mlflow, ray-head and ray-worker differ in their command.
# Written for the classic builder as well as for BuildKit, hence no RUN --mount.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# What is installed, as a file: a change elsewhere in pyproject.toml leaves the layer of packages as it is.
FROM ${PYTHON_IMAGE} AS requirements
COPY pyproject.toml /build/
RUN python -c "import tomllib; print(*tomllib.load(open('/build/pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
    > /build/requirements.txt

FROM ${PYTHON_IMAGE} AS packages
# An index with torch's builds for the CPU saves gigabytes where no worker has a GPU; see docs/operations.md.
ARG PIP_EXTRA_INDEX_URL=
RUN python -m venv --without-pip /opt/venv
COPY constraints.txt /build/
COPY --from=requirements /build/requirements.txt /build/
RUN python -m pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check \
    --constraint /build/constraints.txt --requirement /build/requirements.txt

FROM ${PYTHON_IMAGE} AS wheel
RUN python -m pip install --no-cache-dir --disable-pip-version-check hatchling==1.27.0
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY search_spaces search_spaces
COPY lightning_modules lightning_modules
COPY service service
RUN python -m pip wheel --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir /wheels .

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="tuneladder" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 tuneladder \
    && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin tuneladder \
    # A named volume takes its owner from the folder that it is mounted on.
    && install --directory --owner=10001 --group=10001 --mode=0750 /var/lib/tuneladder /var/lib/mlflow \
    && install --directory /data
COPY --from=packages /opt/venv /opt/venv
COPY docker/healthcheck.py docker/ray-node.sh docker/worker.sh /opt/tuneladder/
COPY --from=wheel /wheels /tmp/wheels
RUN python -m pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check \
        --no-deps --no-index /tmp/wheels/*.whl \
    && rm -rf /tmp/wheels

# PIP_PYTHON: `pip install` in an image that starts from this one installs beside tuneladder.
ENV PATH=/opt/venv/bin:$PATH \
    PIP_PYTHON=/opt/venv/bin/python \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    RAY_USAGE_STATS_ENABLED=0 \
    RAY_AUTH_MODE=token \
    TUNELADDER_HOME=/var/lib/tuneladder \
    TUNELADDER_DATA=/var/lib/tuneladder/datasets \
    TUNELADDER_DATA_ROOTS=/data \
    TUNELADDER_HOST=0.0.0.0
USER 10001:10001
WORKDIR /var/lib/tuneladder
EXPOSE 8400
ENTRYPOINT ["tini", "--"]
CMD ["tuneladder", "--help"]
