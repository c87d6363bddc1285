"""LibriSpeech: 2,484 readers of audio books (Panayotov et al. 2015)."""

from corpora._corpus import OPENSLR, Corpus, Tree, single

SUBSETS = {
    "train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
    "train-clean-360": "c0e676e450a7ff2f54aeade5171606fa",
    "train-other-500": "d1a0fd59409feb2c614ce4d30c387708",
    "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
    "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
    "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
    "test-other": "fb5a50374b501bb3bac4815ee91d3135",
}
ROOT = "librispeech/LibriSpeech"
FILE = r"(?P<speaker>\d+)/(?P<session>\d+)/[^/]+\.flac"

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
    known={"speakers": 2338, "utterances": 281_241},
    genders="SPEAKERS.TXT",
)
