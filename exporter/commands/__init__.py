"""The commands of ``margin-exporter``, one module each: what it says of itself, its flags, and how to run it."""
