"""Fetches public models and measures their error rates on trial lists, with the commands that a user types.

python benchmarks/public_models.py --test_path DATA/test --test_list DATA/test_list.txt DATA/other.txt
python benchmarks/public_models.py --models ge2e --eval_words="--vad webrtc" ...
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(script: str, *words: str) -> None:
    """Run a command of this project; its output goes to the terminal."""
    print(f"$ python {script} {' '.join(words)}", flush=True)
    subprocess.run([sys.executable, str(ROOT / script), *words], check=True)


def main() -> None:
    """Print the figures of each model and list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["campplus-zh-en", "ge2e"], help="of fetch --list")
    parser.add_argument("--test_list", nargs="+", required=True, help="trial lists")
    parser.add_argument("--test_path", required=True, help="folder of their recordings")
    parser.add_argument("--eval_words", default="", help="more flags of --eval, in one word")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for model in args.models:
            run("inferSpeakerNet.py", "fetch", model)
            lists = ["--test_list", *args.test_list, "--test_path", args.test_path]
            words = ["--save_path", str(Path(folder) / model), *args.eval_words.split()]
            run("trainSpeakerNet.py", "--eval", "--initial_model", model, *lists, *words)


if __name__ == "__main__":
    main()
