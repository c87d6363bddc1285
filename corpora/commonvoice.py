"""Common Voice: sentences read by volunteers in many languages (Ardila et al. 2020, arXiv:1912.06670)."""

import re
from pathlib import PurePath

from corpora._corpus import Corpus, Listing
from corpora._keys import Lines, Recordings

SPEAKER, PATH = "client_id", "path"
CLIP = re.compile(r"[^/\s]+\.(mp3|wav|flac|ogg|opus)")


def recordings(lines: Lines) -> Recordings:
    """validated.tsv of each language -> its clips; a client_id is taken for a speaker."""
    speaker = path = 0
    for line in lines:
        if line.number == 1:
            if not {SPEAKER, PATH} <= set(line.fields):
                raise line.wrong(f"a header with {SPEAKER} and {PATH}")
            speaker, path = line.fields.index(SPEAKER), line.fields.index(PATH)
            continue
        if len(line.fields) <= max(speaker, path) or not CLIP.fullmatch(line.fields[path]):
            raise line.wrong(f"a {SPEAKER} and a {PATH}, such as common_voice_en_1.mp3")
        language = PurePath(line.file).parent.name
        yield f"{language}/clips/{line.fields[path]}", line.fields[speaker], ""


CORPUS = Corpus(
    title="Common Voice",
    licence="CC0",
    access="with an account, one archive for each language: https://commonvoice.mozilla.org/datasets",
    archives=(),
    train=Listing("commonvoice", r"(?P<language>[^/]+)/validated\.tsv", ("*/validated.tsv",), recordings),
)
