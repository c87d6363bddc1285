"""What --initial_model names: a file, a folder or a public model."""

import sys
from pathlib import Path

from inference.public_models import MODELS
from options.parser import nearest
from storage.model_folder import model_in_folder
from storage.run_folder import RunFolder


def model_path(source: str) -> str:
    """File, folder of a run or of a toolkit, or name of a public model, which is fetched -> path of a file.

    An existing file or folder takes precedence over a public model of its name.

    Raises:
        FileNotFoundError: there is no such file, folder or model.
        ValueError, OSError: the folder has no model, or the public model can't be fetched.
    """
    path = Path(source)
    if path.is_dir():
        folder = RunFolder(source)
        if not folder.models.is_dir():
            return str(model_in_folder(path))
        if model := folder.latest_model():
            return model
        raise ValueError(f"{source}: {folder.models} has no model")
    if path.exists():
        return source
    if source in MODELS:
        from inference.fetch import fetched

        # standard output is for answers
        return str(fetched(source, lambda message: print(message, file=sys.stderr)))
    raise FileNotFoundError(
        f"{source}: no such file or folder; public model {source} (inferSpeakerNet.py fetch --list): "
        f"{nearest(source, MODELS)}"
    )
