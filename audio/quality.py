"""What a person should know of a recording before relying on its embedding; each with its number."""

import numpy as np

from audio.recording import SAMPLE_RATE, Audio
from audio.vad import LEAST_SPEECH_S, MOSTLY_SILENCE, MOSTLY_SILENT, NO_SPEECH, Heard

LITTLE_SPEECH_S = 2.0
# Resampling changes what was cut off at full scale. Of 238 recordings of speech one has more such samples;
# amplified until 6 dB are cut off, 95 % of them have, also where this was done at 44.1 kHz.
CLIPPED_LEVEL = 0.98
MUCH_CLIPPED = 0.001  # share of samples


def warnings_of(audio: Audio, heard: Heard) -> list[str]:
    """Samples (T,) at 16 kHz, what `hear` found in them -> warnings, among them the remarks of `hear`."""
    # of the others more is said below, or by the answer itself
    warnings = [remark for remark in heard.remarks if remark not in (NO_SPEECH, MOSTLY_SILENT)]
    if LEAST_SPEECH_S <= heard.speech_s < LITTLE_SPEECH_S:
        warnings.append(f"short: {heard.speech_s:.1f} s of speech; expected at least {LITTLE_SPEECH_S:g} s")
    duration_s = len(audio) / SAMPLE_RATE
    if LEAST_SPEECH_S <= heard.speech_s < MOSTLY_SILENCE * duration_s:
        share = heard.speech_s / duration_s
        warnings.append(
            f"mostly silent: {heard.speech_s:.1f} of {duration_s:.1f} s are speech, {100 * share:.0f} %"
        )
    clipped = float(np.mean(np.abs(audio) >= CLIPPED_LEVEL))
    if clipped > MUCH_CLIPPED:
        warnings.append(
            f"clipped: {100 * clipped:.1f} % of the samples are at full scale; record it more quietly"
        )
    return warnings
