"""Embed all recordings of a database again, by another model."""

from tqdm import tqdm

from inference.verbs._database import add_flags, database_parser
from inference.verbs._model import voice_of
from options.flags import Flag
from options.parser import Parser

DESCRIPTION = """Embed all recordings of a database again, by another model or in another way.

python inferSpeakerNet.py migrate --db team.db --initial_model new.model
python inferSpeakerNet.py migrate --db team.db --drop_missing

Reads the recordings where they were at enrolment. The database changes at the end, or not at all."""
DROP = Flag("--drop_missing", "remove the recordings that are gone or can't be used", False, bool)


def make_parser(add_help: bool = True) -> Parser:
    """The flags of `migrate`."""
    return add_flags(database_parser(DESCRIPTION, "migrate", add_help), DROP, uses_model=True)


def run(words: list[str]) -> int:
    """Embed the recordings -> exit code."""
    args = make_parser().parse_words(words)
    from inference.speakers.database import Enrolment, SpeakerDatabase
    from inference.speakers.upkeep import migrate

    with SpeakerDatabase(args.db) as database:
        voice = voice_of(args)
        from inference.speakers.identification import listen, model_of

        model = model_of(voice)
        with tqdm(desc="embedding", total=len(database.recordings()), disable=None) as progress:

            def embed(path: str) -> Enrolment:
                progress.update()
                return listen(voice, path)

            removed = migrate(database, model, embed, drop_missing=args.drop_missing)
        for line in removed:
            print(f"removed: {line}")
        print(f"{args.db}: {len(database.recordings())} recordings embedded by {model.name}")
    return 0
