"""The verbs of inferSpeakerNet.py. Each file is one verb: `db_check.py` is the verb `db-check`.

A file's first line says what the verb does, for the overview. It defines:

    make_parser(add_help) -> options.Parser
        The verb's flags; the description says what the verb does and shows two command lines.
    run(words) -> int
        The words after the verb -> exit code: 0, or what the description says; raise ValueError or OSError
        for a mistake of the user, which becomes one line and exit code 2.

`--help` must come at once: PyTorch, which takes seconds to import, is imported inside of functions.
"""
