"""CN-Celeb 1 and 2: 3,000 Chinese speakers in eleven genres (Fan et al. 2020, arXiv:1911.01799)."""

from corpora._corpus import OPENSLR, Archive, Corpus, Part, Protocol, Tree, single
from corpora._keys import Lines, Lists, PathOf, models, verification

PARTS = {
    "cn-celeb2_v2.tar.gzaa": "4cdf738cff565ce35ad34274848659c3",
    "cn-celeb2_v2.tar.gzab": "4ff59a7009b79ef7043498ad3882b81b",
    "cn-celeb2_v2.tar.gzac": "3aa8e6e7f7ec4382f9926b1b31498228",
}
FILE = r"(?P<session>[^/]+-\d+)-\d+\.flac"  # genre and number of the recording, number of the utterance
EVAL_TREE = Tree("cnceleb", r"CN-Celeb_flac/eval/(enroll|test)/(?P<speaker>id\d+)-(?P<session>[^/]+)\.flac")
LISTS = "CN-Celeb_flac/eval/lists"


def _flac(folder: str) -> PathOf:
    """Names of the lists, which end in .wav, in a folder -> paths of the files, which end in .flac."""
    return lambda name: f"CN-Celeb_flac/{folder}/{name.removesuffix('.wav')}.flac"


def concatenated(trials: Lines, enrolments: Lines) -> Lists:
    """A model is one file, its recordings joined, which the archive holds."""
    return verification(trials, models(enrolments, _flac("eval")), _flac("eval"))


def averaged(trials: Lines, enrolments: Lines) -> Lists:
    """A model is the mean of the embeddings of its recordings."""
    return verification(trials, models(enrolments, _flac("data")), _flac("eval"))


CORPUS = Corpus(
    title="CN-Celeb",
    licence="CC BY-SA 4.0",
    access="open: https://www.openslr.org/82",
    archives=(
        single(
            f"{OPENSLR}/82/cn-celeb_v2.tar.gz",
            Tree("cnceleb", rf"CN-Celeb_flac/data/(?P<speaker>id\d+)/{FILE}"),
            "cnceleb",
            "7ab1b214028a7439e26608b2d5a0336c",
            size=22_264_439_915,
        ),
        Archive(
            "cn-celeb2_v2.tar.gz",
            tuple(Part(name, f"{OPENSLR}/82/{name}", md5) for name, md5 in PARTS.items()),
            "cnceleb",
            (Tree("cnceleb", rf"CN-Celeb2_flac/data/(?P<speaker>id\d+)/{FILE}"),),
        ),
    ),
    # Speakers id00800 to id00999 of CN-Celeb 1 are for evaluation.
    train=Tree("cnceleb", rf"CN-Celeb2?_flac/data/(?P<speaker>id(?!00[89])\d+)/{FILE}"),
    test=Tree("cnceleb", rf"CN-Celeb_flac/data/(?P<speaker>id00[89]\d\d)/{FILE}"),
    protocols=(
        Protocol("concat", EVAL_TREE, (f"{LISTS}/trials.lst", f"{LISTS}/enroll.lst"), concatenated),
        Protocol("avg", EVAL_TREE, (f"{LISTS}/trials.lst", f"{LISTS}/enroll.map"), averaged),
    ),
)
