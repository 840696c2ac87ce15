"""Text to learn from: two parts that share no place, windows of either, and errors for what is no text."""

import sys
from pydoc_data.topics import topics

import pytest
import torch

from apps.data import text, vocabulary
from apps.data.vocabulary import UNKNOWN, Characters, open_vocabulary
from edge_mpq.errors import DataError, ModelError, RecordError

LONG = "The cat sat on the mat.\n" * 100


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "b.txt").write_text("second " * 300)
    (tmp_path / "a.txt").write_text("first " * 300)
    (tmp_path / "c.md").write_text("not read " * 300)
    return tmp_path


def test_the_parts_are_cut_by_place_and_together_they_are_the_text(folder):
    source = text.open_text(str(folder))
    whole = source.vocabulary.decoded(torch.cat([source.train, source.validation]).tolist())
    assert whole == "first " * 300 + "\n\n" + "second " * 300
    assert len(source.validation) == len(whole) // 10 and source.name == folder.name


def test_the_vocabulary_is_that_of_the_part_that_trains(tmp_path):
    path = tmp_path / "late.txt"
    path.write_text(LONG + "§")
    source = text.open_text(str(path))
    assert "§" not in source.vocabulary.characters
    assert source.vocabulary.decoded(source.validation.tolist()[-1:]) == UNKNOWN
    other = text.open_text(str(path), Characters("abc"))
    assert len(other.vocabulary) == 4 and other.vocabulary.decoded(other.train[4:7].tolist()) == "ca" + UNKNOWN


def test_what_pythons_help_repeats_is_not_asked_again():
    source = text.open_text()
    train, judged = (source.vocabulary.decoded(part.tolist()) for part in (source.train, source.validation))
    learned, asked = (set(part.split("\n\n")[1:-1]) for part in (train, judged))
    assert len(source.train) > 200_000 and len(asked) > 200
    assert len(learned & asked) <= 1  # one ends a page, with a line break more
    pages = "\n\n".join(topics[name] for name in sorted(topics))
    cut = len(pages) * 9 // 10
    assert len(set(pages[:cut].split("\n\n")[1:-1]) & set(pages[cut:].split("\n\n")[1:-1])) > 20  # as they ship


def test_windows_are_tokens_and_the_next_ones():
    codes = torch.arange(1000)
    for batches in (text.drawn(codes, 8, 4, 3, seed=1), text.apart(codes, 8, 4)):
        for tokens, following in batches:
            assert torch.equal(tokens + 1, following) and tokens.shape[1] == 8
    assert len(text.drawn(codes, 8, 4, 3, 1)) == 3
    again, other = text.drawn(codes, 8, 4, 3, 1), text.drawn(codes, 8, 4, 3, 2)
    assert torch.equal(again[2][0], text.drawn(codes, 8, 4, 3, 1)[2][0]) and not torch.equal(again[0][0], other[0][0])
    all_of_them = torch.cat([following for _, following in text.apart(codes, 8, 4)])
    assert len(all_of_them.unique()) == all_of_them.numel() == 124 * 8
    some = torch.cat([tokens for tokens, _ in text.apart(codes, 8, 4, count=6)])
    assert len(some) == 6 and some[0, 0] == 0 and some[-1, 0] == 984


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: None, "there is no text at"),
        (lambda path: path.mkdir(), "holds no .txt file"),
        (lambda path: path.write_bytes(b"\xff\xfe" + b"a" * 5000), r"is not UTF-8 \(byte 0\)"),
        (lambda path: path.write_text("short"), "holds 5 characters; give 1000 or more"),
    ],
)
def test_what_is_no_text_is_refused(make, told, tmp_path):
    make(tmp_path / "text.txt")
    with pytest.raises(DataError, match=told):
        text.open_text(str(tmp_path / "text.txt"))


def test_a_text_without_a_whole_window_is_refused():
    with pytest.raises(DataError, match="9 tokens hold no window of 9"):
        text.apart(torch.arange(9), 9, 1)


def test_characters_come_back_from_their_file(tmp_path):
    Characters("ab\n§").save(str(tmp_path))
    assert open_vocabulary(str(tmp_path)).characters == "ab\n§" + UNKNOWN
    for body, told in (("{", "not a whole JSON"), ('{"kind": "plan", "version": 1}', "kind 'plan'"),
                       ('{"kind": "characters", "version": 1, "characters": "aa"}', "stands twice")):  # fmt: skip
        (tmp_path / vocabulary.FILE).write_text(body)
        with pytest.raises(RecordError, match=told):
            open_vocabulary(str(tmp_path))


def test_a_tokenizer_says_what_it_needs(tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="has no tokenizer; put tokenizer.json"):
        open_vocabulary(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ModelError, match="needs tokenizers; pip install tokenizers"):
        open_vocabulary(str(tmp_path))


def test_subwords_are_read_by_the_library(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    learned = tokenizers.ByteLevelBPETokenizer()
    learned.train_from_iterator([LONG], vocab_size=300)
    learned.save_model(str(tmp_path))
    words = open_vocabulary(str(tmp_path))
    assert len(words) == learned.get_vocab_size()
    assert words.decoded(words.encoded("The cat, wörld").tolist()) == "The cat, wörld"
    learned.save(str(tmp_path / "tokenizer.json"))
    assert torch.equal(open_vocabulary(str(tmp_path)).encoded(LONG), words.encoded(LONG))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be read"):
        open_vocabulary(str(tmp_path))
