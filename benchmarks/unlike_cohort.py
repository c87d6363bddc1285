"""What a cohort is worth for recordings unlike all in it: each corpus of a trial list is left out in turn.

    python benchmarks/unlike_cohort.py --cohort_list train_list.txt \
        --test_list test_list.txt --test_path D --tables utterances.tsv

For each corpus, with a threshold at the equal error rate of all other trials: false alarms and misses in
percent by the cosine, and by asnorm with the whole cohort and with a cohort without this corpus; the
threshold then is from scores by that cohort too.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent))

from audio.lists import read_train_list
from audio.trials import read_trials
from inference import load
from metrics.rates import error_rates
from normalization.asnorm import Normalization
from storage.checkpoint import load_cohort

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def corpora_of(tables: list[str]) -> dict[str, str]:
    """Tables with columns `path`, `corpus` and `speaker`, by tabs -> corpus of each path and speaker."""
    known = dict[str, str]()
    for table in tables:
        with Path(table).open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream, delimiter="\t"):
                corpus = "librispeech" if row["corpus"].startswith("librispeech") else row["corpus"]
                known |= {row["path"]: corpus, row["speaker"]: corpus}
    return known


def equal_error_threshold(scores: Floats, labels: NDArray[np.int8]) -> float:
    """Scores, labels -> the threshold where misses and false alarms are nearest."""
    rates = error_rates(scores, labels)
    return float(rates.thresholds[np.argmin(np.abs(rates.p_miss - rates.p_fa))])


def errors(scores: Floats, labels: NDArray[np.int8], part: Flags) -> str:
    """Scores, labels, trials of a corpus -> its errors at the threshold of the others, as text."""
    threshold = equal_error_threshold(scores[~part], labels[~part])
    accepted, is_target = scores[part] >= threshold, labels[part] == 1
    return f"{100 * accepted[~is_target].mean():5.1f} {100 * (~accepted[is_target]).mean():5.1f}"


def main() -> None:
    """Print a line for each corpus."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--initial_model", default="campplus-zh-en", help="as of inferSpeakerNet.py")
    parser.add_argument(
        "--cohort", default="inference/cohorts/campplus-zh-en.pt", help="file that --prepare wrote"
    )
    parser.add_argument("--cohort_list", required=True, help="train list that the cohort is of")
    parser.add_argument("--test_list", required=True, help="trial list")
    parser.add_argument("--test_path", required=True, help="folder of its recordings")
    parser.add_argument(
        "--tables", nargs="+", required=True, help="tables of its recordings and the cohort's"
    )
    args = parser.parse_args()
    known = corpora_of(args.tables)
    (trials,) = read_trials([args.test_list])
    labels = np.asarray(trials.labels)
    voice = load(args.initial_model, vad="none")
    vectors = torch.from_numpy(voice.embed_files([Path(args.test_path, path) for path in trials.names]))
    cohort = load_cohort(args.cohort)
    speakers = read_train_list(args.cohort_list, "").speakers
    corpora = np.array([known[speakers[label]] for label in cohort["labels"]])
    of_trials = np.array([known[trials.names[number]] for number in trials.enrol])
    cosines = (vectors[trials.enrol] * vectors[trials.test]).sum(dim=1).double().numpy()

    def normalised(kept: Flags) -> Floats:
        norm = Normalization(cohort["entries"][torch.from_numpy(kept)].float())
        return norm.apply(cosines, norm.statistics(vectors), trials.enrol, trials.test)

    whole = normalised(np.ones(len(corpora), dtype=bool))
    print("false alarms and misses, %: cosine; asnorm; asnorm without the corpus in the cohort")
    for corpus in np.unique(of_trials):
        part, kept = of_trials == corpus, corpora != corpus
        columns = (errors(scores, labels, part) for scores in (cosines, whole, normalised(kept)))
        print(f"{corpus:20} {'; '.join(columns)}")


if __name__ == "__main__":
    main()
