"""MUSAN: 109 hours of noise, music and speech to mix in (Snyder et al. 2015, arXiv:1510.08484)."""

from corpora._corpus import OPENSLR, Corpus, Tree, single

TREE = Tree("musan", r"(?P<speaker>music|speech|noise)/(?P<session>[^/]+)/[^/]+\.wav")

CORPUS = Corpus(
    title="MUSAN",
    licence="CC BY 4.0 and others, as its LICENSE files say",
    access="open: https://www.openslr.org/17",
    archives=(
        single(
            f"{OPENSLR}/17/musan.tar.gz",
            TREE,
            ".",
            "0c472d4fc0c5141eca47ad1ffeb2a7df",
            size=11_086_114_085,
        ),
    ),
    train=TREE,
)
