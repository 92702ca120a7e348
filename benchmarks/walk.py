"""How far one command walks through the program: files entered, and Python calls while it plans. No timing.

    python benchmarks/walk.py

Counts do not depend on the machine, so that they can be held against a bound. A file is entered where one of its
functions is called; planning is :func:`convcli.engine.plan.plan_conv` and everything below it.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import FrameType

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = str(REPOSITORY / "convcli") + "/"


def walk(arguments: list[str]) -> tuple[set[str], Counter[str]]:
    """Run a command; return the files of the package that were entered, and calls within each planning function."""
    from convcli.cli import main

    entered: set[str] = set()
    calls: Counter[str] = Counter()
    within: list[FrameType] = []

    def look(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call":
            if code.co_filename.startswith(PACKAGE) and code.co_name != "<module>":
                entered.add(code.co_filename.removeprefix(PACKAGE))
            if code.co_name == "plan_conv" and not within:
                within.append(frame)
            calls["plan_conv"] += bool(within)
        elif event == "return" and within and frame is within[0]:
            within.clear()

    sys.setprofile(look)
    try:
        main(arguments)
    except SystemExit:
        pass
    finally:
        sys.setprofile(None)
    return entered, calls


def main() -> None:
    photo = REPOSITORY / "examples" / "coffee.png"
    with tempfile.TemporaryDirectory() as folder:
        for arguments in (
            ["apply", str(photo), "-k", "sobel", "-o", f"{folder}/e.png", "-q", "--threads", "1"],
            ["shape", "3x304x228", "conv:64,k=7,s=2,p=3", "maxpool:k=3,s=2,p=1"],
        ):
            entered, calls = walk(arguments)
            print(
                f"{arguments[0]}: {len(entered)} files entered, {calls['plan_conv']} Python calls to plan",
                file=sys.stderr,
            )
            if "--files" in sys.argv:
                print(*sorted(entered), sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
