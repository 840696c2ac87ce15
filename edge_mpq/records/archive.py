"""Archive: the one-file form of a bundle, ``NAME.pyz``.

A zip that Python runs: the sealed bundle, a few frames, the code a board needs, and
``contents.json``, which lists every other entry with its length and SHA-256.  An entry
that is not listed, or is not what the list says, is never used.  docs/bundle.md is the
format in prose.
"""

import hashlib
import json
import os
import re
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from typing import Dict, NamedTuple

from edge_mpq.errors import BundleError
from edge_mpq.records import bundle, document

KIND, VERSION = "archive", 1
NAME = "contents.json"
# What is unpacked before use; everything else is code and runs from inside the file.
DATA = ("bundle/", "frames/")
MAX_ENTRIES = 4096
MAX_LIST_BYTES = 1 << 20
# All entries together.  Python 3.6 reads no archive beyond 32-bit offsets.
MAX_BYTES = 2 * 1024**3
BLOCK = 1 << 20
# All that zipfile raises over bytes that are no whole zip, from Python 3.6 to 3.13.
TORN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, OverflowError, RuntimeError)
AGAIN = "copy the file again, or make it again with edge-mpq bundle"


class Contents(NamedTuple):
    """The list.  target: the board it is for.  made_by: version of edge-mpq.  sha256, size: entry -> digest, bytes."""

    title: str
    target: str
    made_by: str
    sha256: Dict[str, str]
    size: Dict[str, int]


def contents_bytes(contents):
    """``contents.json`` as it stands in an archive."""
    body = dict(contents._asdict(), kind=KIND, version=VERSION)
    return (json.dumps(body, indent=1, sort_keys=True) + "\n").encode("utf-8")


def entry_faults(entries):
    """What is wrong with zip entries ``entries`` (ZipInfo) before any is read: a list of lines."""
    faults, seen, total = [], set(), 0
    if len(entries) > MAX_ENTRIES:
        return ["it has {} entries, more than {}".format(len(entries), MAX_ENTRIES)]
    for entry in entries:
        # orig_filename: as it stands in the file, before zipfile cuts it at a NUL.
        name, kind = entry.orig_filename, stat.S_IFMT(entry.external_attr >> 16)
        fault = name_fault(name)
        if fault:
            faults.append("entry {!r} {}".format(name[:80], fault))
        elif kind not in (0, stat.S_IFREG):
            faults.append("entry {!r} is a {}".format(name, "link" if kind == stat.S_IFLNK else "special file"))
        elif name.lower() in seen:
            faults.append("entry {!r} stands twice".format(name))
        elif entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            faults.append("entry {!r} is encrypted or packed in a way not known here".format(name))
        seen.add(name.lower())
        total += entry.file_size
    if total > MAX_BYTES:
        faults.append("its entries hold {} bytes, more than {} GiB".format(total, MAX_BYTES >> 30))
    return faults


def name_fault(name):
    """Why ``name`` cannot be an entry's, or ''."""
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\\" in name or re.match("[A-Za-z]:", name):
        return "leads out of the archive"
    if "" in parts or "." in parts or not name.isprintable() or len(name) > 255:
        return "has no usable name"
    return ""


