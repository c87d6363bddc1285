"""Your own recordings: any tree `speaker/.../file`, a train list, or a Kaldi directory."""

from pathlib import Path

from preparation.generate import Lists, Split, make_lists, write_made
from preparation.source import read_source


def prepare(
    save_path: Path,
    source: Path,
    split: Split,
    start: Path | None = None,
    kaldi: Path | None = None,
) -> Lists:
    """Write train_list.txt and test_list.txt under save_path; held-out files are in no train line.

    start: where a list's paths start; the working folder if None. A tree's start at the tree.

    Raises:
        FileNotFoundError, ValueError: no tree, no audio in it, or too little for trials.
    """
    split.check()
    found = read_source(source, start)
    try:
        made = make_lists(found.utterances, None, split)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    written = write_made(made, save_path, "", found.start, kaldi)
    return written._replace(told=[*found.told, *written.told])
