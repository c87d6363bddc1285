"""Profile of the first training steps: the share of each part, and how to speed up the slowest."""

import time
from collections.abc import Callable
from typing import Any

import torch

import runtime

REMEDIES = {
    "transfer": "crops of a pack are half the size (dataprep.py --pack)",
    "augmentation": "fewer or cheaper stages in --augment_chain",
    "front end": "fewer bands, or another --features",
    "optimizer": "larger batches",
    "trunk": "the network is the bottleneck, as it should be; a GPU, a smaller model or shorter crops help",
}


class Profile:
    """Times the parts of the first steps. Waits for the device after each part, which makes them slower."""

    WARM_UP = 3  # steps that aren't measured
    STEPS = 50  # steps that are measured

    def __init__(self, device: torch.device, log: Callable[[str], None], loading_advice: str) -> None:
        """Log takes a line of text; loading_advice says what to do against waiting for data."""
        self.device = device
        self.log = log
        self.loading_advice = loading_advice
        self.seconds = dict[str, float]()  # of each part
        self.last_s = time.perf_counter()  # end of the last part
        self.step = 0
        self.utterances = 0  # of the last step

    def watch(self, network: Any) -> None:
        """Let the front end and the model of a network each end a part in training; both may be frozen."""
        for part, module in {"front end": network.features, "trunk": network.model}.items():
            module.register_forward_hook(lambda *_, part=part: self.lap(part) if network.training else None)

    def begin(self) -> None:
        """Begin the first part now: what was done before isn't training."""
        self.last_s = time.perf_counter()

    def lap(self, part: str) -> None:
        """Add the time since the end of the last part to this part."""
        if self.step >= self.WARM_UP + self.STEPS:
            return
        runtime.wait_for(self.device)
        now_s = time.perf_counter()
        self.seconds[part] = self.seconds.get(part, 0.0) + now_s - self.last_s
        self.last_s = now_s

    def end_step(self, utterances: int) -> None:
        """Count a step of so many utterances; after the last measured one, log the profile."""
        self.step += 1
        if self.step == self.WARM_UP:
            self.seconds.clear()
        self.utterances = utterances
        if self.step == self.WARM_UP + self.STEPS:
            self.close()

    def close(self) -> None:
        """Log the profile, unless no step was measured or it has been logged."""
        steps = min(self.step - self.WARM_UP, self.STEPS)
        if steps < 1 or not self.seconds:
            return
        total_s = sum(self.seconds.values())
        shares = {part: seconds / total_s for part, seconds in self.seconds.items()}
        slowest = max(shares, key=lambda part: shares[part])
        remedy = REMEDIES.get(slowest, REMEDIES["trunk"])
        if slowest == "data wait":
            remedy = self.loading_advice
        parts = ", ".join(f"{part} {100 * share:.1f} %" for part, share in shares.items())
        memory = runtime.peak_memory(self.device)
        self.log(f"profile of {steps} steps: {steps * self.utterances / total_s:.0f} utterances/s; {parts}")
        self.log(f"profile: peak memory {memory}; most goes into {slowest}: {remedy}")
        self.seconds.clear()
