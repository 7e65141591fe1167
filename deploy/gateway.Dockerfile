# Gateway, migrations and console: everything but what computes. No torch, no broker.
FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv /opt/oncue && /opt/oncue/bin/pip install --no-cache-dir --upgrade pip==25.3
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY storage storage
COPY dicom_gateway dicom_gateway
COPY workers workers
COPY console console
COPY migrations migrations
COPY models models
RUN /opt/oncue/bin/pip install --no-cache-dir --constraint constraints.txt --build-constraint constraints.txt '.[console]'

FROM python:3.12-slim
RUN useradd --system --create-home --uid 10001 oncue && install -d -o oncue -g oncue -m 0700 /var/lib/oncue
COPY --from=build /opt/oncue /opt/oncue
ENV PATH=/opt/oncue/bin:$PATH ONCUE_STATE=/var/lib/oncue PYTHONUNBUFFERED=1
USER oncue
VOLUME /var/lib/oncue
ENTRYPOINT ["oncue"]
CMD ["gateway"]
