"""Players of the report: recordings held within the page up to a size limit, further ones on the disk."""

import base64
import io
from collections.abc import Callable
from typing import NamedTuple

import soundfile

from audio.recording import SAMPLE_RATE, Audio

EXCERPT_S = 10  # from the beginning of each recording

ReadAudio = Callable[[str], Audio | None]


class Player(NamedTuple):
    """One appearance of a recording in the page."""

    path: str
    url: str
    can_play: bool = True
    id: str = ""  # of the player whose sound is held in the page; "" if it is on the disk
    sound: str = ""  # MP3 in base64; held by the first player of a recording only


class Players:
    """Makes players; holds each recording at most once, until the page is full."""

    def __init__(self, read_audio: ReadAudio, link: Callable[[str], str], limit_mb: float) -> None:
        self.read_audio = read_audio
        self.link = link
        self.free_bytes = limit_mb * 1e6
        self.players = dict[str, Player]()  # first player of each path

    def player(self, path: str) -> Player:
        """Path in the trials -> a player of that recording."""
        if path in self.players:
            return self.players[path]._replace(sound="")
        player = self._first_player(path)
        self.players[path] = player
        return player

    def _first_player(self, path: str) -> Player:
        on_disk = Player(path, self.link(path))
        if self.free_bytes <= 0.0:
            return on_disk
        samples = self.read_audio(path)
        if samples is None:
            return on_disk._replace(can_play=False)
        sound = mp3_base64(samples)
        self.free_bytes -= len(sound)
        if self.free_bytes < 0.0:  # no smaller recording is held after it: short ones would be favoured
            return on_disk
        return on_disk._replace(id=f"a{len(self.players) + 1}", sound=sound)


def mp3_base64(samples: Audio) -> str:
    """Samples (T,) at 16 kHz -> MP3 of their beginning in base64."""
    stream = io.BytesIO()
    soundfile.write(stream, samples[: EXCERPT_S * SAMPLE_RATE], SAMPLE_RATE, format="MP3")
    return base64.b64encode(stream.getvalue()).decode()
