"""Folders as toolkits publish their models: which file in them is the model."""

from pathlib import Path

KNOWN = ("avg_model.pt", "embedding_model.ckpt")  # of wespeaker and SpeechBrain, beside other files
SUFFIXES = (".model", ".pt", ".pth", ".ckpt", ".bin", ".safetensors")


def model_in_folder(folder: Path) -> Path:
    """Folder of a downloaded model -> its model file.

    Raises:
        ValueError: there is none, or several and none of them has a known name.
    """
    known = [name for name in KNOWN if (folder / name).is_file()]
    files = (path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file())
    found = known or sorted(path.name for path in files)
    if len(found) == 1:
        return folder / found[0]
    if found:
        raise ValueError(f"{folder}: several model files, give one of them: {', '.join(found)}")
    raise ValueError(f"{folder}: no model file in it ({', '.join(SUFFIXES)})")
