"""Showing: one HTML file from a stored run, and from nothing else.

`render` writes it, `context` says what templates may use, `previews` stores what the reader sees
of the examples. No HTML is written here: it all stands in `templates/`.
"""
