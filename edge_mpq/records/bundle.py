"""Bundle: the one folder that travels from the host to the board.

``bundle.json`` lists every file with its length and SHA-256; nothing else in the
folder is ever opened.  docs/bundle.md is the format in prose.
"""

import hashlib
import os
from typing import Any, Dict, NamedTuple

from edge_mpq.errors import BundleError
from edge_mpq.records import document

KIND, VERSION = "bundle", 1
NAME = "bundle.json"
MAX_FILE_BYTES = 2 * 1024**3
# How a recipe fits a frame of another shape (engines/inputs.py does it).
FITS = ("stretch", "crop", "pad")


class Bundle(NamedTuple):
    """The manifest.

    target: the board it was made for.  recipe: preprocessing, as in engines/inputs.py.
    classes: label of each output index, [] when unknown.  files: role -> relative path;
    docs/bundle.md names the roles.  sha256 and size: path -> digest and bytes.
    """

    title: str
    target: str
    task: str
    recipe: Dict[str, Any]
    classes: list
    files: Dict[str, str]
    sha256: Dict[str, str] = {}
    size: Dict[str, int] = {}


def digest(path):
    """SHA-256 of a file, in hex."""
    state = hashlib.sha256()
    with open(str(path), "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            state.update(block)
    return state.hexdigest()


def seal(folder, bundle):
    """Write ``bundle.json`` into ``folder`` with the digest of every file; the sealed Bundle."""
    paths = {role: os.path.join(str(folder), path) for role, path in bundle.files.items()}
    missing = [path for path in paths.values() if not os.path.isfile(path)]
    if missing:
        raise BundleError("cannot seal {}: no {}".format(folder, ", ".join(missing)), "write those files first")
    sealed = bundle._replace(
        sha256={bundle.files[role]: digest(path) for role, path in paths.items()},
        size={bundle.files[role]: os.path.getsize(path) for role, path in paths.items()},
    )
    document.save(os.path.join(str(folder), NAME), KIND, VERSION, sealed._asdict())
    return sealed


def _inside(root, path):
    # realpath follows links, so a link out of the folder is outside too.
    try:
        return isinstance(path, str) and os.path.realpath(os.path.join(root, path)).startswith(root + os.sep)
    except ValueError:  # a NUL, or a sign the file system cannot spell
        return False


def open_folder(folder):
    """Read and verify the bundle in ``folder``.

    Raises BundleError where a file is missing, outside the folder, of another length
    or of another digest, and RecordError where the manifest itself is torn.
    """
    folder = str(folder)
    if not os.path.isdir(folder):
        raise BundleError("no bundle folder at {}".format(folder), "make one with edge-mpq quantize --out " + folder)
    fields = document.load(os.path.join(folder, NAME), KIND, VERSION)
    bundle = Bundle(
        title=fields.take("title", str),
        target=fields.take("target", str),
        task=fields.take("task", str),
        recipe=fields.take("recipe", dict),
        classes=fields.take("classes", list, []),
        files=fields.take("files", dict, {}),
        sha256=fields.take("sha256", dict, {}),
        size=fields.take("size", dict, {}),
    )
    if not all(isinstance(label, str) for label in bundle.classes):
        fields.fault("field 'classes' holds something that is no text")
    fields.done()
    root = os.path.realpath(folder)
    faults = []
    for path in bundle.files.values():
        if not _inside(root, path):
            faults.append("{!r} points outside the bundle".format(path))
            continue
        whole = os.path.join(root, path)
        if not os.path.isfile(whole):
            faults.append("{} is missing".format(path))
        elif os.path.getsize(whole) > MAX_FILE_BYTES:
            faults.append("{} is larger than {} GiB".format(path, MAX_FILE_BYTES >> 30))
        elif os.path.getsize(whole) != bundle.size.get(path):
            faults.append("{} has another length than the manifest says".format(path))
        elif digest(whole) != bundle.sha256.get(path):
            faults.append("{} was changed after the bundle was sealed".format(path))
    if faults:
        raise BundleError("{}: {}".format(folder, "; ".join(faults)), "make the bundle again")
    return bundle
