# Any Python 3.11 to 3.14 on a glibc will do; this one is pinned, and its digest stands for both architectures.
ARG BASE=docker.io/library/python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

FROM ${BASE} AS build
ARG UV_VERSION=0.13.9
# Compiled here, since nothing can be written where it runs.
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never
RUN python3 -m pip install --no-cache-dir --target /uv uv==${UV_VERSION}
WORKDIR /build
COPY requirements.lock ./
RUN /uv/bin/uv venv --python "$(command -v python3)" /app \
    && /uv/bin/uv pip sync --python /app/bin/python --require-hashes --only-binary :all: requirements.lock
COPY . ./
RUN /uv/bin/uv pip install --python /app/bin/python --no-deps --build-constraints requirements-build.lock .
# The debug symbols of wheels are a fifth of the environment.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends binutils \
    && find /app -name "*.so" -exec strip --strip-debug {} +

FROM ${BASE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="terminal-operations-worker" \
      org.opencontainers.image.description="Runs payment terminal operations requested on Kafka, exactly once" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# What installs software is of no use where nothing may be installed.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/*-packages/pip*
COPY --from=build /app /app
ENV PATH=/app/bin:${PATH} PYTHONDONTWRITEBYTECODE=1
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8080
# Its own process 1: it handles SIGTERM itself.
ENTRYPOINT ["terminal-worker"]
CMD ["run"]
