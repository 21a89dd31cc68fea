"""Writes the bill of materials of a release: every locked package that is installed here, as CycloneDX 1.6 in JSON.

.venv/bin/python deploy/sbom.py OUTPUT

Each has the licence it states, what it depends on, and the hashes of the files that the lock allows. One installed in
another version than the locked one is an error: the bill would tell of something else than the image holds.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from worker import __version__

ROOT = Path(__file__).parents[1]
_TIMEOUT = 120.0


def main(output: Path) -> None:
    output.write_text(json.dumps(bill(installed(), locked((ROOT / "requirements.lock").read_text())), indent=2) + "\n")


def installed() -> dict[str, Any]:
    """The bill of this environment: the locked packages, and those that only development needs."""
    tool = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--sv", "1.6"]
    # Not validated here: that takes half a minute, and a test does it.
    command = [*tool, "--no-validate", "--pyproject", str(ROOT / "pyproject.toml"), sys.executable]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=_TIMEOUT)  # noqa: S603 - ours alone
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def locked(lock: str) -> dict[str, tuple[str, list[str]]]:
    """The version of each package, and the SHA-256 of each of its files."""
    packages = re.split(r"^(?=\w)", lock, flags=re.MULTILINE)
    found = {pinned[1]: (pinned[2], package) for package in packages if (pinned := re.match(r"(\S+)==(\S+)", package))}
    return {name: (version, re.findall(r"sha256:(\w{64})", package)) for name, (version, package) in found.items()}


def bill(made: dict[str, Any], packages: dict[str, tuple[str, list[str]]]) -> dict[str, Any]:
    """Of that environment what is locked, under the lock's names. Raises ValueError for another version."""
    components = []
    for component in made["components"]:
        name = re.sub(r"[-_.]+", "-", component["name"]).lower()
        if name not in packages:
            continue
        version, hashes = packages[name]
        if component["version"] != version:
            raise ValueError(f"{name} {component['version']} is installed, and {version} is locked: run `make install`")
        files = {
            "type": "distribution",
            "url": component["purl"],
            "comment": "one of these files, by requirements.lock",
            "hashes": [{"alg": "SHA-256", "content": content} for content in hashes],
        }
        components.append(component | {"name": name, "externalReferences": [files]})
    root = made["metadata"]["component"] | {"version": __version__}
    known = {root["bom-ref"], *(component["bom-ref"] for component in components)}
    dependencies = [
        each | {"dependsOn": [other for other in each.get("dependsOn", []) if other in known]}
        for each in made["dependencies"]
        if each["ref"] in known
    ]
    metadata = made["metadata"] | {"component": root}
    return made | {"metadata": metadata, "components": components, "dependencies": dependencies}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
