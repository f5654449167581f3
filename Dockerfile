# A worker of `make deploy`, or a model server: docs/production.md#in-a-container
FROM python:3.11-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home plumbline \
    && install --directory --owner plumbline /opt/plumbline
USER plumbline
WORKDIR /opt/plumbline
COPY --chown=plumbline Makefile pyproject.toml requirements.lock ./
RUN make install
COPY --chown=plumbline . .
ENV PREFECT_HOME=/opt/plumbline/.prefect
CMD ["make", "help"]
