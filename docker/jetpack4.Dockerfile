# A place to run a NAME.pyz on Jetson Nano, TX2 and Xavier under JetPack 4.6 (L4T 32.7).
# CUDA, TensorRT, OpenCV and the camera's GStreamer elements are the board's own: its
# nvidia runtime lays them into the container.
#
# Build, on the board:
#   docker build -f docker/jetpack4.Dockerfile -t edge-mpq:jetpack4 docker
# Run, in the folder that holds NAME.pyz:
#   docker run --rm -it --runtime nvidia --network host --group-add video -v "$PWD":/work \
#     -v /etc/nv_tegra_release:/etc/nv_tegra_release:ro -v /tmp/argus_socket:/tmp/argus_socket \
#     --device /dev/video0 edge-mpq:jetpack4 NAME.pyz run --source csi://0 --headless
FROM nvcr.io/nvidia/l4t-base:r32.7.1

# Versions are those of the board's Ubuntu 18.04, which moves no more.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-numpy \
       gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad \
    && rm -rf /var/lib/apt/lists/*

# numpy picks instructions these cores do not have unless it is told.
ENV OPENBLAS_CORETYPE=ARMV8 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp

WORKDIR /work
USER 1000:1000
ENTRYPOINT ["python3"]
