"""Error rates over the threshold, at few points."""

import pytest

from metrics.error_curve import POINTS, ErrorCurve


def test_rates_are_those_of_the_trials():
    curve = ErrorCurve.of_trials([0.0, 1.0, 2.0, 6.0], [0, 1, 0, 1])
    assert curve.thresholds[0] == 0.0 and curve.thresholds[-1] == pytest.approx(6.0)
    assert curve.at(-1.0) == (0.0, 1.0) and curve.at(9.0) == (1.0, 0.0)
    assert curve.at(1.5) == pytest.approx((0.5, 0.5), abs=1e-6)
    assert curve.at(4.0) == pytest.approx((0.5, 0.0), abs=1e-6)
    assert ErrorCurve.from_dict(curve._asdict()) == curve


@pytest.mark.parametrize("damage", [None, {}, {"p_fa": [0.0]}, {"p_fa": [float("nan")] * POINTS}])
def test_damaged_curves_are_refused(damage):
    content = ErrorCurve.of_trials([0.0, 1.0], [0, 1])._asdict()
    with pytest.raises(ValueError, match="its error rates are damaged"):
        ErrorCurve.from_dict(damage if damage is None or not damage else content | damage)
