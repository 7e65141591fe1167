# Gateway and console: DICOM and pages, no torch, no broker.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY storage storage
COPY dicom_gateway dicom_gateway
COPY workers workers
COPY phantom phantom
COPY console console
COPY migrations migrations
COPY models models
RUN python -m venv /opt/oncue \
    && /opt/oncue/bin/pip install --no-cache-dir --upgrade pip==25.3 \
    && /opt/oncue/bin/pip install --no-cache-dir --constraint constraints.txt --build-constraint constraints.txt '.[console]'

FROM python:3.11-slim-bookworm
RUN useradd --system --create-home --uid 10001 oncue \
    && mkdir /state /objects && chown oncue:oncue /state /objects
COPY --from=build /opt/oncue /opt/oncue
ENV PATH=/opt/oncue/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER oncue
WORKDIR /home/oncue
VOLUME ["/state", "/objects"]
EXPOSE 11112 8104
ENTRYPOINT ["oncue"]
CMD ["gateway"]
