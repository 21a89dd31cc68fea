"""The image, built without a registry or a container engine, and run as Kubernetes would: read-only and not as root.

Debian's buildah builds it on a Debian that debootstrap makes, since the base of the Dockerfile cannot be fetched
everywhere. That one has the same Python, and pip where the official image has it.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from tests.deploy.tools import ROOT, TOOLS, ToolError, run
from worker import __version__
from worker.demo.process import HttpProcess, Process, free_ports

_BASE, _IMAGE = "localhost/base", "localhost/worker"
_SUITE = "trixie"  # its Python is 3.13
_BOOTSTRAP_TIMEOUT = 600.0
_BUILD_TIMEOUT = 600.0

# The pod's view of its files: the image read-only, and /tmp. The process is replaced, so that signals reach the worker.
_ENTER = """
set -e
mount --bind "$0" "$0"
mount -o remount,bind,ro "$0"
mount -t tmpfs -o size=32m,mode=1777 tmpfs "$0/tmp"
mount --rbind /dev "$0/dev"
exec chroot --userspec="$1" "$0" env --ignore-environment "${@:2}"
"""


class Container:
    """A root file system made of the image, and the image's own configuration."""

    def __init__(self) -> None:
        image = json.loads(buildah("inspect", "--type", "image", _IMAGE))
        self.config: dict[str, Any] = image["OCIv1"]["config"]
        self._name = buildah("from", _IMAGE).strip()
        self.root = Path(buildah("mount", self._name).strip())

    def close(self) -> None:
        buildah("rm", self._name)

    def command(self, *arguments: str, **environment: str) -> list[str]:
        """What runs `arguments` in it, by default its entry point and command, as its own user."""
        given = [*self.config["Env"], *(f"{name}={value}" for name, value in environment.items())]
        command = arguments or (*self.config["Entrypoint"], *self.config["Cmd"])
        return ["unshare", "--mount", "bash", "-c", _ENTER, str(self.root), self.config["User"], *given, *command]


class ContainerProcess(HttpProcess):
    """The image's own entry point with this environment, on loopback."""

    def __init__(self, container: Container, log: Path, environment: dict[str, str]) -> None:
        (port,) = free_ports(1)
        served = {"WORKER_HTTP_HOST": "127.0.0.1", "WORKER_HTTP_PORT": str(port)}
        Process.__init__(self, "the image", container.command(**environment, **served), log)
        self.url = f"http://127.0.0.1:{port}"


def buildah(*arguments: str, timeout: float = 60.0) -> str:
    """Raises ToolError. Its storage is ours alone."""
    storage = ("--root", TOOLS / "containers", "--runroot", TOOLS / "containers-run", "--storage-driver", "overlay")
    code, output = run("buildah", *storage, *arguments, folder=ROOT, timeout=timeout)
    if code:
        raise ToolError(f"buildah {arguments[0]}: {output[-500:]}")
    return output


def build() -> None:
    """The image of this checkout; quick when little has changed. Raises ToolError."""
    missing = [tool for tool in ("buildah", "debootstrap", "unshare") if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        raise ToolError(f"building an image needs root and Debian's {', '.join(missing) or 'buildah'}")
    TOOLS.mkdir(parents=True, exist_ok=True)
    if _BASE not in buildah("images", "--format", "{{.Name}}"):
        _make_base()
    given = ("--build-arg", f"BASE={_BASE}", "--build-arg", f"VERSION={__version__}")
    buildah("build", "--isolation", "chroot", "--layers", *given, "--tag", _IMAGE, str(ROOT), timeout=_BUILD_TIMEOUT)


def _make_base() -> None:
    rootfs = TOOLS / "rootfs"
    shutil.rmtree(rootfs, ignore_errors=True)
    debian = ("debootstrap", "--variant=minbase", "--include=python3,ca-certificates", _SUITE, rootfs)
    pip = ("python3", "-m", "pip", "install", "--quiet", "--root-user-action=ignore", "pip", "--target")
    for command in (debian, (*pip, rootfs / "usr/local/lib/python3.13/dist-packages")):
        code, output = run(*command, timeout=_BOOTSTRAP_TIMEOUT)
        if code:
            raise ToolError(f"{command[0]}: {output[-500:]}")
    container = buildah("from", "scratch").strip()
    # Whom this machine trusts, the build must trust too: its packages may come through a proxy.
    if trusted := os.environ.get("SSL_CERT_FILE"):
        shutil.copy(trusted, rootfs / "etc/ssl/certs/ca-certificates.crt")
        for name in ("SSL_CERT_FILE", "PIP_CERT"):
            buildah("config", "--env", f"{name}=/etc/ssl/certs/ca-certificates.crt", container)
    buildah("copy", "--quiet", container, str(rootfs), "/")
    buildah("commit", "--quiet", "--rm", container, _BASE, timeout=_BUILD_TIMEOUT)
    shutil.rmtree(rootfs)
