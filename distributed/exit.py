"""How a command ends after an error: one line, from one process, and an exit code."""

import sys
import traceback

import distributed
import runtime
from distributed import launch
from runtime import BatchTooLargeError


def cause(error: BaseException) -> str:
    """An exception that needs no traceback -> what to say of it; "" for any other one."""
    if runtime.is_out_of_memory(error):
        flags_to_lower = "--batch_size or --max_frames (with --eval: --num_eval, --eval_frames)"
        return (
            str(error) if isinstance(error, BatchTooLargeError) else f"out of memory; lower {flags_to_lower}"
        )
    if "DataLoader worker" in str(error):
        return f"a data worker died: {distributed.first_line(error)}"
    return str(error) if isinstance(error, ValueError | OSError) else distributed.lost(error)


def say_error(reason: str) -> None:
    """Why the command ends, in one line."""
    print(f"trainSpeakerNet.py: error: {reason}", file=sys.stderr)


def give_up(reason: str) -> None:
    """End this process, whose main thread may wait for ever; reason: "" if another process says it."""
    try:
        if reason:
            say_error(reason)
    finally:
        launch.end_at_once(launch.TRY_AGAIN)


def refuse(error: Exception) -> int:
    """Say why the command ends, once, however many processes it has -> its exit code."""
    reason, is_lost = cause(error), bool(distributed.lost(error))
    of_one = not isinstance(error, ValueError) or getattr(error, "concerns_one_rank", False)
    told = distributed.last_word(reason or "unforeseen", is_lost, of_one)
    if not reason:
        if told:
            traceback.print_exception(error)
        return 1
    if told:
        say_error(told)
    return launch.TRY_AGAIN if is_lost or isinstance(error, TimeoutError) else 2
