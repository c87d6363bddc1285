"""LibriSpeech: 2,484 readers of audio books (Panayotov et al. 2015)."""

import re
from collections.abc import Callable

from corpora._corpus import OPENSLR, Corpus, Protocol, Tree, single
from corpora._keys import Lines, Lists, PathOf, models, verification

SUBSETS = {
    "train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
    "train-clean-360": "c0e676e450a7ff2f54aeade5171606fa",
    "train-other-500": "d1a0fd59409feb2c614ce4d30c387708",
    "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
    "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
    "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
    "test-other": "fb5a50374b501bb3bac4815ee91d3135",
}
UTTERANCE = re.compile(r"(?P<speaker>\d+)-(?P<chapter>\d+)-\d+")
ROOT = "librispeech/LibriSpeech"
FILE = r"(?P<speaker>\d+)/(?P<session>\d+)/[^/]+\.flac"


def _in(subset: str) -> PathOf:
    """Subset -> path of an utterance in it by its name, speaker-chapter-number."""

    def path(utterance: str) -> str:
        match = UTTERANCE.fullmatch(utterance)
        if match is None:
            raise LookupError(utterance)
        return f"{subset}/{match['speaker']}/{match['chapter']}/{utterance}.flac"

    return path


def _voiceprivacy(subset: str) -> Callable[[Lines, Lines], Lists]:
    """Subset -> what makes lists of `speaker utterance label` trials and of spk2utt, the enrolments."""
    return lambda trials, spk2utt: verification(trials, models(spk2utt, _in(subset)), _in(subset))


CORPUS = Corpus(
    title="LibriSpeech",
    licence="CC BY 4.0",
    access="open: https://www.openslr.org/12",
    archives=tuple(
        single(f"{OPENSLR}/12/{name}.tar.gz", Tree(ROOT, rf"{name}/{FILE}"), "librispeech", md5)
        for name, md5 in SUBSETS.items()
    ),
    train=Tree(ROOT, rf"train-[^/]+/{FILE}"),
    test=Tree(ROOT, rf"(dev|test)-[^/]+/{FILE}"),
    # Lists of the VoicePrivacy challenges, for the recordings of LibriSpeech (Tomashenko et al. 2020,
    # arXiv:2005.01387).
    protocols=tuple(
        Protocol(
            f"voiceprivacy_{part}_{gender}",
            Tree(ROOT, rf"{part}-clean/{FILE}"),
            (f"libri_{part}_trials_{gender}/trials", f"libri_{part}_enrolls/spk2utt"),
            _voiceprivacy(f"{part}-clean"),
        )
        for part in ("dev", "test")
        for gender in "fm"
    ),
    known={"speakers": 2338, "utterances": 281_241},
    genders="SPEAKERS.TXT",
)
