"""VoxCeleb1: 1,211 + 40 speakers, and the trial lists O, E and H (Nagrani et al. 2017, arXiv:1706.08612)."""

from corpora._corpus import OPENSLR, Archive, Corpus, Part, Tree

SERVER = "https://cn01.mmai.io/download/voxceleb?file="
META = "https://mm.kaist.ac.kr/datasets/voxceleb/meta/"
PARTS = {
    "vox1_dev_wav_partaa": "e395d020928bc15670b570a21695ed96",
    "vox1_dev_wav_partab": "bbfaaccefab65d82b21903e81a8a8020",
    "vox1_dev_wav_partac": "017d579a2a96a077f40042ec33e51512",
    "vox1_dev_wav_partad": "7bb1e9f70fddc7a678fa998ea8b3ba19",
}
TEST_SPEAKERS = r"02[7-9]\d|030\d"  # id10270 to id10309
FILE = r"(?P<session>[^/]+)/[^/]+\.(wav|flac)"
TRAIN_TREE = Tree("voxceleb1/dev/wav", rf"(?P<speaker>id1(?!{TEST_SPEAKERS})\d{{4}})/{FILE}")
TEST_TREE = Tree("voxceleb1/test/wav", rf"(?P<speaker>id1({TEST_SPEAKERS}))/{FILE}")
TEST = "vox1_test_wav.zip"
LISTS = (
    "veri_test.txt",  # VoxCeleb1-O
    "veri_test2.txt",  # VoxCeleb1-O cleaned
    "list_test_all.txt",  # VoxCeleb1-E
    "list_test_all2.txt",  # VoxCeleb1-E cleaned
    "list_test_hard.txt",  # VoxCeleb1-H
    "list_test_hard2.txt",  # VoxCeleb1-H cleaned
)
SITW = "voxceleb1_sitw_overlap.txt"  # names of 60 people

CORPUS = Corpus(
    title="VoxCeleb1",
    licence="CC BY 4.0 for the metadata; the recordings remain their owners'",
    access="ask for a key at https://mm.kaist.ac.kr/datasets/voxceleb (from a non-personal address)",
    archives=(
        Archive(
            "vox1_dev_wav.zip",
            tuple(Part(name, SERVER + name, md5) for name, md5 in PARTS.items()),
            "voxceleb1/dev",
            (TRAIN_TREE,),
            "ae63e55b951748cc486645f532ba230b",
        ),
        Archive(
            TEST,
            (Part(TEST, SERVER + TEST, "185fdc63c3c739954633d50379a3d102"),),
            "voxceleb1/test",
            (TEST_TREE,),
        ),
    ),
    lists=tuple(Part(name, META + name) for name in LISTS),
    train=TRAIN_TREE,
    test=TEST_TREE,
    known={"speakers": 1211, "utterances": 148_642},
    key=True,
    tables=tuple(Part(name, f"{OPENSLR}/49/{name}") for name in ("vox1_meta.csv", SITW)),
    genders="vox1_meta.csv",
    overlaps={"sitw": SITW},
)
