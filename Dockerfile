# The margin exporter. Build: docker build -t margin-exporter:0.1.0 .
# Two stages: wheels are made in the first, so that the image carries no compiler, no cache and no source tree.

FROM python:3.13.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY exporter ./exporter
RUN python -m venv /opt/margin \
 && /opt/margin/bin/pip install --no-cache-dir --disable-pip-version-check '.[all,genai-prices]'

FROM python:3.13.13-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="margin-exporter" \
      org.opencontainers.image.description="Prometheus exporter: revenue from Stripe minus the cost of AI providers" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# A fixed number, so that volumes keep their owner. Nothing in the image is writable but the directories of state and history.
RUN groupadd --system --gid 10110 margin \
 && useradd --system --uid 10110 --gid margin --home-dir /var/lib/margin --no-create-home --shell /usr/sbin/nologin margin \
 && install --directory --owner margin --group margin --mode 0700 /var/lib/margin \
 && install --directory --owner margin --group margin --mode 0755 /var/lib/margin-history

COPY --from=build /opt/margin /opt/margin
COPY pricing.yaml /etc/margin/pricing.yaml
ENV PATH=/opt/margin/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MARGIN_HEALTH_URL=http://127.0.0.1:10110/-/healthy

USER 10110:10110
WORKDIR /var/lib/margin
VOLUME /var/lib/margin
EXPOSE 10110
# Secrets come at run time, from the environment or from *_FILE; none is ever built in.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=4 \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(os.environ['MARGIN_HEALTH_URL'], timeout=4)"]
ENTRYPOINT ["margin-exporter"]
CMD ["serve", "--web.listen-address=0.0.0.0:10110"]
