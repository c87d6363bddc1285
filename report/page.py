"""The evaluation report: a self-contained page with error rates, plots and recordings of the worst trials."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from metrics.summary import Measured, marks
from report import contents, plots
from report.players import EXCERPT_S, Players, ReadAudio
from report.redaction import redacted_command, redacted_record
from storage.files import write_text, written_whole


def write(
    folder: Path,
    systems: Sequence[Measured],
    *,
    read_audio: ReadAudio,
    link: Callable[[str], str],
    run: Mapping[str, Any] | None = None,
    results: Sequence[Mapping[str, Any]] = (),
    limit_mb: float = 10.0,
) -> Path:
    """Folder, systems on their trial lists -> path of the report.html written there, beside det.png.

    `read_audio` maps a path in the trials to samples (T,) at 16 kHz, or to None if they can't be read; `link`
    maps it to a URL, see linker. `run` is the contents of run.json, `results` the objects of results.jsonl.
    The page holds recordings of up to `limit_mb`; the players of further ones read them from the disk.
    """
    if not systems:
        raise ValueError("a report needs at least one score file")
    curves = [plots.Curve(system.name, system.rates, system.band, marks(system)) for system in systems]
    players = Players(read_audio, link, limit_mb)
    text = template("page.html").render(
        light=plots.LIGHT,
        dark=plots.DARK,
        systems=[contents.system_contents(i, system, players) for i, system in enumerate(systems)],
        interval_note=contents.interval_note(systems),
        counts=contents.count_rows(systems),
        figures=contents.figure_rows(systems),
        det=plots.det_svg(curves),
        excerpt_s=EXCERPT_S,
        training=plots.training_svgs(results),
        command=redacted_command(run) if run else "",
        record=redacted_record(run) if run else {},
    )
    png = plots.det_png(curves)
    with written_whole(folder / "det.png") as stream:
        stream.write(png)
    write_text(folder / "report.html", text)
    return folder / "report.html"


def template(name: str) -> Any:
    """Name of a file in report/ -> its template."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name)


def linker(folder: Path, locate: Callable[[str], str]) -> Callable[[str], str]:
    """The report's folder, function: name in the trials -> path; returns a function: name -> URL.

    URLs are relative if possible.
    """

    def link(name: str) -> str:
        file = Path(locate(name)).absolute()
        try:
            return quote(os.fsencode(Path(os.path.relpath(file, folder.absolute())).as_posix()))
        except ValueError:  # on another drive
            return file.as_uri()

    return link
