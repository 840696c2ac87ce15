# edge-mpq on a computer: plan, quantize, export, bundle, report; engines of ONNX Runtime.
#
# Build, from the root of the checkout:
#   docker build -f docker/host.Dockerfile -t edge-mpq:host .
# Run, with models, data and results in the working folder:
#   docker run --rm -it --user "$(id -u):$(id -g)" -v "$PWD":/work edge-mpq:host doctor
FROM python:3.11.11-slim-bookworm

ENV PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    HOME=/tmp

# torch without CUDA: nothing here computes on a GPU, and it is a tenth of the size.
COPY requirements.lock /opt/edge-mpq/
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
    -r /opt/edge-mpq/requirements.lock

COPY pyproject.toml README.md LICENSE /opt/edge-mpq/
COPY edge_mpq /opt/edge-mpq/edge_mpq
COPY export /opt/edge-mpq/export
COPY calibrators /opt/edge-mpq/calibrators
COPY apps /opt/edge-mpq/apps
COPY docker /opt/edge-mpq/docker
RUN pip install --no-cache-dir --no-deps --no-build-isolation /opt/edge-mpq

WORKDIR /work
USER 1000:1000
ENTRYPOINT ["edge-mpq"]
CMD ["--help"]
