"""What each part of a training recipe brings, judged on training speakers set aside, over several seeds.

python benchmarks/recipes.py split --list train_list_big.txt --tables utterances.tsv --save_path D
python benchmarks/recipes.py run --save_path D --path PACK --seeds 1 2 3 --epochs 12
python benchmarks/recipes.py table --save_path D

`split` sets aside a share of the speakers with four files or more, of each corpus, and of languages as a
whole where a corpus has several. Trials stay within a corpus and a language, mostly within a gender, and
target trials are across sessions where a speaker has several. `run` trains the rungs of LADDER on the other
speakers, all for about as long as --epochs of the narrow network take, and scores the trials once, at the
end; finished runs are not repeated. `table` prints means and standard deviations over the seeds.
"""

import argparse
import csv
import json
import shlex
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parent.parent
FEWEST_FILES = 4  # of a speaker that may be set aside
MOST_TARGETS = 24  # target trials of a speaker; as many nontarget trials
SAME_GENDER = 0.7  # share of the nontarget trials that stay within a gender, where it is known
LANGUAGE_SIZES = range(3, 13)  # speakers of a language that is set aside as a whole
SMALLEST_CORPUS = 20  # speakers that can be set aside; of smaller corpora none is


class Rung(NamedTuple):
    """A step of the ladder: what is added to those before it, and what is done with it."""

    name: str
    flags: str
    kind: str = "train"  # or "tune": the network of the rung before; "score": that network
    cost: float = 1.0  # time of an epoch, relative to that of the other trainings


BASE = "--precision=fp32 --nDataLoaderThread=0 --eval_frames=0"
CHANNELS = "reverb:0.15|noise:0.15|band+mulaw:0.15"
# Training rungs have the flags of those above them too; the later of two flags has priority.
LADDER = (
    Rung(
        "2020",
        "--model=ResNetSE34L --trainfunc=angleproto --batch_size=32 --nPerSpeaker=2 --max_frames=120",
        cost=3.0,
    ),
    Rung(
        "narrow network",
        "--model=ECAPA --variant=speechbrain --channels=128 --encoder_type=STATS --features=logmel "
        "--n_mels=40 --feature_norm=none --normalise_waveform --nOut=192 --max_frames=100",
    ),
    Rung("augmented", f"--augment --augment_chain='{CHANNELS}'"),
    Rung("cosine rate", "--augment=False --scheduler=cosine --warmup_epochs=0.5"),
    Rung(
        "AAM with margin schedule",
        "--trainfunc=aamsoftmax --nPerSpeaker=1 --batch_size=64 --margin=0.2 --scale=30 "
        "--margin_schedule=exponential --margin_epochs=1,3",
    ),
    Rung("sub-centres, inter-top-k", "--sub_centers=3 --inter_topk=5"),
    Rung("speed classes", "--augment --augment_chain=speed:2/3"),
    Rung("noise, rooms, telephone", f"--augment_chain='speed:2/3 {CHANNELS}'"),
    Rung("EMA", "--ema_decay=0.99"),
    Rung(
        "large margin",
        "--margin=0.4 --margin_schedule=constant --inter_topk=0 --max_frames=200 --lr=0.00005 --max_epoch=1 "
        f"--augment_chain='{CHANNELS}'",
        kind="tune",
    ),
    Rung("AS-norm", "--score_norm=asnorm --top_n=200", kind="score"),
)


class Utterance(NamedTuple):
    """A file of the list, and what the tables say of it; "" where they say nothing."""

    path: str
    speaker: str
    corpus: str
    language: str
    gender: str
    session: str


def read_utterances(list_path: str, tables: list[str]) -> list[Utterance]:
    """A train list, tables with a column `path` -> its utterances."""
    rows = dict[str, dict[str, str]]()
    for table in tables:
        with Path(table).open(encoding="utf-8", newline="") as stream:
            rows |= {row["path"]: row for row in csv.DictReader(stream, delimiter="\t")}
    columns = ("corpus", "language", "gender", "session")
    utterances = list[Utterance]()
    for line in Path(list_path).read_text(encoding="utf-8").splitlines():
        speaker, path = line.split(maxsplit=1)
        known = rows.get(path, {})
        utterances.append(Utterance(path, speaker, *(known.get(name) or "" for name in columns)))
    return utterances


