"""What a visitor does on the page, and what they see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DIST = Path(__file__).parents[2] / "web" / "dist"
SCREENSHOTS = Path(__file__).parents[2] / "test-output" / "web"


class Page:
    """The page in a tab, its model loaded, or its failure told."""

    def __init__(self, tab: Any, address: str) -> None:
        self.tab = tab
        self.complaints: list[str] = []
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.goto(address)
        self.wait_for("ready", "failed")

    def close(self) -> None:
        self.tab.close()
        assert self.complaints == []

    def wait_for(self, *states: str) -> None:
        self.tab.wait_for_selector(", ".join(f"body[data-state={state}]" for state in states), timeout=60_000)

    def forget(self) -> None:
        """Forget the last outcome, so that the next one isn't mistaken for it."""
        self.tab.evaluate("delete document.body.dataset.state")

    def drop(self, *files: Path) -> None:
        """Drop files as a mouse does, and wait for the outcome."""
        self.forget()
        self.let_fall(*files)
        self.wait_for("explained", "failed")

    def let_fall(self, *files: Path) -> None:
        """Through the browser's own input; nobody waits."""
        session = self.tab.context.new_cdp_session(self.tab)
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": kind, "x": 100, "y": 250, "data": data})
        session.detach()

    @property
    def result(self) -> dict[str, Any]:
        """The numbers behind the map and the classes."""
        result: dict[str, Any] = self.tab.evaluate(
            """(() => {
              const { classes, ...others } = window.vitcam.result;
              const plain = ({ map, ...one }) => ({ ...one, map: { ...map, values: [...map.values] } });
              return { ...others, classes: classes.map(plain) };
            })()"""
        )
        return result

    @property
    def error(self) -> str:
        return str(self.tab.text_content("#error"))

    def screenshot(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.tab.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
