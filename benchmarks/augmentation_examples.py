"""Ten augmented examples of one recording, to listen to and to look at.

    python benchmarks/augmentation_examples.py RECORDING --musan_path data/musan --to examples

Writes a WAV file for each kind and strength, and spectrograms.png with all of them.
"""

import argparse
import sys
from pathlib import Path

import matplotlib
import numpy as np
import soundfile
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from audio.augment import Augmenter, Ranges, kinds_of, read_chain
from audio.effects import apply_effects, gather
from audio.noise import Material
from audio.recording import SAMPLE_RATE, Audio, AudioFile

matplotlib.use("Agg")
from matplotlib import pyplot as plt

LENGTH = 48_000  # samples
EXAMPLES = {  # name -> chain, SNR in dB where there is one
    "as it is": ("gain:1", 0.0),
    "noise at 15 dB": ("noise:1", 15.0),
    "noise at 0 dB": ("noise:1", 0.0),
    "music at 5 dB": ("music:1", 5.0),
    "babble at 13 dB": ("babble:1", 13.0),
    "babble and music at 13 dB": ("babble+music:1", 13.0),
    "reverberation": ("reverb:1", 0.0),
    "band limits": ("band:1", 0.0),
    "band limits and mu-law": ("band+mulaw:1", 0.0),
    "speed 1.1": ("speed:1", 0.0),
}


def example(path: str, chain: str, snr_db: float, musan_path: str, rir_path: str) -> Audio:
    """Recording -> a crop (LENGTH,) with the chain's effects."""
    spans = dict.fromkeys(("noise", "music", "babble"), (snr_db, snr_db))
    stages = read_chain(chain)
    material = Material(kinds_of(stages), musan_path, rir_path)
    made = Augmenter(stages, material, Ranges(spans, (3.0, 7.0), (0.0, 0.0), (-10.0, 10.0)), (1.1,))
    generator = np.random.default_rng(1)
    speed = made.speeds[made.draw_speed(generator)]
    crop = torch.from_numpy(AudioFile(path).crop(LENGTH, np.random.default_rng(0), speed)[None])
    return np.asarray(apply_effects(crop, gather([made.draw(generator, LENGTH)]))[0])


def main() -> None:
    """Write the examples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recording")
    parser.add_argument("--musan_path", default="data/musan")
    parser.add_argument("--rir_path", default="data/RIRS_NOISES/simulated_rirs")
    parser.add_argument("--to", type=Path, default=Path("examples"))
    args = parser.parse_args()
    args.to.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(5, 2, figsize=(12, 15), layout="constrained", sharex=True, sharey=True)
    for axis, (name, (chain, snr_db)) in zip(axes.flat, EXAMPLES.items(), strict=True):
        audio = example(args.recording, chain, snr_db, args.musan_path, args.rir_path)
        soundfile.write(args.to / f"{name}.wav", audio / max(1.0, np.abs(audio).max()), SAMPLE_RATE)
        axis.specgram(audio + 1e-6, NFFT=512, Fs=SAMPLE_RATE, noverlap=352, vmin=-120, vmax=-40)
        axis.set_title(name)
    figure.supxlabel("s")
    figure.supylabel("Hz")
    figure.savefig(args.to / "spectrograms.png", dpi=80)
    print(f"{len(EXAMPLES)} examples and spectrograms.png in {args.to}")


if __name__ == "__main__":
    main()
