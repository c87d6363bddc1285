"""The OpenAPI description of the server's requests."""

from typing import Any

from inference.server.fields import LONGEST_TEXT
from inference.server.limits import Limits

Schema = dict[str, Any]
TEXT = {"type": "string"}
GIVEN = {"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT}
NUMBER = {"type": "number"}
MAYBE_NUMBER = {"type": ["number", "null"]}
TEXTS = {"type": "array", "items": TEXT}
ERRORS = {
    "400": "fields that are missing, unknown or of another type",
    "401": "the token is missing or wrong",
    "403": "a request of another page",
    "404": "a recording that isn't remembered, or another path",
    "405": "another method",
    "408": "the body came too slowly",
    "413": "too large or too long",
    "415": "another content type",
    "421": "another host",
    "422": "a recording, a name or a database that can't be used; the error says why",
    "429": "too many requests at once; Retry-After says when to try again",
}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


RANKED = _list(_object(name=TEXT, score=NUMBER))
RECORDING = _object(
    recording=TEXT,
    duration_s=NUMBER,
    speech_s=NUMBER,
    has_speech={"type": "boolean"},
    warnings=TEXTS,
    peaks=_list(NUMBER),
)
CONVERSATION = _object(
    duration_s=NUMBER,
    speech_s=NUMBER,
    has_speech={"type": "boolean"},
    warnings=TEXTS,
    turns=_list(_object(start=NUMBER, end=NUMBER, name=TEXT)),
    peaks=_list(NUMBER),
)
COMPARISON = _object(
    decision={"type": "string", "enum": ["one speaker", "two speakers", "undecided"]},
    score=MAYBE_NUMBER,
    threshold=MAYBE_NUMBER,
    probability=MAYBE_NUMBER,
    reason=TEXT,
)
IDENTIFIED = _object(name={"type": ["string", "null"]}, reason=TEXT, threshold=MAYBE_NUMBER, ranked=RANKED)
SPEAKER = _object(
    name=TEXT, num_recordings={"type": "integer"}, duration_s=NUMBER, speech_s=NUMBER, date=TEXT
)
CURVE = {"type": ["object", "null"], "description": "error rates over the score, where they were measured"}
MODEL = _object(
    model=TEXT, detector=TEXT, normalisation=TEXT, threshold=MAYBE_NUMBER, origin=TEXT, curve=CURVE
)


def description(limits: Limits) -> Schema:
    """Limits -> description."""
    prior = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "default": 0.5}
    top = {"type": "integer", "minimum": 1, "maximum": 100, "default": 5}
    pair = _request({"first": GIVEN, "second": GIVEN, "prior": prior}, "first", "second")
    wav = {"audio/wav": {"schema": {"type": "string", "format": "binary"}}}
    named = _request({"name": GIVEN}, "name")
    several = {"type": "array", "items": GIVEN, "minItems": 1, "maxItems": 50}
    enrolment = _request({"name": GIVEN, "recordings": several}, "name", "recordings")
    longest = f"16-bit PCM, at most {limits.longest_s:g} s and {limits.most_bytes >> 20} MiB"
    return {
        "openapi": "3.1.0",
        "info": {"title": "Speaker verification", "version": "1"},
        "paths": {
            "/api/model": {"get": _operation("The model and its threshold", MODEL)},
            "/api/recordings": {
                "post": _operation(f"Embed a recording: {longest}; it isn't kept", RECORDING, wav)
            },
            "/api/turns": {"post": _operation(f"Who speaks when? {longest}", CONVERSATION, wav)},
            "/api/compare": {"post": _operation("Are two recordings of one speaker?", COMPARISON, pair)},
            "/api/identify": {
                "post": _operation(
                    "Which enrolled speaker is it?",
                    IDENTIFIED,
                    _request({"recording": GIVEN, "top": top}, "recording"),
                )
            },
            "/api/speakers": {
                "get": _operation("The enrolled speakers", _object(speakers=_list(SPEAKER))),
                "post": _operation("Enrol recordings of a speaker", _object(remarks=TEXTS), enrolment),
                "delete": _operation("Remove a speaker", {"type": "object"}, named),
            },
        },
    }


def _request(properties: Schema, *required: str) -> Schema:
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
    return {"application/json": {"schema": schema}}


def _operation(summary: str, answer: Schema, body: Schema | None = None) -> Schema:
    error = {"application/json": {"schema": _object(error=TEXT)}}
    responses: Schema = {status: {"description": text, "content": error} for status, text in ERRORS.items()}
    responses["200"] = {"description": "the answer", "content": {"application/json": {"schema": answer}}}
    operation: Schema = {"summary": summary, "responses": responses}
    return operation if body is None else operation | {"requestBody": {"required": True, "content": body}}
