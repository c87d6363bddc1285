"""A local page and an HTTP API over a voice: compare, enrol, identify, who spoke when.

`app.make_app` is the application, `serving.serve` runs it. starlette and uvicorn, the extra `serve`, are only
imported here and below. Nothing that a request sends becomes a path, a command or a line of the log as it is.
"""
