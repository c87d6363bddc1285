"""The evaluation report: a page and its plots."""