def choose_speakers(
    speakers: dict[str, list[Utterance]], share: float, generator: np.random.Generator
) -> set[str]:
    """Utterances of each speaker -> those that are set aside."""
    corpora = defaultdict[str, list[str]](list)
    for name in sorted(speakers):
        if len(speakers[name]) >= FEWEST_FILES:
            corpora[speakers[name][0].corpus].append(name)
    chosen = set[str]()
    for names in corpora.values():
        if len(names) < SMALLEST_CORPUS:
            continue
        count = round(share * len(names))
        languages = defaultdict[str, list[str]](list)
        for name in names:
            languages[speakers[name][0].language].append(name)
        if len(languages) == 1:
            chosen |= {str(name) for name in generator.permutation(names)[:count]}
            continue
        drawn = list[str]()
        for language in generator.permutation(sorted(languages)):
            if len(drawn) < count and len(languages[language]) in LANGUAGE_SIZES:
                drawn += languages[language]
        chosen |= set(drawn)
    return chosen


def trials_of(
    name: str, speakers: dict[str, list[Utterance]], generator: np.random.Generator
) -> list[tuple[int, str, str]]:
    """A speaker, utterances of all that are set aside -> target trials, and as many nontarget trials."""
    own = speakers[name]
    pairs = [(a, b) for i, a in enumerate(own) for b in own[i + 1 :]]
    across = [(a, b) for a, b in pairs if a.session != b.session]
    pairs = across or pairs
    targets = [pairs[i] for i in generator.permutation(len(pairs))[:MOST_TARGETS]]
    place = own[0].corpus, own[0].language
    others = [
        k for k, files in speakers.items() if k != name and (files[0].corpus, files[0].language) == place
    ]
    same = [k for k in others if speakers[k][0].gender == own[0].gender] or others
    trials = [(1, a.path, b.path) for a, b in targets]
    for _ in targets:
        nearer = same if generator.random() < SAME_GENDER else others
        stranger = speakers[nearer[generator.integers(len(nearer))]]
        sides = own[generator.integers(len(own))], stranger[generator.integers(len(stranger))]
        trials.append((0, sides[0].path, sides[1].path))
    return trials


def split(args: argparse.Namespace) -> None:
    """Write train.txt, all.txt with all trials, and a trial list of each corpus, under --save_path."""
    folder = Path(args.save_path)
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(args.seed)
    speakers = defaultdict[str, list[Utterance]](list)
    for utterance in read_utterances(args.list, args.tables):
        speakers[utterance.speaker].append(utterance)
    chosen = choose_speakers(speakers, args.share, generator)
    kept = [each for name, files in speakers.items() if name not in chosen for each in files]
    (folder / "train.txt").write_text("".join(f"{each.speaker} {each.path}\n" for each in kept))
    aside = {name: speakers[name] for name in sorted(chosen)}
    lists = defaultdict[str, list[tuple[int, str, str]]](list)
    for name in aside:
        lists[aside[name][0].corpus] += trials_of(name, aside, generator)
    lists["all"] = [trial for trials in lists.values() for trial in trials]
    for corpus, trials in lists.items():
        distinct = {frozenset(sides): f"{label} {' '.join(sides)}\n" for label, *sides in trials}
        (folder / f"{corpus}.txt").write_text("".join(distinct.values()))
        print(f"{corpus}: {len(distinct)} trials")
    print(f"{len(chosen)} of {len(speakers)} speakers set aside, {len(kept)} utterances to train on")


