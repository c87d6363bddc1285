"""Errors about recordings, which name the file in one line."""

from metrics.fields import shown

ADVICE = "convert it: python dataprep.py --convert --from FOLDER --save_path NEW"


class AudioError(ValueError):
    """A file that can't be used; the message names it and says why."""

    concerns_one_rank = True  # of several processes: the others may not have met it

    def __init__(self, message: str) -> None:
        """Characters that can't be printed, which names of files may have, are shown as their bytes."""
        super().__init__(shown(message))

    def reason(self, path: str) -> str:
        """The message without the file's path."""
        return str(self).removeprefix(f"{shown(path)}: ")


class UnsupportedAudioError(AudioError):
    """A file that libsndfile doesn't read, or reads in part; ffmpeg may read it (any_format.py)."""


def unsupported(path: str, reason: str) -> UnsupportedAudioError:
    """The error that a file isn't read whole here, with the command that converts it."""
    return UnsupportedAudioError(f"{path}: {reason}; {ADVICE}")


def too_long(longest_s: float) -> str:
    """What is wrong with a recording that is longer than that."""
    return f"lasts longer than {longest_s / 3600:g} h, the longest that is read; cut it into pieces"
