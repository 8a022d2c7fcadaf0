"""Write NAME.lock from NAME.in: the whole closure, every version pinned.

    PYTHON requirements/lock.py NAME [-c OTHER.lock ...]

Run it with a Python of the version that the environment has; pip resolves for that Python and this
platform. Lines of NAME.in with a platform marker of their own are copied as they are. Packages that
OTHER.lock has already are held to its versions and left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def closure(requirements: Path, constraints: list[Path]) -> dict[str, str]:
    """Versions by normalised package name, as pip resolves them."""
    command = [
        *(sys.executable, "-m", "pip", "install", "-qq", "--dry-run", "--ignore-installed"),
        *("--only-binary", ":all:", "--report", "-", "-r", str(requirements)),
        *(part for path in constraints for part in ("-c", str(path))),
    ]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    # "2.13.0+cpu" names one build of 2.13.0; the lock holds for all of them.
    return {
        entry["metadata"]["name"].lower().replace("_", "-").replace(".", "-"): (
            entry["metadata"]["version"].partition("+")[0]
        )
        for entry in report["install"]
    }


def pinned(path: Path) -> set[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return {line.partition("==")[0] for line in lines if "==" in line}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("-c", dest="others", action="append", default=[])
    arguments = parser.parse_args()
    source = FOLDER / f"{arguments.name}.in"
    others = [FOLDER / other for other in arguments.others]
    known = {name for other in others for name in pinned(other)}
    versions = closure(source, others)
    given = source.read_text(encoding="utf-8").splitlines()
    marked = [line for line in given if ";" in line and not line.startswith("#")]
    lines = [
        f"# Written by requirements/lock.py from {source.name}; change that instead.",
        *sorted([f"{n}=={v}" for n, v in versions.items() if n not in known] + marked),
    ]
    target = source.with_suffix(".lock")
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{target.name}: {len(lines) - 1} packages")


if __name__ == "__main__":
    main()
