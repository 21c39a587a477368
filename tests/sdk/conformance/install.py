"""The SDKs at their pinned versions and the two programs under test, installed or built where they are missing."""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent.parent
CLIENTS = HERE / "clients"
CACHE = pathlib.Path(os.environ.get("BOWSPRIT_CACHE") or pathlib.Path.home() / ".cache/bowsprit") / "sdk"


def _once(name, files, make):
    """A folder of the cache, named after the files that pin what is in it. Made whole or not at all."""
    digest = hashlib.sha256(b"\0".join((CLIENTS / file).read_bytes() for file in files))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = CACHE / f"{name}-{version}-{digest.hexdigest()[:16]}"
    done = folder / ".complete"
    if not done.exists():
        print(f"installing {name} into {folder}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make(folder)
        done.touch()
    return folder


def _venv(folder):
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--requirement", CLIENTS / "requirements.txt"], check=True)


def _modules(folder):
    for file in ["package.json", "package-lock.json"]:
        shutil.copy(CLIENTS / file, folder)
    quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(["npm", "ci", *quiet], cwd=folder, check=True)


def clients():
    """(python, node, node_modules)."""
    venv = _once("python", ["requirements.txt"], _venv)
    modules = _once("node", ["package.json", "package-lock.json"], _modules) / "node_modules"
    return venv / "bin/python", modules / ".bin/node", modules


def binaries():
    """The folder with the sidecar and the scripted providers, built from this tree."""
    packages = ["--package", "bowsprit-sidecar", "--package", "bowsprit-providers"]
    subprocess.run(["cargo", "build", "--quiet", "--locked", *packages], cwd=HERE, check=True)
    asked = ["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"]
    told = subprocess.run(asked, cwd=HERE, check=True, stdout=subprocess.PIPE).stdout
    return pathlib.Path(json.loads(told)["target_directory"]) / "debug"
