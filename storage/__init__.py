"""Files on disk: written whole, model files and training states, older formats, the run folder."""
