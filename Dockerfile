# A Dure node as an image of its own: the locked libraries, by hash, and this project; nothing that builds or installs.

FROM python:3.11-slim-bookworm AS build
WORKDIR /build
# An environment without pip, filled by the pip outside it. The libraries first: they change less often than our code.
RUN python -m venv --without-pip /opt/dure
COPY requirements.lock ./
RUN pip --python /opt/dure/bin/python install --quiet --no-cache-dir --no-compile \
        --no-deps --require-hashes --only-binary=:all: --requirement requirements.lock
COPY . ./
RUN pip --python /opt/dure/bin/python install --quiet --no-cache-dir --no-deps --no-index --no-build-isolation . \
    && python -m compileall -q /opt/dure/lib

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10001 dure \
    && useradd --uid 10001 --gid dure --no-create-home --home-dir /data --shell /usr/sbin/nologin dure \
    && install --directory --owner=dure --group=dure --mode=0700 /data
COPY --from=build /opt/dure /opt/dure
ENV PATH=/opt/dure/bin:$PATH PYTHONDONTWRITEBYTECODE=1 DURED_DATADIR=/data
USER dure
VOLUME /data
STOPSIGNAL SIGTERM
ENTRYPOINT ["dured"]
