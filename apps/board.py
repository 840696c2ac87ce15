"""``python3 NAME.pyz VERB``: a bundle in one file, on the board.

The code runs from inside the file; the bundle's own files are unpacked once, beside it or
in $EDGE_MPQ_CACHE, into a folder named after their digests, and compared with the file
at every start.
"""

import errno
import os
import platform
import sys

from edge_mpq import termination
from edge_mpq.errors import BundleError, EdgeMpqError, UsageError
from edge_mpq.records import archive as archives
from edge_mpq.records import target as target_record

VERBS = {
    "doctor": "what this machine has for running the bundle, what it lacks, and the mend",
    "build": "build the bundle's engines on this machine",
    "run": "run the model: --source csi://0, usb://0, a video, a folder, rtsp://...",
    "bench": "measure latency, frames a second and energy; writes report.json",
    "tradeoff": "the same at several threads, batches and power modes; writes tradeoff.json",
    "report": "print a report and save a copy",
}
CACHE = "EDGE_MPQ_CACHE"


def usage(name):
    """The text of ``--help``."""
    rows = ["  {}  {}".format(verb.ljust(8), line) for verb, line in VERBS.items()]
    return "\n".join(["usage: python3 {} VERB [options]".format(name), ""] + rows + ["", "VERB --help tells more.", ""])


def main(argv, path):
    """Run the verb of ``argv`` with the archive at ``path``; the exit code, 2 for what the user can mend."""
    try:
        with termination.heeded():
            code = _run(list(argv), path)
        sys.stdout.flush()
        return code
    except termination.Terminated:
        return 143
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Python flushes stdout once more at exit; give it somewhere to flush to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except EdgeMpqError as error:
        return _fail(type(error).__name__, error)
    except MemoryError:
        return _fail("MemoryError", "out of memory; close what is open, or add swap (doctor tells how)")
    except ImportError as error:
        if (error.name or "").partition(".")[0] in ("edge_mpq", "export", "calibrators", "apps", ""):
            raise
        text = "{} is not here or does not load ({}); doctor tells how to get it"
        return _fail("ImportError", text.format(error.name, error))
    except OSError as error:
        if error.errno is None:
            raise
        mend = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check the path"
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            mend = "set {} to a folder you may write".format(CACHE)
        return _fail(type(error).__name__, "{}: {}; {}".format(error.filename, error.strerror or error, mend))


def _run(argv, path):
    name = os.path.basename(path)
    if not argv or argv[0] in ("-h", "--help", "help"):
        (sys.stdout if argv else sys.stderr).write(usage(name))
        return 0 if argv else 2
    verb, words = argv[0], argv[1:]
    if verb not in VERBS:
        raise UsageError("there is no verb {!r}".format(verb), "choose one of " + ", ".join(VERBS))
    prog = "python3 {} {}".format(name, verb)
    try:
        with archives.Archive(path) as archive:
            archive.check_code()
            return _verb(verb, words, archive, prog)
    except SystemExit as end:
        # argparse ends --help with 0 and a bad option with 2, both already told.
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 2


def _verb(verb, words, archive, prog):
    target = target_record.get(archive.contents.target)
    if verb == "doctor":
        from apps import doctor

        args = doctor.parser(prog, False).parse_args(words)
        models = [size for name, size in archive.contents.size.items() if name.endswith(".onnx")]
        return doctor.examine(args.json, target, max(models, default=0))
    if verb == "report":
        from apps import board_report

        own = os.path.join(unpacked(archive), "bundle", board_report.NAME)
        return board_report.main(words, own if os.path.isfile(own) else None, prog)
    if not asks_backend(words) and not {"-h", "--help"} & set(words):
        refuse_other_board(target)
    folder = unpacked(archive)
    bundle, frames = os.path.join(folder, "bundle"), os.path.join(folder, "frames")
    if verb == "build":
        from export import engine_from_onnx

        return engine_from_onnx.main([bundle] + words)
    if verb == "bench":
        from apps import board_bench

        return board_bench.main([bundle] + words, frames, prog)
    if verb == "tradeoff":
        from apps import board_tradeoff

        return board_tradeoff.main([bundle] + words, frames, prog)
    from apps.stream import run

    given = any(word.split("=")[0] in ("--source", "-h", "--help") for word in words)
    if not given and os.path.isdir(frames):
        words = ["--source", frames] + words
    return run.main([bundle] + words)


def asks_backend(words):
    """Whether ``words`` name a backend, as argparse reads them: it takes beginnings of an option too."""
    options = [word.split("=")[0] for word in words]
    return any(len(option) > 2 and "--backend".startswith(option) for option in options)


def refuse_other_board(target):
    """Raise BundleError where this machine is not what the bundle was made for."""
    from apps import bundle_fit
    from apps.stream import jetson

    fault = bundle_fit.board_fault(target, platform.machine(), jetson.read())
    if fault:
        raise BundleError(fault, bundle_fit.MEND)


def unpacked(archive):
    """The folder that holds the archive's data, unpacked where it is not there yet, and verified."""
    beside = os.path.dirname(os.path.abspath(archive.path))
    folder = os.path.join(os.environ.get(CACHE) or beside, "edge-mpq-" + archive.digest)
    if not os.path.isdir(folder):
        archive.unpack(folder)
    archive.check_unpacked(folder)
    return folder


def _fail(kind, what):
    """Say what went wrong in one line on stderr; exit code 2."""
    text = " ".join(str(what).split())[:2000]
    # Names out of a torn or hostile file may hold escape codes: show them, do not send them.
    shown = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text)
    sys.stderr.write("edge-mpq: {}: {}\n".format(kind, shown))
    return 2
