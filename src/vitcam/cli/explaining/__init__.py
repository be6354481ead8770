"""The parts of ``vitcam explain``: find photographs, choose targets, explain, draw, write, tell."""
