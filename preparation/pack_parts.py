"""--pack --shard i/n: the parts of a list as packs of their own, in the folder of the pack that they become.

The folder of a part is named after the part and the recordings of all parts. So commands with another n, or
with a list that has changed in between, don't meet.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from audio.pack import Pack
from preparation.pack import missing, open_pack, verified, write_index, write_pack
from preparation.parts import WHOLE, ListPart
from storage.files import lock


def pack_and_verify(
    root: Path, paths: Sequence[str], folder: Path, workers: int, part: ListPart
) -> list[str]:
    """Write a pack of recordings under root, or a part of it, and read it again -> messages.

    Raises:
        ValueError: samples of it are damaged, or another command writes it; see write_pack.
    """
    if part != WHOLE:
        return _pack_part(root, paths, folder, workers, part)
    with _alone(folder.with_name(f"{folder.name}.lock")):
        added = write_pack(root, paths, folder, workers)
        return _all_there(verified(folder), added, paths)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Context in which no other command holds the file."""
    held = lock(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        held.close()


def _all_there(pack: Pack, added: int, paths: Sequence[str]) -> list[str]:
    messages = [f"{pack.folder}: {added} recordings added, {len(pack.paths)} in all, verified"]
    if len(pack.paths) > len(paths):
        messages.append(f"{pack.folder}: {len(pack.paths) - len(paths)} of them are no longer listed")
    return messages


def _pack_part(root: Path, paths: Sequence[str], folder: Path, workers: int, part: ListPart) -> list[str]:
    pack = open_pack(folder)
    wanted = missing(root, paths, pack, folder)
    if pack and not wanted:
        return _all_there(verified(folder), 0, paths)
    digest = hashlib.sha256("\0".join(wanted).encode(errors="surrogateescape")).hexdigest()[:8]
    bounds = [len(wanted) * number // part.count for number in range(part.count + 1)]
    parts = {  # by their folders; neighbours in the list
        folder / f"part-{number + 1}-of-{part.count}-{digest}": wanted[bounds[number] : bounds[number + 1]]
        for number in range(part.count)
    }
    own, recordings = list(parts.items())[part.number]
    with _alone(folder.with_name(f"{folder.name}.{own.name}.lock")):
        if recordings:  # there may be fewer than parts
            write_pack(root, recordings, own, workers)
            verified(own)
    message = f"{folder}: part {part.number + 1} of {part.count}: {len(recordings)} recordings, verified"
    packs = [made for name, listed in parts.items() if listed and (made := open_pack(name))]
    if [list(made.paths) for made in packs] != [listed for listed in parts.values() if listed]:
        return [f"{message}; waiting for the other parts"]
    _join(folder, wanted, packs)
    return [f"{message}; all parts are there: {len(Pack(folder).paths)} recordings"]


def _join(folder: Path, wanted: Sequence[str], packs: Sequence[Pack]) -> None:
    """Write the index of the pack that is there, if any, and of all parts; wanted: their recordings.

    Commands that end at the same time may both do this; they write the same.

    Raises:
        ValueError: some of them were packed by another command meanwhile.
    """
    pack = open_pack(folder)
    known = set(pack.paths) if pack else set()
    left = [path for path in wanted if path not in known]
    if not left:
        return  # another command has joined them
    if len(left) < len(wanted):
        raise ValueError(f"{folder}: another command has added to it; pack the rest without --shard")
    names = [] if pack is None else [_name(pack, number, folder) for number in range(pack.num_shards)]
    packed = list(pack.paths) if pack else []
    places = [] if pack is None else [pack.places]
    for made in packs:
        moved = made.places.copy()
        moved[:, 0] += len(names)
        places.append(moved)
        packed += made.paths
        names += [_name(made, number, folder) for number in range(made.num_shards)]
    write_index(folder, packed, np.concatenate(places), names)


def _name(pack: Pack, number: int, folder: Path) -> str:
    return pack.shard(number).relative_to(folder).as_posix()
