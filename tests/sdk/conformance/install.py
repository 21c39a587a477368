"""The clients at their pinned versions and the programs under test, installed or built where they are missing."""
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent.parent
CLIENTS = HERE / "clients"
CLAUDE_CODE = CLIENTS / "claude-code"
CODEX = CLIENTS / "codex"
AIMOCK = HERE.parent / "providers/aimock"
CACHE = pathlib.Path(os.environ.get("BOWSPRIT_CACHE") or pathlib.Path.home() / ".cache/bowsprit") / "sdk"
NPM = ["package.json", "package-lock.json"]


@dataclasses.dataclass
class Tools:
    """Where everything is that the table runs."""

    binaries: pathlib.Path  #: the sidecar and the scripted providers
    python: pathlib.Path
    node: pathlib.Path
    modules: pathlib.Path  #: the Node SDKs
    aimock: pathlib.Path  #: aimock's node_modules
    claude: pathlib.Path  #: the `claude` program
    codex: pathlib.Path  #: what starts `codex` under Node


def _once(name, files, make):
    """A folder of the cache, named after the files that pin what is in it. Made whole or not at all."""
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in files))
    folder = CACHE / f"{name}-{digest.hexdigest()[:16]}"
    done = folder / ".complete"
    if not done.exists():
        print(f"installing {name} into {folder}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make(folder)
        done.touch()
    return folder


def _venv(folder):
    made = subprocess.run([sys.executable, "-m", "venv", folder])
    if made.returncode != 0:
        sys.exit("a Python environment cannot be made: run 'tests/testbed/install conformance' (Debian package python3-venv)")
    pip = [folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--requirement", CLIENTS / "requirements.txt"], check=True)


def _modules(name, source):
    """The node_modules that the lock file in `source` names."""

    def make(folder):
        for file in NPM:
            shutil.copy(source / file, folder)
        if not shutil.which("npm"):
            sys.exit("npm is not installed: run 'tests/testbed/install conformance' (Debian package npm)")
        quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(["npm", "ci", *quiet], cwd=folder, check=True)

    return _once(name, [source / file for file in NPM], make) / "node_modules"


def _claude():
    """The native program out of the package for this platform; the package's own script puts it there."""
    package = _modules("claude-code", CLAUDE_CODE) / "@anthropic-ai/claude-code"
    program = package / "bin/claude.exe"
    told = subprocess.run([program, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if told.returncode != 0:
        # npm may be set not to run scripts of packages.
        subprocess.run(["node", package / "install.cjs"], check=True)
    return program


def tools(binaries):
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    venv = _once(f"python-{version}", [CLIENTS / "requirements.txt"], _venv)
    modules = _modules("node", CLIENTS)
    return Tools(
        binaries=binaries or build(),
        python=venv / "bin/python",
        node=modules / ".bin/node",
        modules=modules,
        aimock=_modules("aimock", AIMOCK),
        claude=_claude(),
        codex=_modules("codex", CODEX) / "@openai/codex/bin/codex.js",
    )


def build():
    """The folder with the sidecar and the scripted providers, built from this tree."""
    packages = ["--package", "bowsprit-sidecar", "--package", "bowsprit-providers"]
    subprocess.run(["cargo", "build", "--quiet", "--locked", *packages], cwd=HERE, check=True)
    asked = ["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"]
    told = subprocess.run(asked, cwd=HERE, check=True, stdout=subprocess.PIPE).stdout
    return pathlib.Path(json.loads(told)["target_directory"]) / "debug"
