"""Whether the best of the enrolled speakers is the one who speaks, or a stranger does.

Two conditions: the score reaches a threshold, and it exceeds that of the runner-up by a margin. The best
score of N strangers grows with N. Where their scores have an exponential tail, P(score > t) falls by the
factor e where t rises by the scale of the tail, and the threshold t(N) = t(1) + scale * ln N keeps the rate
of false alarms, since N * P(score > t(N)) stays the same (peaks over threshold; on the size of watch lists
see VoxWatch, arXiv:2307.00169).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

from inference.speakers.search import Match

UNTUNED_P_FA = 0.01
MARGIN = 2.0  # of a rule that isn't tuned, in scales of the tail; docs/inference.md has what it was chosen by


class Answer(NamedTuple):
    """The decision about a recording."""

    name: str | None  # of the speaker; None: nobody who is enrolled
    threshold: float  # for so many speakers
    reason: str  # why nobody, "" otherwise


@dataclass(frozen=True)
class OpenSetRule:
    """When the best of N enrolled speakers is accepted."""

    threshold: float  # t(1), where one speaker is enrolled
    tail: float  # scale of the tail: how much the threshold rises where e times as many are enrolled
    margin: float  # that the best score must exceed the second one by
    p_fa: float  # the rate of strangers who are accepted that it was chosen for
    origin: str  # where it comes from, for people

    def threshold_for(self, num_speakers: int) -> float:
        """Number of enrolled speakers -> threshold."""
        return self.threshold + self.tail * math.log(max(num_speakers, 1))

    def decide(self, ranked: Sequence[Match], num_speakers: int) -> Answer:
        """Speakers, best first, and how many are enrolled -> who it is."""
        threshold = self.threshold_for(num_speakers)
        if not ranked:
            return Answer(None, threshold, "no speaker is enrolled")
        best, *others = ranked
        if best.score < threshold:
            return Answer(None, threshold, f"the score is below the threshold {threshold:.3f}")
        if others and best.score - others[0].score < self.margin:
            reason = f"{best.name} and {others[0].name} differ by less than the margin {self.margin:.3f}"
            return Answer(None, threshold, reason)
        return Answer(best.name, threshold, "")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for from_dict."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any], source: str) -> "OpenSetRule":
        """What to_dict returned -> rule; raises ValueError with the source if it is damaged."""
        values: dict[str, Any] = {field.name: content.get(field.name) for field in fields(cls)}
        numbers = [value for name, value in values.items() if name != "origin"]
        are_finite = all(isinstance(number, float) and math.isfinite(number) for number in numbers)
        if not are_finite or not isinstance(values["origin"], str):
            raise ValueError(f"{source}: its tuned decision is damaged; tune it again")
        return cls(**values)


def untuned_rule(threshold: float, tail: float | None, origin: str) -> OpenSetRule:
    """What is known of a model's scores -> a rule for any speakers.

    Args:
        threshold: for one enrolled speaker; it is taken for one at UNTUNED_P_FA.
        tail: scale of the tail of nontarget scores; None: not known, and the threshold doesn't grow.
        origin: where the threshold comes from, for people.
    """
    scale = tail or 0.0
    return OpenSetRule(threshold, scale, MARGIN * scale, UNTUNED_P_FA, origin)
