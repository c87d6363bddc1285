"""Errors about recordings, which name the file in one line."""

from metrics.fields import shown


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
