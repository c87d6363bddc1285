"""Who spoke when in a recording."""

from os import PathLike
from typing import TYPE_CHECKING, NamedTuple

from audio.recording import SAMPLE_RATE
from inference.diarization.clustering import LEAST_COSINE
from inference.diarization.naming import NamedSpeaker, with_names
from inference.diarization.turns import Overlap, Turn, assign
from inference.diarization.windows import HOPS_PER_S, embed_windows, find_windows
from inference.public_models import DEFAULT_MODEL
from inference.speakers.identification import SpeakerBook, open_book

if TYPE_CHECKING:  # PyTorch takes seconds to import
    from inference.voices import Recording, Voice


UNKNOWN_COSINE = (
    f"the number of speakers may be wrong: clusters are joined down to a cosine of {LEAST_COSINE:g}, which "
    f"was chosen for {DEFAULT_MODEL}"
)


class Diarization(NamedTuple):
    """Who spoke when; without speech there are no turns and no speakers."""

    name: str  # of the recording
    duration_s: float
    speech_s: float  # found by the voice activity detector
    turns: list[Turn]  # in order, none of which overlaps another
    overlaps: list[Overlap]  # where a second speaker may speak, too
    speakers: list[NamedSpeaker]  # in the order in which they begin
    warnings: tuple[str, ...]


def diarize(
    voice: "Voice",
    recording: "Recording",
    *,
    num_speakers: int | None = None,
    least_cosine: float | None = None,
    database: str | PathLike[str] | None = None,
    threshold: float | None = None,
) -> Diarization:
    """A path, or samples and their rate -> who speaks in it from when to when.

    Args:
        voice: embeds windows of the recording.
        recording: of up to 4 hours.
        num_speakers: how many speak, if that is known.
        least_cosine: on average between the windows of two clusters, for these to be of one speaker; by
            default that chosen for the default model.
        database: of enrolled speakers, who are called by their names; others are `speaker 1`, ...
        threshold: from which score on a speaker is taken for an enrolled one, instead of the tuned one or the
            model's.

    Raises:
        AudioError: the recording can't be read.
        ValueError, OSError: the database can't be used, or no threshold is known for it.
    """
    voice.require_vectors()
    if num_speakers is not None and num_speakers < 1:
        raise ValueError(f"expected at least one speaker, got {num_speakers}")
    if database is None:
        return _diarize(voice, recording, num_speakers, least_cosine, None)
    with open_book(voice, database, threshold=threshold) as book:
        book.required_rule()  # reported before anything is embedded
        return _diarize(voice, recording, num_speakers, least_cosine, book)


def _diarize(
    voice: "Voice",
    recording: "Recording",
    num_speakers: int | None,
    least_cosine: float | None,
    book: SpeakerBook | None,
) -> Diarization:
    name, (audio, remarks) = voice.read(recording)
    windows = find_windows(audio, voice.values.vad)
    if least_cosine is None:
        least_cosine = LEAST_COSINE
        if num_speakers is None and voice.values.initial_model != DEFAULT_MODEL:
            remarks = [*remarks, UNKNOWN_COSINE]
    timeline = assign(windows, embed_windows(voice, audio, windows), num_speakers, least_cosine)
    num_found = len({turn.speaker for turn in timeline.turns})
    if num_speakers is not None and 0 < num_found < num_speakers:
        remarks = [*remarks, f"only {num_found} of {num_speakers} speakers are found"]
    timeline, speakers = with_names(timeline, audio, book)
    speech_s = float((windows.regions[:, 1] - windows.regions[:, 0]).sum()) / HOPS_PER_S
    return Diarization(
        name,
        len(audio) / SAMPLE_RATE,
        speech_s,
        timeline.turns,
        timeline.overlaps,
        speakers,
        tuple(remarks),
    )
