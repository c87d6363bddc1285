"""Exports a voice, and compares what was written with the network on the spot."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import options
from audio.recording import SAMPLE_RATE
from evaluation.store import embedding_options
from inference.exported import checks, onnx_file
from inference.exported.checks import Agreement, Floats
from inference.exported.contents import KEY, Contents
from inference.exported.graph import EXAMPLE_FRAMES, FeatureNetwork, WaveformNetwork, finished
from inference.exported.session import EMBEDDING, WAVEFORM, ExportedNetwork, session_of
from inference.exported.voice import SCORINGS
from inference.network_voice import NetworkVoice
from inference.speakers.identification import NORMALIZATIONS
from storage.files import written_whole

PT2_CONTENTS = "speakernet.json"  # in a .pt2 file
SHERPA_BANDS = 80
SHERPA_FEATURES = "x"  # input of the graph


def contents_of(voice: NetworkVoice, variant: str = "") -> Contents:
    """A voice -> what an exported file says about it.

    Raises:
        ValueError: it scores in a way that exported files don't.
    """
    values = voice.values
    for name, taken in {
        "scoring": SCORINGS,
        "score_norm": ("none", *NORMALIZATIONS),
        "backend": ("none",),
    }.items():
        if values[name] not in taken:
            raise ValueError(
                f"--{name} {values[name]} of {values.initial_model}: exported files take {', '.join(taken)}"
            )
    kinds = (*options.NETWORK_KINDS, "scoring", "normalization", "backend")
    deciding = embedding_options(values) | options.chosen_options(values, kinds)
    deciding |= {name: values[name] for name in ("vad", "channel", "precision", "subtract_mean")}
    return Contents(
        deciding,
        values.nOut,
        voice.fingerprint,
        voice.rule,
        voice.is_norm_asked_for,
        voice.cohort_vectors,
        variant,
    )


def export_onnx(voice: NetworkVoice, path: Path, variant: str = "") -> Agreement:
    """Write a network from waveforms to embeddings as ONNX -> how far it differs from the original.

    variant: numbers of the weights, one of onnx_file.VARIANTS.

    Raises:
        ValueError: it can't be exported, or differs too much; then there is no file.
        OSError: the file can't be written.
    """
    contents = contents_of(voice, variant)
    module = WaveformNetwork(voice.network, mean_of(voice)).eval()
    model = onnx_file.onnx_model(module, module.example(), (WAVEFORM, EMBEDDING))
    model = onnx_file.with_numbers(model, variant)
    onnx_file.write(path, model, {KEY: contents.to_text(), "sample_rate": str(SAMPLE_RATE)})
    exported = ExportedNetwork(str(path))
    return checked(path, variant, exported.embed, reference(voice))


def export_program(voice: NetworkVoice, path: Path) -> Agreement:
    """Write a network from waveforms to embeddings for torch.export.load; otherwise as export_onnx."""
    contents = contents_of(voice)
    module = WaveformNetwork(voice.network, mean_of(voice)).eval()
    program = traced(module, module.example())
    with warnings.catch_warnings(), written_whole(path) as stream:
        warnings.simplefilter("ignore")  # torch warns of weights that share memory
        torch.export.save(program, stream, extra_files={PT2_CONTENTS: contents.to_text()})
    loaded: Any = torch.export.load(path)
    return checked(path, "", checks.torch_embed(loaded.module()), reference(voice))


def traced(module: nn.Module, example: torch.Tensor) -> torch.export.ExportedProgram:
    """A module, an input (B, T) -> its graph, in which batch and length stay open."""
    dynamic = torch.export.Dim.DYNAMIC
    try:
        with torch.no_grad():
            return torch.export.export(module, (example,), dynamic_shapes=({0: dynamic, 1: dynamic},))
    except Exception as error:  # of any of the tracer's classes
        raise onnx_file.not_exportable(error) from error


def export_sherpa(voice: NetworkVoice, path: Path) -> Agreement:
    """Write a network from features to embeddings with the metadata that sherpa-onnx reads.

    Raises:
        ValueError: sherpa-onnx has no such front end; otherwise as export_onnx.
    """
    front_end: Any = voice.network.features
    name, scale = voice.values.features, voice.network.input_scale
    has_its_features = name == "fbank" and front_end.num_features == SHERPA_BANDS and not front_end.use_energy
    if not has_its_features or front_end.waveform_scale * scale not in (1.0, 32768.0):
        raise ValueError(
            f"--features {name}: sherpa-onnx computes fbank of {SHERPA_BANDS} bands without frame energy, "
            "of samples in [-1, 1] or 16 bits; export without --sherpa"
        )
    module = FeatureNetwork(voice.network, mean_of(voice)).eval()
    model = onnx_file.onnx_model(module, module.example(), (SHERPA_FEATURES, EMBEDDING))
    metadata = {
        "framework": "3d-speaker",
        "language": "unknown",  # sherpa-onnx refuses an empty one
        "comment": f"exported from {Path(voice.values.initial_model).name}",
        "sample_rate": str(SAMPLE_RATE),
        "output_dim": str(voice.values.nOut),
        "normalize_samples": str(int(front_end.waveform_scale * scale == 1.0)),
    }
    if front_end.feature_norm == "mean":  # the graph subtracts it anyhow, a second time changes nothing
        metadata["feature_normalize_type"] = "global-mean"
    onnx_file.write(path, model, metadata)
    session = session_of(str(path), None)

    def embed(features: Floats) -> Floats:
        vectors: Floats = session.run([EMBEDDING], {SHERPA_FEATURES: features})[0]
        return vectors

    generator = np.random.default_rng(checks.SEED)
    sizes = [(1, EXAMPLE_FRAMES // 4, SHERPA_BANDS), (3, 2 * EXAMPLE_FRAMES + 1, SHERPA_BANDS)]
    features = [generator.normal(-3.0, 3.0, size).astype(np.float32) for size in sizes]
    return _compared(path, checks.TOLERANCES[""], embed, checks.torch_embed(module), features)


def mean_of(voice: NetworkVoice) -> torch.Tensor | None:
    """A voice -> the mean (D,) that is subtracted from its embeddings, if any."""
    return None if voice.cohort is None else voice.cohort.mean


def reference(voice: NetworkVoice) -> checks.Embed:
    """A voice -> how its network embeds waveforms (B, T), with its own front end."""
    network, mean = voice.network, mean_of(voice)

    @torch.inference_mode()
    def embed(waveforms: Floats) -> Floats:
        embeddings = network.embed(torch.from_numpy(waveforms))
        vectors: Floats = finished(embeddings, mean, network.normalize).numpy()
        return vectors

    return embed


def checked(path: Path, variant: str, embed: checks.Embed, expected: checks.Embed) -> Agreement:
    """Compare what was written with the network on waveforms; the file is deleted if it differs too much.

    The result is that of waveforms with sound in all bands.
    """
    tolerance = checks.TOLERANCES[variant]
    with_less = max(tolerance, checks.EMPTY_BANDS_TOLERANCE)
    _compared(path, with_less, embed, expected, checks.with_empty_bands())
    return _compared(path, tolerance, embed, expected, checks.waveforms())


def _compared(
    path: Path, tolerance: float, embed: checks.Embed, expected: checks.Embed, inputs: list[Floats]
) -> Agreement:
    """Compare what was written with the network; the file is deleted if it differs too much."""
    try:
        agreement = checks.compare(embed, expected, inputs)
        checks.require_agreement(agreement, tolerance, path)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if type(error).__module__.startswith("onnxruntime"):
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{path}: refused: {reason}; use the model file itself") from None
        raise
    return agreement
