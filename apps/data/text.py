"""Text as tokens: a part to train on, a later part to judge on, and windows of both.

Axis letters: N windows, T tokens.
"""

import os
from typing import NamedTuple

import torch

from apps.data.vocabulary import Characters, Vocabulary
from edge_mpq.errors import DataError

VALIDATION = 0.1
SHORTEST = 1000
Batch = tuple[torch.Tensor, torch.Tensor]


class Text(NamedTuple):
    """train, validation: int64 codes [tokens] of ``vocabulary``; no place of the text is in both."""

    train: torch.Tensor
    validation: torch.Tensor
    vocabulary: Vocabulary
    name: str


def open_text(spec: str = "python", vocabulary: Vocabulary | None = None) -> Text:
    """The text that ``spec`` names: a UTF-8 file, a folder of .txt files, or ``python``, the language's own help.

    The first nine tenths train, the last judges.  vocabulary: of a model that is there already; without
    it the characters of the part that trains.  Raises DataError for what is no text, or too little.
    """
    if spec == "python":
        text = _topics()
    elif os.path.isdir(spec):
        text = _folder(spec)
    elif os.path.isfile(spec):
        text = _file(spec)
    else:
        raise DataError(f"there is no text at {spec!r}", "give a file, a folder of .txt files, or python")
    if len(text) < SHORTEST:
        raise DataError(f"{spec} holds {len(text)} characters", f"give {SHORTEST} or more")
    cut = len(text) - int(len(text) * VALIDATION)
    words = Characters("".join(sorted(set(text[:cut])))) if vocabulary is None else vocabulary
    name = os.path.splitext(os.path.basename(os.path.normpath(spec)))[0]
    return Text(words.encoded(text[:cut]), words.encoded(text[cut:]), words, name)


def drawn(codes: torch.Tensor, length: int, size: int, count: int, seed: int) -> list[Batch]:
    """``count`` batches of ``size`` windows from anywhere: (tokens, next tokens), int64 [N, T] both."""
    _check(codes, length)
    draw = torch.Generator().manual_seed(seed)
    starts = torch.randint(len(codes) - length, (count, size), generator=draw)
    return [_windows(codes, length, some) for some in starts]


def apart(codes: torch.Tensor, length: int, size: int, count: int | None = None) -> list[Batch]:
    """Windows that share no next token, evenly over the text, in batches of ``size``: all of them, or ``count``."""
    _check(codes, length)
    starts = torch.arange(0, len(codes) - length, length)
    if count is not None and count < len(starts):
        starts = starts[torch.linspace(0, len(starts) - 1, count).long()]
    return [_windows(codes, length, some) for some in starts.split(size)]


def _check(codes: torch.Tensor, length: int) -> None:
    if len(codes) <= length:
        raise DataError(f"{len(codes)} tokens hold no window of {length}", "give more text, or shorter windows")


def _windows(codes: torch.Tensor, length: int, starts: torch.Tensor) -> Batch:
    places = starts[:, None] + torch.arange(length)
    return codes[places], codes[places + 1]


def _topics() -> str:
    """Python's help on its own syntax, which ships with it, each paragraph once.

    Its pages repeat each other; what was learned from one would be asked in another.
    """
    from pydoc_data.topics import topics

    return "\n\n".join(dict.fromkeys(part for name in sorted(topics) for part in topics[name].split("\n\n")))


def _folder(folder: str) -> str:
    names = sorted(name for name in os.listdir(folder) if name.lower().endswith(".txt"))
    if not names:
        raise DataError(f"{folder} holds no .txt file", "put UTF-8 text files there")
    return "\n\n".join(_file(os.path.join(folder, name)) for name in names)


def _file(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start})", "convert it with iconv -t UTF-8") from error
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror})", "check its permissions") from error
