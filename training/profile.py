"""Where the time of the first training steps goes."""

import time
from collections.abc import Callable

import torch

import runtime

REMEDIES = {
    "transfer": "crops of a pack are half the size (dataprep.py --pack)",
    "augmentation": "fewer or cheaper stages in --augment_chain",
    "front end": "fewer bands, or another --features",
    "optimizer": "larger batches",
    "trunk": "the network limits, as it should; a GPU, a smaller model or shorter crops help",
}


class Profile:
    """Where the time of the first steps goes. Waits for the device at every mark, so it slows them down."""

    WARM_UP, STEPS = 3, 50

    def __init__(self, device: torch.device, say: Callable[[str], None], advice: str) -> None:
        self.device, self.say, self.advice = device, say, advice  # against waiting for data
        self.seconds, self.last = dict[str, float](), time.perf_counter()
        self.step = self.utterances = 0

    def begin(self) -> None:
        """What was done since the last mark was no training."""
        self.last = time.perf_counter()

    def lap(self, part: str) -> None:
        """The time since the last mark belongs to this part."""
        if self.step >= self.WARM_UP + self.STEPS:
            return  # it has been told
        runtime.wait_for(self.device)
        now = time.perf_counter()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self.last
        self.last = now

    def end_step(self, utterances: int) -> None:
        """Count a step of so many utterances; after the last that is measured, say what was found."""
        self.step += 1
        if self.step == self.WARM_UP:
            self.seconds.clear()
        self.utterances = utterances
        if self.step == self.WARM_UP + self.STEPS:
            self.close()

    def close(self) -> None:
        """Say what was found; nothing if no step was measured, or it was said already."""
        steps = min(self.step - self.WARM_UP, self.STEPS)
        if steps < 1 or not self.seconds:
            return
        total = sum(self.seconds.values())
        shares = {part: seconds / total for part, seconds in self.seconds.items()}
        rate = steps * self.utterances / total
        told = ", ".join(f"{part} {100 * share:.1f} %" for part, share in shares.items())
        slowest = max(shares, key=lambda part: shares[part])
        remedy = self.advice if slowest == "data wait" else REMEDIES.get(slowest, REMEDIES["trunk"])
        self.say(f"profile of {steps} steps: {rate:.0f} utterances/s; {told}")
        self.say(
            f"profile: peak memory {runtime.peak_memory(self.device)}; most goes into {slowest}: {remedy}"
        )
        self.seconds.clear()
