"""``python -m vitcam``."""

from __future__ import annotations

from vitcam.cli import main

if __name__ == "__main__":
    main()
