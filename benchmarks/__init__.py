"""Side-by-side measurements against other tools; never run by the tests."""
