"""One file a source: its command-line arguments, and the generator that they name."""