def flags_of(number: int, epochs: int) -> list[str]:
    """Place of a rung, epochs of a training -> its flags, and those of the trainings above it."""
    rung = LADDER[number]
    if rung.kind == "score":  # the model file has the others
        return ["--eval", "--report=False", *shlex.split(rung.flags)]
    trainings = [each.flags for each in LADDER[: number + 1] if each.kind == "train"]
    own = rung.flags if rung.kind == "tune" else ""
    number_of_epochs = max(1, round(epochs / LADDER[number].cost))
    return shlex.split(f"{BASE} {' '.join(trainings)} --max_epoch={number_of_epochs} {own}")


def words_of(args: argparse.Namespace, number: int, seed: int, place: Path, network: str) -> list[str]:
    """Command line, place of a rung, seed, run folder, model of the rung above -> the command's words."""
    folder = Path(args.save_path)
    lists = sorted(path for path in folder.glob("*.txt") if path.stem not in ("train", "all"))
    words = [*flags_of(number, args.epochs), f"--train_list={folder / 'train.txt'}", f"--seed={seed}"]
    words += [f"--train_path={args.path}", f"--test_path={args.path}", f"--save_path={place}"]
    if args.noises and LADDER[number].kind != "score":
        words += [f"--musan_path={args.noises}", f"--rir_path={args.rooms}"]
    if LADDER[number].kind != "train":
        words.append(f"--initial_model={network}")
    return [*words, "--test_list", str(folder / "all.txt"), *map(str, lists)]


def run(args: argparse.Namespace) -> None:
    """Train and test the rungs with each seed, in their order."""
    chosen = args.rungs or [rung.name for rung in LADDER]
    for seed in args.seeds:
        network = ""  # of the rung above
        for number, rung in enumerate(LADDER):
            place = Path(args.save_path, "runs", f"{rung.name}, seed {seed}")
            if rung.name in chosen and not (place / "done").exists():
                words = words_of(args, number, seed, place, network)
                subprocess.run([sys.executable, str(ROOT / "trainSpeakerNet.py"), *words], check=True)
                (place / "done").touch()
            if rung.kind != "score":
                network = str(place / "model" / "best.model")


def table(args: argparse.Namespace) -> None:
    """Print the EERs of each rung in percent, means and standard deviations over its seeds."""
    figures = defaultdict[str, list[dict[str, float]]](list)
    for path in sorted(Path(args.save_path, "runs").glob("*/result/results.jsonl")):
        name = path.parts[-3].rpartition(", seed ")[0]
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        tests = [record for record in records if record["event"] in ("test", "eval")]
        if tests:  # of a run that is done
            figures[name].append({record["list"]: 100 * record["eer"] for record in tests})
    for rung in LADDER:
        if rung.name not in figures:
            continue
        cells = list[str]()
        for name in figures[rung.name][0]:
            values = [each[name] for each in figures[rung.name]]
            spread = f" +- {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{name} {statistics.mean(values):.2f}{spread}")
        print(f"{rung.name} ({len(figures[rung.name])} seeds): {', '.join(cells)}")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for function in (split, run, table):
        command = commands.add_parser(function.__name__, help=(function.__doc__ or "").partition("\n")[0])
        command.set_defaults(function=function)
        command.add_argument("--save_path", required=True, help="folder of lists and runs")
    splitting, running = commands.choices["split"], commands.choices["run"]
    splitting.add_argument("--list", required=True, help="train list")
    splitting.add_argument("--tables", nargs="+", required=True, help="tables of its utterances, by tabs")
    splitting.add_argument("--share", type=float, default=0.12, help="of the speakers, set aside")
    splitting.add_argument("--seed", type=int, default=20)
    running.add_argument("--path", required=True, help="folder or pack of the recordings")
    running.add_argument("--rungs", nargs="+", help="names in LADDER; default: all")
    running.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    running.add_argument("--epochs", type=int, default=12)
    running.add_argument("--noises", default="", help="as --musan_path")
    running.add_argument("--rooms", default="", help="as --rir_path")
    args = parser.parse_args()
    args.function(args)


if __name__ == "__main__":
    main()
