"""Mini LibriSpeech: 5 hours to train on and 2 to test on, 460 MB, open to everybody."""

from corpora._corpus import OPENSLR, Corpus, Tree, single

FILE = r"(?P<speaker>\d+)/(?P<session>\d+)/[^/]+\.flac"

CORPUS = Corpus(
    title="Mini LibriSpeech",
    licence="CC BY 4.0",
    access="open: https://www.openslr.org/31",
    archives=(
        single(f"{OPENSLR}/31/train-clean-5.tar.gz", "mini_librispeech", "5df7d4e78065366204ca6845bb08f490"),
        single(f"{OPENSLR}/31/dev-clean-2.tar.gz", "mini_librispeech", "6d7ab67ac6a1d2c993d050e16d61080d"),
    ),
    train=Tree("mini_librispeech/LibriSpeech", rf"train-[^/]+/{FILE}"),
    test=Tree("mini_librispeech/LibriSpeech", rf"dev-[^/]+/{FILE}"),
    genders="SPEAKERS.TXT",
)
