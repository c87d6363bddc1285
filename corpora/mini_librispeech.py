"""Mini LibriSpeech: 5 hours to train on and 2 to test on, 460 MB, open to everybody."""

from corpora._corpus import OPENSLR, Corpus, Tree, single

SUBSETS = {
    "train-clean-5": "5df7d4e78065366204ca6845bb08f490",
    "dev-clean-2": "6d7ab67ac6a1d2c993d050e16d61080d",
}
ROOT = "mini_librispeech/LibriSpeech"
FILE = r"(?P<speaker>\d+)/(?P<session>\d+)/[^/]+\.flac"

CORPUS = Corpus(
    title="Mini LibriSpeech",
    licence="CC BY 4.0",
    access="open: https://www.openslr.org/31",
    archives=tuple(
        single(f"{OPENSLR}/31/{name}.tar.gz", Tree(ROOT, rf"{name}/{FILE}"), "mini_librispeech", md5)
        for name, md5 in SUBSETS.items()
    ),
    train=Tree(ROOT, rf"train-[^/]+/{FILE}"),
    test=Tree(ROOT, rf"dev-[^/]+/{FILE}"),
    genders="SPEAKERS.TXT",
)
