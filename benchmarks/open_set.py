"""Right answers and false alarms of open-set identification on real speech, untuned and tuned.

python benchmarks/open_set.py --list utterances.txt --path FOLDER
python benchmarks/open_set.py --embeddings e.npz

The list has lines `speaker path`. Many times N speakers are drawn and enrolled with two or three recordings
each; their last recording and all recordings of the other speakers, who are strangers, are identified.
Embeddings are kept in --embeddings, if given.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from inference.speakers.open_set import OpenSetRule, untuned_rule
from inference.speakers.prototypes import prototypes_of
from inference.speakers.tuning import leave_one_out, tuned

RECORDINGS = 4  # of each speaker; the last one is never enrolled


def embeddings_of(args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """The command line -> vectors (V, D) and speakers (V,) of RECORDINGS recordings of each speaker."""
    place = Path(args.embeddings)
    if args.embeddings and place.is_file():
        with np.load(place) as content:
            return content["vectors"], content["speakers"]
    from inference import load

    voice = load(args.initial_model, vad=args.vad)
    paths = dict[str, list[str]]()
    for line in Path(args.list).read_text(encoding="utf-8").splitlines():
        speaker, path = line.split(maxsplit=1)
        paths.setdefault(speaker, []).append(str(Path(args.path, path)))
    paths = {speaker: files for speaker, files in paths.items() if len(files) >= RECORDINGS}
    # evenly spread, so that several sessions take part
    rows = [files[len(files) * n // RECORDINGS] for files in paths.values() for n in range(RECORDINGS)]
    vectors = np.stack([voice.listen(path).vector for path in rows])
    speakers = np.repeat(np.arange(len(paths)), RECORDINGS)
    if args.embeddings:
        np.savez(place, vectors=vectors, speakers=speakers)
    return vectors, speakers


def rates(scores: np.ndarray, own: np.ndarray, rule: OpenSetRule, count: int) -> np.ndarray:
    """Scores (U, N), columns of the own speakers (U,), -1 for strangers -> rates (4,).

    Right answers, accepted strangers; and both without the margin.
    """
    ordered = np.sort(scores, axis=1)
    best, second = ordered[:, -1], ordered[:, -2]
    reached = best >= rule.threshold_for(count)
    right, stranger = scores.argmax(axis=1) == own, own < 0
    found = []
    for margin in (rule.margin, 0.0):
        accepted = reached & (best - second >= margin)
        found += [(accepted & right)[~stranger].mean(), accepted[stranger].mean()]
    return np.array(found)


def trial(
    vectors: np.ndarray, speakers: np.ndarray, chosen: np.ndarray, enrolled: int, model_rule: OpenSetRule
) -> np.ndarray:
    """Speakers chosen for enrolment (N,), recordings of each -> rates (2, 4) of both rules."""
    column = np.full(speakers.max() + 1, -1)
    column[chosen] = np.arange(len(chosen))
    number = np.arange(len(vectors)) % RECORDINGS
    known = column[speakers] >= 0
    rows = np.flatnonzero(known & (number < enrolled))
    rows = rows[np.argsort(column[speakers[rows]], kind="stable")]
    labels = column[speakers[rows]]
    tested = ~known | (number == RECORDINGS - 1)
    scores = vectors[tested] @ prototypes_of(vectors[rows], labels, "mean").vectors.T
    own = column[speakers[tested]]
    left_out = leave_one_out(vectors[rows], labels, "mean")
    rules = model_rule, tuned(left_out, len(chosen), model_rule.p_fa, model_rule).rule
    return np.stack([rates(scores, own, rule, len(chosen)) for rule in rules])


def main() -> None:
    """Print a table of rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--list", default="", help="lines `speaker path`")
    parser.add_argument("--path", default="", help="folder of the recordings")
    parser.add_argument("--embeddings", default="", help=".npz file that keeps them")
    parser.add_argument("--initial_model", default="campplus-zh-en")
    parser.add_argument("--vad", default="", help="voice activity detector; default: the model's")
    parser.add_argument("--threshold", type=float, default=0.578, help="of one speaker at P_fa 1 %%")
    parser.add_argument("--tail", type=float, default=0.0443, help="scale of the tail of nontarget scores")
    parser.add_argument("--draws", type=int, default=200)
    args = parser.parse_args()
    vectors, speakers = embeddings_of(args)
    model_rule = untuned_rule(args.threshold, args.tail, "model")
    generator = np.random.default_rng(0)
    print(
        "percent: right, strangers accepted, then both without the margin; 90 % of draws have fewer accepted"
    )
    for count in (5, 10, 20, 40, 80):
        for enrolled in (2, 3):
            chosen = [generator.permutation(speakers.max() + 1)[:count] for _ in range(args.draws)]
            draws = np.stack([trial(vectors, speakers, names, enrolled, model_rule) for names in chosen])
            for rule, found in zip(("untuned", "tuned"), draws.transpose(1, 0, 2), strict=True):
                means, most = 100 * found.mean(axis=0), 100 * np.quantile(found[:, 1], 0.9)
                columns = "  ".join(f"{value:6.2f}" for value in (*means, most))
                print(f"{count:3} speakers, {enrolled} recordings, {rule:8}{columns}")


if __name__ == "__main__":
    main()
