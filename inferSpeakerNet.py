"""Use trained models; each verb has its own --help."""

import gc
import importlib
import sys
from types import ModuleType

from metrics.fields import shown
from options.parser import nearest
from storage.console import exit_at_once, print_any_name, print_nowhere_if_closed

VERBS = (
    "fetch",
    "convert",
    "export",
    "embed",
    "compare",
    "enrol",
    "identify",
    "verify",
    "diarize",
    "listen",
    "list",
    "remove",
    "tune",
    "migrate",
    "dump",
    "db-check",
    "serve",
)
NO_READER = 141  # exit code, 128 + SIGPIPE, as of other programs before `| head`


def module_of(verb: str) -> ModuleType:
    """Verb -> its module in inference/verbs/."""
    return importlib.import_module(f"inference.verbs.{verb.replace('-', '_')}")


def overview() -> str:
    """What `--help` without a verb prints."""
    lines = [f"python inferSpeakerNet.py {verb:10}{module_of(verb).__doc__}" for verb in VERBS]
    return "\n".join([str(__doc__), "", *lines])


def run(words: list[str]) -> int:
    """Do what the command line says -> exit code."""
    if not words or words[0] in ("-h", "--help"):
        print(overview())
        return 0
    verb, *rest = words
    if verb not in VERBS:
        raise ValueError(f"{verb}: {nearest(verb, VERBS)}; expected one of {', '.join(VERBS)}")
    module = module_of(verb)
    if {"-h", "--help"} & set(rest):
        module.make_parser(True).print_help()
        return 0
    return int(module.run(rest))


def main(argv: list[str] | None = None) -> int:
    """Run the command -> exit code: that of the verb, 2 for a mistake of the user, 130 after Ctrl-C."""
    print_nowhere_if_closed()
    print_any_name()
    gc.set_threshold(100_000, 50, 50)  # collections take a fifth of the time that imports take
    try:
        code = run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()  # what can't be written is an error
        return code
    except BrokenPipeError:
        return NO_READER
    except (ValueError, OSError) as error:
        print(f"inferSpeakerNet.py: error: {shown(str(error))}", file=sys.stderr)
        return 2
    except MemoryError:
        print("inferSpeakerNet.py: error: out of memory", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    exit_at_once(main())
