"""The launcher: ``edge-mpq VERB ...`` runs one stage.

The stages live in export/ and apps/, at the top of a checkout and inside ``_stages`` of
an installed wheel.  That folder is put at the head of ``sys.path`` of this process only.
Nothing but the chosen stage is imported, so ``--help`` answers at once.
"""

import errno
import importlib
import os
import sys

from edge_mpq import __version__, termination
from edge_mpq.errors import EdgeMpqError, UsageError

VERBS = {
    "plan": ("apps.plan", "choose a number format for every layer of a model"),
    "quantize": ("apps.quantize", "plan, quantize, export and build in one go"),
    "train": ("apps.train", "train a model, in mixed precision or as its plan will compute"),
    "export": ("apps.export", "write a model and its plan as ONNX"),
    "bundle": ("apps.bundle", "pack a bundle into one file that a board runs"),
    "lint": ("apps.lint", "what a target would refuse, misread or run slowly in an ONNX"),
    "build": ("export.engine_from_onnx", "build an engine from ONNX on the board it will run on"),
    "run": ("apps.stream.run", "run an engine on a camera, a video or a folder of pictures"),
    "bench": ("apps.bench", "measure accuracy, size and speed against fp32"),
    "tradeoff": ("apps.tradeoff", "frames a second against accuracy, of plans at many settings, in one picture"),
    "compare": ("apps.compare", "set what was planned beside what was measured"),
    "report": ("apps.report", "draw a report as one HTML page"),
    "doctor": ("apps.doctor", "say what this machine has for running engines, what it lacks, and the mend"),
    "generate": ("apps.generate", "a language model that writes text, in fp32, int8, int4 and a mixed plan"),
    "demo": ("apps.wildfire.demo", "the whole path once, on wildfire pictures"),
}


def stages_folder():
    """Where ``export`` and ``apps`` lie: inside the wheel, else the root of the checkout."""
    package = os.path.dirname(os.path.abspath(__file__))
    inside = os.path.join(package, "_stages")
    return inside if os.path.isdir(inside) else os.path.dirname(package)


def usage():
    """The text of ``edge-mpq --help``."""
    width = max(len(verb) for verb in VERBS)
    rows = ["  {}  {}".format(verb.ljust(width), line) for verb, (_, line) in VERBS.items()]
    return "\n".join(
        ["usage: edge-mpq VERB [options]", "", "Mixed-precision quantization for edge boards.", ""]
        + rows
        + ["", "edge-mpq VERB --help tells the options of a verb; --version the version.", ""]
    )


def main(argv=None):
    """Run the verb of ``argv`` (default: the command line); the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if "_ARGCOMPLETE" in os.environ:
        from edge_mpq import completion

        return completion.answer(VERBS, _enter)
    try:
        with termination.heeded():
            code = _run(argv)
        sys.stdout.flush()
        return code
    except termination.Terminated:
        return 143
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our stdout left (`| head`).  Python flushes stdout once more at
        # exit; give it somewhere to flush to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except EdgeMpqError as error:
        return _fail(type(error).__name__, error)
    except MemoryError as error:
        return _fail("MemoryError", str(error) or "out of memory", "use fewer or smaller pictures")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("edge_mpq", "export", "calibrators", "apps", ""):
            raise
        what = "{} needs the Python module {!r}, which is not here".format(argv[0], error.name)
        return _fail("ModuleNotFoundError", what, "pip install edge-mpq brings all but tensorrt and pycuda")
    except OSError as error:
        if error.errno is None:
            raise
        return _fail(type(error).__name__, _describe(error), _mend(error))


def _run(argv):
    if not argv:
        sys.stderr.write(usage())
        return 2
    if argv[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage())
        return 0
    if argv[0] == "--version":
        sys.stdout.write("edge-mpq {}\n".format(__version__))
        return 0
    verb = argv[0]
    if verb not in VERBS:
        raise UsageError("there is no verb {!r}".format(verb), _suggest(verb))
    _enter()
    stage = importlib.import_module(VERBS[verb][0])
    try:
        return int(stage.main(argv[1:]) or 0)
    except SystemExit as end:
        # argparse ends --help with 0 and a bad option with 2, both already told.
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        raise


def _enter():
    """Make the stages importable in this process."""
    folder = stages_folder()
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)


def _suggest(verb):
    import difflib

    close = difflib.get_close_matches(verb, VERBS, n=3, cutoff=0.5)
    return "did you mean {}?".format(" or ".join(close)) if close else "choose one of " + ", ".join(VERBS)


def _describe(error):
    text = error.strerror or str(error)
    # A rename has two names: that of our temporary file, and the one that was asked for.
    name = error.filename2 or error.filename
    return "{}: {}".format(name, text) if name else text


def _mend(error):
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "free some space or write elsewhere"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "choose a path you may read and write"
    return "check the path"


def _fail(kind, what, mend=""):
    """Say what went wrong in one line on stderr; exit code 2."""
    text = " ".join(("{}; {}".format(what, mend) if mend else str(what)).split())
    # Names out of a torn or hostile file may hold escape codes: show them, do not send them.
    text = text if len(text) <= 2000 else text[:2000] + " ..."
    shown = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text)
    sys.stderr.write("edge-mpq: {}: {}\n".format(kind, shown))
    return 2


if __name__ == "__main__":
    sys.exit(main())
