"""The timing cache: what a build measured of its kernels, kept for the next build on this device.

A cache is of use to one TensorRT version on one device only, and both stand in its file's
name; TensorRT checks them again when it reads one.  On a Nano it turns tens of minutes of
building into a few.
"""

import os
import re

from edge_mpq.records import document


def folder(environment=None):
    """Where caches of this user lie: below XDG_CACHE_HOME, else ~/.cache."""
    environment = os.environ if environment is None else environment
    root = environment.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(root, "edge-mpq", "tensorrt")


def path_of(where, version, described):
    """The cache file of a TensorRT version on a device, both as they describe themselves."""
    return os.path.join(where, re.sub(r"[^A-Za-z0-9.]+", "-", "{} {}".format(version, described)).lower() + ".timing")


def attach(config, path):
    """Give ``config`` the cache at ``path``, or an empty one where that is missing or of something else.

    Returns the cache object, which must live as long as the build.
    """
    data = b""
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except OSError:
        pass  # the first build here
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def keep(config, path):
    """Write what the build measured to ``path``; a folder that cannot be written costs the next build time only."""
    cache = config.get_timing_cache()
    if cache is None:
        return
    try:
        document.write_bytes(path, bytes(cache.serialize()))
    except OSError:
        pass
