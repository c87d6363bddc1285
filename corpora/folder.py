"""Your own recordings: any tree `speaker/.../file` of wav or flac, a train list, or a Kaldi directory."""

from pathlib import Path

from corpora import _generate
from corpora._lists import write_lists
from corpora._tree import read_source


def prepare(root: Path, source: Path, split: _generate.Split) -> tuple[Path, list[str]]:
    """Write train_list.txt and test_list.txt under root -> where their paths start, lines to print.

    Held-out files are in no train line.

    Raises:
        FileNotFoundError, ValueError: no tree, no audio in it, or too little for trials.
    """
    split.check()
    start, utterances = read_source(source)
    try:
        made, told = _generate.lists(utterances, None, split)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    write_lists(root, made)
    return start, [f"{root}/{line}" if ".txt" in line else line for line in told]