class Archive(object):
    """An open archive whose entries are those of its list.  Use it in a ``with`` block.

    Raises BundleError where the zip is torn or an entry is missing, foreign, oversized, a
    link, doubled or named out of the archive, RecordError where the list is torn or of
    another version.
    """

    def __init__(self, path):
        self.path = str(path)
        if not os.path.isfile(self.path):
            raise BundleError("no bundle at {}".format(self.path), "check the path")
        self._file = open(self.path, "rb")
        try:
            self._zip = _zip(self._file, self.path)
            self._entries = {entry.orig_filename: entry for entry in self._zip.infolist()}
            self._refuse(entry_faults(self._zip.infolist()))
            listing = self._listing()
            self.digest = hashlib.sha256(listing).hexdigest()[:16]
            self.contents = _contents(listing, "{}/{}".format(self.path, NAME))
            self._refuse(self._listing_faults())
        except BaseException:
            self._file.close()
            raise

    def names(self, data):
        """Entries that are unpacked (``data``) or run in place (not), in order."""
        return [name for name in sorted(self.contents.size) if name.startswith(DATA) == data]

    def check_code(self):
        """Raise BundleError unless every entry of code is what the list says."""
        for name in self.names(data=False):
            self._copy(name, None)

    def check(self):
        """Raise BundleError unless every entry is what the list says."""
        self.check_code()
        for name in self.names(data=True):
            self._copy(name, None)

    def unpack(self, folder):
        """Write the data entries to ``folder``, whole or not at all; another may do so meanwhile."""
        folder = os.path.abspath(str(folder))
        if not os.path.isdir(os.path.dirname(folder)):
            os.makedirs(os.path.dirname(folder))
        half = tempfile.mkdtemp(prefix=".half-", dir=os.path.dirname(folder))
        try:
            for name in self.names(data=True):
                path = os.path.join(half, *name.split("/"))
                if not os.path.isdir(os.path.dirname(path)):
                    os.makedirs(os.path.dirname(path))
                with open(path, "xb") as stream:
                    self._copy(name, stream)
            # After a sudo the ordinary user reads it too; mkdtemp's folders are their owner's alone.
            os.chmod(half, 0o755)
            try:
                os.rename(half, folder)
            except OSError:
                if not os.path.isdir(folder):
                    raise
        finally:
            shutil.rmtree(half, ignore_errors=True)

    def check_unpacked(self, folder):
        """Raise BundleError unless every data entry lies in ``folder`` as the list says."""
        root, faults = os.path.realpath(str(folder)), []
        for name in self.names(data=True):
            path = os.path.join(root, *name.split("/"))
            if os.path.realpath(path) != path or not os.path.isfile(path):
                faults.append("{} is missing or a link".format(name))
            elif os.path.getsize(path) != self.contents.size[name] or bundle.digest(path) != self.contents.sha256[name]:
                faults.append("{} was changed after it was unpacked".format(name))
        if faults:
            what = "{}: {}".format(folder, "; ".join(faults))
            raise BundleError(what, "remove that folder; it is unpacked again")

    def close(self):
        """Close the file; twice is harmless."""
        self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _refuse(self, faults):
        if faults:
            raise BundleError("{}: {}".format(self.path, "; ".join(faults[:20])), AGAIN)

    def _listing(self):
        if NAME not in self._entries:
            self._refuse(["it has no {}".format(NAME)])
        entry = self._entries[NAME]
        if entry.file_size > MAX_LIST_BYTES:
            self._refuse(["{} is larger than {} MiB".format(NAME, MAX_LIST_BYTES >> 20)])
        return b"".join(self._blocks(entry))

    def _listing_faults(self):
        listed, there = self.contents.size, set(self._entries) - {NAME}
        faults = ["{} is missing".format(name) for name in sorted(set(listed) - there)]
        faults += ["entry {!r} is not listed".format(name) for name in sorted(there - set(listed))]
        for name in sorted(there & set(listed)):
            if self._entries[name].file_size != listed[name]:
                faults.append("{} has another length than listed".format(name))
        return faults

    def _copy(self, name, out):
        """Write entry ``name`` to ``out`` (None: nowhere); BundleError unless it is what the list says."""
        state = hashlib.sha256()
        for block in self._blocks(self._entries[name]):
            state.update(block)
            if out is not None:
                out.write(block)
        if state.hexdigest() != self.contents.sha256[name]:
            self._refuse(["{} was changed after the bundle was made".format(name)])

    def _blocks(self, entry):
        """The bytes of an entry; no more of them than its header says, however far they would inflate."""
        try:
            with self._zip.open(entry) as stream:
                for block in iter(lambda: stream.read(BLOCK), b""):
                    yield block
        except TORN as error:
            raise BundleError("{}: {} is torn ({})".format(self.path, entry.filename, error), AGAIN) from error


def _zip(stream, path):
    try:
        return zipfile.ZipFile(stream)
    except TORN as error:
        raise BundleError("{} is torn or no bundle ({})".format(path, error), AGAIN) from error


def _contents(listing, where):
    try:
        body = json.loads(listing.decode("utf-8"), parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise BundleError("{} is torn ({})".format(where, str(error)[:200]), AGAIN) from error
    fields = document.parse(body, KIND, VERSION, where)
    contents = Contents(
        title=fields.take("title", str),
        target=fields.take("target", str),
        made_by=fields.take("made_by", str),
        sha256=fields.take("sha256", dict, {}),
        size=fields.take("size", dict, {}),
    )
    sizes, digests = contents.size.values(), contents.sha256.values()
    if not all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in sizes):
        fields.fault("field 'size' holds something that is no length")
    if not all(isinstance(digest, str) and re.match(r"[0-9a-f]{64}\Z", digest) for digest in digests):
        fields.fault("field 'sha256' holds something that is no digest")
    if set(contents.size) != set(contents.sha256):
        fields.fault("fields 'size' and 'sha256' do not list the same entries")
    fields.done()
    return contents


def _whole(text):
    if len(text) > 20:
        raise ValueError("an integer of {} digits".format(len(text)))
    return int(text)
