"""Speakers in the Wild: 299 public figures in recordings of open sources (McLaren et al. 2016)."""

from collections.abc import Callable

from corpora._corpus import Corpus, Protocol, Tree
from corpora._keys import Lines, Lists, PathOf, models, models_of_segments, verification

ENROLMENTS = {"core": models, "assist": models_of_segments}
TESTS = ("core", "multi")


def _in(part: str) -> PathOf:
    return lambda name: f"{part}/{name}"


def _reader(part: str, enrolment: str) -> Callable[[Lines, Lines], Lists]:
    """Part of the corpus, condition of the enrolment -> what makes lists of a key and the enrolments."""
    read_models = ENROLMENTS[enrolment]
    return lambda keys, enrolments: verification(keys, read_models(enrolments, _in(part)), _in(part))


CORPUS = Corpus(
    title="Speakers in the Wild",
    licence="for research only, as SRI's agreement says",
    access="ask SRI International for it: http://www.speech.sri.com/projects/sitw",
    archives=(),
    protocols=tuple(
        Protocol(
            f"{part}_{enrolment}-{test}",
            Tree("sitw", rf"{part}/audio/(?P<speaker>(?P<session>[^/]+))\.flac"),
            (f"{part}/keys/{enrolment}-{test}.lst", f"{part}/lists/enroll-{enrolment}.lst"),
            _reader(part, enrolment),
        )
        for part in ("dev", "eval")
        for enrolment in ENROLMENTS
        for test in TESTS
    ),
)
