# A place to run a NAME.pyz on Jetson Orin under JetPack 6.1 and 6.2 (L4T 36.4).
# CUDA 12.6 and TensorRT 10.3 are in the image; drivers and the camera's GStreamer elements
# are the board's own.
#
# Build, on the board:
#   docker build -f docker/jetpack6.Dockerfile -t edge-mpq:jetpack6 docker
# Run, in the folder that holds NAME.pyz:
#   docker run --rm -it --runtime nvidia --network host --group-add video -v "$PWD":/work \
#     -v /etc/nv_tegra_release:/etc/nv_tegra_release:ro -v /tmp/argus_socket:/tmp/argus_socket \
#     --device /dev/video0 edge-mpq:jetpack6 NAME.pyz run --source csi://0 --headless
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0

ENV DEBIAN_FRONTEND=noninteractive

# Ubuntu's OpenCV is built with GStreamer.  Versions are those of Ubuntu 22.04.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-numpy python3-opencv python3-libnvinfer \
       gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad \
    && rm -rf /var/lib/apt/lists/*

ENV PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp

WORKDIR /work
USER 1000:1000
ENTRYPOINT ["python3"]
