# The gateway alone: CPU only, no torch, no compiler, not root.
#   docker build -f docker/gateway.Dockerfile -t callscreen .
FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/callscreen
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY gateway gateway
COPY detection detection
COPY sim sim
RUN /opt/callscreen/bin/pip install --no-cache-dir --constraint constraints.txt '.[nats,evidence]'

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/callscreen --create-home callscreen
COPY --from=build /opt/callscreen /opt/callscreen
ENV PATH=/opt/callscreen/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CALLSCREEN_HOST=0.0.0.0 \
    CALLSCREEN_PORT=8080 \
    CALLSCREEN_JOURNAL=/var/lib/callscreen/journal.sqlite3
USER callscreen
WORKDIR /var/lib/callscreen
VOLUME /var/lib/callscreen
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["python", "-c", \
    "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"CALLSCREEN_PORT\"]}/readyz', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["callscreen"]
CMD ["serve"]
