"""What a person names is looked up before minutes of work: here, before a folder of pictures that is not there."""

import pytest

from edge_mpq.__main__ import main

pytest.importorskip("torch")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--formats", "w4b32", "--target", "jetson-nano"], ["jetson-nano runs none of w4b32; it runs weights in"]),
        (["--formats", "w9a8", "--sensitivity", "nope"], ["there is no format 'w9a8'", "'nope'"]),
        (["--budget", "size<5"], ["'size<5' is no budget term"]),
        ([], ["there is no data at 'nowhere'"]),
    ],
)
def test_every_fault_is_told_at_once_and_first(more, told, capsys):
    assert main(["plan", "--model", "cifar_resnet20", "--data", "nowhere", *more]) == 2
    error = capsys.readouterr().err
    assert all(part in error for part in told), error
