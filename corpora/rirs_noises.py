"""RIRS_NOISES: simulated room impulse responses of small and medium rooms (Ko et al. 2017)."""

from corpora._corpus import OPENSLR, Corpus, Tree, single

# As in voxceleb_trainer, large rooms are left out.
ROOMS = ("RIRS_NOISES/simulated_rirs/mediumroom", "RIRS_NOISES/simulated_rirs/smallroom")
TREE = Tree(
    "RIRS_NOISES/simulated_rirs", r"(?P<speaker>(small|medium|large)room)/(?P<session>Room\d+)/[^/]+\.wav"
)

CORPUS = Corpus(
    title="RIRS_NOISES",
    licence="Apache 2.0",
    access="open: https://www.openslr.org/28",
    archives=(
        single(f"{OPENSLR}/28/rirs_noises.zip", TREE, ".", "e6f48e257286e05de56413b4779d8ffb", only=ROOMS),
    ),
    train=TREE,
)
