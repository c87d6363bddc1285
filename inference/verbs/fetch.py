"""Download a public model once; its name then works as --initial_model."""

from options.parser import Parser

DESCRIPTION = """Download a public model, verify it and convert it; its name then works as --initial_model.

python inferSpeakerNet.py fetch --list
python inferSpeakerNet.py fetch campplus-zh-en

Models are kept in the folder of the environment variable SPEAKERNET_CACHE, by default in the user's cache."""
USAGE = "python inferSpeakerNet.py fetch NAME | --list"


def make_parser(add_help: bool = True) -> Parser:
    """The flags of `fetch`."""
    parser = Parser(DESCRIPTION, add_help)
    parser.usage = USAGE
    parser.add_argument("name", nargs="?", metavar="NAME", default="", help="of a public model")
    parser.add_argument("--list", action="store_true", default=None, help="print the table of public models")
    return parser


def run(words: list[str]) -> int:
    """Fetch a public model, or list them."""
    args = make_parser().parse_words(words)
    if bool(args.name) == bool(args.list):
        raise ValueError(f"usage: {USAGE}")
    from inference.cache import cache_folder, cached
    from inference.fetch import fetched
    from inference.listing import description, table
    from inference.public_models import MODELS

    if args.list:
        present = [name for name in MODELS if cached(name).is_file()]
        print(*table(present), f"in {cache_folder()}: {', '.join(present) or 'none of them'}", sep="\n")
        return 0
    path = fetched(args.name)
    print(*description(MODELS[args.name]), f"file        {path}", sep="\n")
    model = f"--initial_model {args.name}"
    print(f"next: python inferSpeakerNet.py compare A B {model}")
    lists = "--test_list LIST --test_path FOLDER"
    print(f"  or: python trainSpeakerNet.py --eval {model} {lists} --save_path exps/{args.name}")
    return 0
