"""One file per part of the benchmark."""
