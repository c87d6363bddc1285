"""Errors about recordings, which name the file."""


class AudioError(ValueError):
    """A file that can't be used; the message names it and says why."""

    concerns_one_rank = True  # of several processes: the others may not have met it


class UnsupportedAudioError(AudioError):
    """A file that libsndfile doesn't read, or reads in part; --convert, which has ffmpeg, may read it."""
