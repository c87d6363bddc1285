"""How trainSpeakerNet.py ends after an error: one line, from one of its processes, and an exit code."""

import sys
import traceback

import distributed
import runtime
from distributed import launch
from distributed.errors import first_line
from metrics.fields import shown


def user_message(error: BaseException) -> str:
    """An exception that needs no traceback -> what to print about it; "" for any other one."""
    if isinstance(error, runtime.BatchTooLargeError):
        return str(error)
    if runtime.is_out_of_memory(error):
        return "out of memory; lower --batch_size or --max_frames (with --eval: --num_eval, --eval_frames)"
    if distributed.is_dead_worker(error):
        return f"a data worker died: {first_line(error)}"
    if isinstance(error, ValueError | OSError):
        return str(error)
    return distributed.lost_process_reason(error)


def abort(reason: str) -> None:
    """End this process from a heartbeat thread, since the main thread may wait for ever.

    reason: what to print; "" if another process reports it.
    """
    try:
        if reason:
            _print_error(reason)
    finally:
        launch.exit_immediately(launch.TEMPORARY_FAILURE)


def report_error(error: Exception) -> int:
    """Print why the command ends, once for all processes -> exit code: 2, 75 (lost process) or 1 (bug)."""
    message = shown(user_message(error))
    is_lost_process = bool(distributed.lost_process_reason(error))
    to_report = distributed.error_to_report(
        message or "unforeseen error",
        is_lost_process=is_lost_process,
        names_rank=not isinstance(error, ValueError) or getattr(error, "concerns_one_rank", False),
    )
    if not message:
        if to_report:
            traceback.print_exception(error)
        return 1
    if to_report:
        _print_error(to_report)
    return launch.TEMPORARY_FAILURE if is_lost_process or isinstance(error, TimeoutError) else 2


def _print_error(reason: str) -> None:
    print(f"trainSpeakerNet.py: error: {reason}", file=sys.stderr)
