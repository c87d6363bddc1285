"""VOiCES from a Distance, challenge of 2019: readers recorded in rooms (Nandwana et al. 2019)."""

from corpora._corpus import Corpus, Protocol, Tree
from corpora._keys import Lines, Lists, models, unchanged, verification

DEV_LISTS = "sid_dev_lists_and_keys"


def development(keys: Lines, enrolments: Lines) -> Lists:
    """All paths start with sid_dev/."""
    return verification(keys, models(enrolments, unchanged), unchanged)


def evaluation(keys: Lines, enrolments: Lines) -> Lists:
    """The key names files in sid_eval, the enrolments begin with the folder."""
    return verification(keys, models(enrolments, unchanged), lambda name: f"sid_eval/{name}")


CORPUS = Corpus(
    title="VOiCES challenge 2019",
    licence="CC BY 4.0",
    access="lists and recordings of the challenge: ask at https://iqtlabs.github.io/voices",
    archives=(),
    protocols=(
        Protocol(
            "dev",
            Tree("voices", r"sid_dev/(?P<speaker>sp\d+)/(?P<session>[^/]+)\.wav"),
            (f"{DEV_LISTS}/dev-trial-keys.lst", f"{DEV_LISTS}/dev-enroll.lst"),
            development,
        ),
        Protocol(
            "eval",
            Tree("voices", r"sid_eval/(?P<speaker>(?P<session>[^/]+))\.wav"),
            ("VOiCES_challenge_2019_eval.SID.trial-keys.lst", "eval-enroll.lst"),
            evaluation,
        ),
    ),
)
