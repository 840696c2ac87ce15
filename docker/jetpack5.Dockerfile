# A place to run a NAME.pyz on Jetson Xavier and Orin under JetPack 5.1 (L4T 35.4).
# CUDA 11.4 and TensorRT 8.5 are in the image; drivers and the camera's GStreamer elements
# are the board's own.
#
# Build, on the board:
#   docker build -f docker/jetpack5.Dockerfile -t edge-mpq:jetpack5 docker
# Run, in the folder that holds NAME.pyz:
#   docker run --rm -it --runtime nvidia --network host --group-add video -v "$PWD":/work \
#     -v /etc/nv_tegra_release:/etc/nv_tegra_release:ro -v /tmp/argus_socket:/tmp/argus_socket \
#     --device /dev/video0 edge-mpq:jetpack5 NAME.pyz run --source csi://0 --headless
FROM nvcr.io/nvidia/l4t-jetpack:r35.4.1

ENV DEBIAN_FRONTEND=noninteractive

# Ubuntu's OpenCV is built with GStreamer.  Versions are those of Ubuntu 20.04.
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
