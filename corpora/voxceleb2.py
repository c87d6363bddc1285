"""VoxCeleb2: 5,994 + 118 speakers in videos of interviews (Chung et al. 2018, arXiv:1806.05622)."""

from corpora._corpus import Archive, Corpus, Part, Tree

SERVER = "https://cn01.mmai.io/download/voxceleb?file="
PARTS = {
    "vox2_dev_aac_partaa": "da070494c573e5c0564b1d11c3b20577",
    "vox2_dev_aac_partab": "17fe6dab2b32b48abaf1676429cdd06f",
    "vox2_dev_aac_partac": "1de58e086c5edf63625af1cb6d831528",
    "vox2_dev_aac_partad": "5a043eb03e15c5a918ee6a52aad477f9",
    "vox2_dev_aac_partae": "cea401b624983e2d0b2a87fb5d59aa60",
    "vox2_dev_aac_partaf": "fc886d9ba90ab88e7880ee98effd6ae9",
    "vox2_dev_aac_partag": "d160ecc3f6ee3eed54d55349531cb42e",
    "vox2_dev_aac_partah": "6b84a81b9af72a9d9eecbb3b1f602e65",
}
TEST = "vox2_test_aac.zip"
FILE = r"(?P<speaker>id0\d{4})/(?P<session>[^/]+)/[^/]+"
TRAIN_TREE = Tree("voxceleb2/dev/wav", rf"{FILE}\.(wav|flac)")

CORPUS = Corpus(
    title="VoxCeleb2",
    licence="CC BY 4.0 for the metadata; the recordings remain their owners'",
    access="ask for a key at https://mm.kaist.ac.kr/datasets/voxceleb (from a non-personal address)",
    archives=(
        Archive(
            "vox2_dev_aac.zip",
            tuple(Part(name, SERVER + name, md5) for name, md5 in PARTS.items()),
            "voxceleb2",
            (TRAIN_TREE, Tree("voxceleb2", rf"dev/aac/{FILE}\.m4a")),
            "bbc063c46078a602ca71605645c2a402",
        ),
        Archive(
            TEST,
            (Part(TEST, SERVER + TEST, "0d2b3ea430a821c33263b5ea37ede312"),),
            "voxceleb2/test",
            (Tree("voxceleb2", rf"test/(aac|wav)/{FILE}\.(m4a|wav|flac)"),),
        ),
    ),
    encoded=Tree("voxceleb2", rf"(dev|test)/aac/{FILE}\.m4a"),
    train=TRAIN_TREE,
    known={"speakers": 5994, "utterances": 1_092_009, "mirror_speakers": 5991},
    key=True,
    genders="vox2_meta.csv",
)
