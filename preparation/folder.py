"""--generate for the user's own recordings: a folder of them, a train list or a Kaldi directory."""

from pathlib import Path

from preparation.generate import SavedLists, Split, make_lists, read_speakers, save_lists
from preparation.source import read_source
from preparation.speakers import Place


def prepare(
    save_path: Path,
    source: Path,
    split: Split,
    *,
    start: Path | None = None,
    kaldi: Path | None = None,
    speaker_folder: Place | None = None,
    exclude_speakers: Path | None = None,
) -> SavedLists:
    """Write train_list.txt and test_list.txt under save_path; no held-out file is in the train list.

    The paths of a list are relative to `start`, by default the working folder; those of a folder to it.

    Raises:
        FileNotFoundError, ValueError: no audio, unclear speakers, or too little for trials.
    """
    split.check()
    if exclude_speakers:
        split = split._replace(left_out=read_speakers(exclude_speakers, "", source))
    recordings = read_source(source, start, speaker_folder)
    try:
        lists = make_lists(recordings.utterances, None, split)
    except ValueError as error:
        raise ValueError("; ".join([f"{source}: {error}", *recordings.messages])) from None
    saved = save_lists(lists, save_path, "", recordings.start, kaldi)
    return saved._replace(messages=[*recordings.messages, *saved.messages])
