"""How a command of one or several processes ends: an exit code, and one line after an error."""

import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import distributed
import runtime
from distributed import launch
from distributed.errors import first_line
from distributed.signals import Stopped, StopSignal
from metrics.fields import shown


def exit_code_of(run: Callable[[StopSignal], int]) -> int:
    """Run a command, alone or as one of several processes -> its exit code.

    That is what `run` returns, 2 after a mistake of the user, 75 after the loss of a process, 128 + a signal
    after that signal, or 1. Of several processes, none returns.
    """
    with StopSignal().installed() as stop:
        launch.exit_with_launcher()
        try:
            code = run(stop)
        except Stopped as stopped:
            code = stopped.exit_code
            distributed.announce_exit()
        except Exception as error:
            if distributed.world_size() == 1 and not user_message(error):
                raise
            code = report_error(error)
        else:
            distributed.leave()
        if distributed.world_size() > 1:
            launch.exit_immediately(code)
        return code


def user_message(error: BaseException) -> str:
    """An exception that needs no traceback -> what to print about it; "" for any other one."""
    if isinstance(error, runtime.BatchTooLargeError):
        return str(error)
    if runtime.is_out_of_memory(error):
        return (
            "out of memory; lower --batch_size or --max_frames (with --eval: --num_eval, --eval_frames; with "
            "embed: --nproc)"
        )
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
    print(f"{Path(sys.argv[0]).name}: error: {reason}", file=sys.stderr)
