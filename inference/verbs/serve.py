"""Open a page on this computer that compares recordings and says who speaks; also an HTTP API."""

import os
import secrets

from inference.verbs._database import DB
from inference.verbs._model import THRESHOLD, add_model_flags, voice_of
from options.flags import Flag, at_least
from options.parser import Parser

DESCRIPTION = """Open a page on this computer that compares recordings and says who speaks; also an HTTP API.

python inferSpeakerNet.py serve
python inferSpeakerNet.py serve --db team.db --port 8080

The page records with the browser's microphone or takes recordings that are dropped on it. Recordings stay in
memory until their embeddings are computed and are never written; enrolled speakers are in the database.
/openapi.json describes the API. Only this computer can open the page, unless --host says otherwise: then
every request of the API needs a token, that of the environment variable SPEAKERNET_TOKEN or a new one."""
TOKEN = "SPEAKERNET_TOKEN"
FLAGS = [
    DB,
    THRESHOLD,
    Flag("--host", "address that is listened on; other ones than the loopback need a token", "127.0.0.1"),
    Flag("--port", "0: any free one", 8000, at_least(0)),
]


def make_parser(add_help: bool = True) -> Parser:
    """The flags of `serve`."""
    parser = Parser(DESCRIPTION, add_help)
    parser.usage = "python inferSpeakerNet.py serve [--option value ...]"
    parser.add_flags("server", FLAGS)
    add_model_flags(parser)
    return parser


def run(words: list[str]) -> int:
    """Answer requests until Ctrl-C -> exit code."""
    args = make_parser().parse_words(words)
    try:
        from inference.server import serving
    except ImportError:
        raise ValueError("the server needs packages: pip install starlette uvicorn") from None
    from inference.server.app import make_app
    from inference.server.limits import Limits
    from inference.server.service import Service

    limits = Limits()
    is_local = args.host in serving.LOOPBACK
    token = os.environ.get(TOKEN, "") or ("" if is_local else secrets.token_urlsafe(24))
    with serving.listen_on(args.host, args.port) as listening:
        port = listening.getsockname()[1]
        service = Service(voice_of(args, args.threshold), args.db, limits)
        app = make_app(service, limits, serving.hosts_of(args.host, port), token)
        name = f"[{args.host}]" if ":" in args.host else args.host
        address = f"http://{name}:{port}/" + (f"#token={token}" if token and TOKEN not in os.environ else "")
        serving.serve(app, listening, limits, lambda: print(f"open {address} (Ctrl-C ends it)", flush=True))
    return 0
