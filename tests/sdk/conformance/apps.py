"""The apps of examples/apps, unchanged: each must run to its end and print two answers, whoever answers."""
import os
import pathlib
import shutil
import subprocess
import tempfile

from . import install, rig

APPS = install.HERE.parent.parent / "examples/apps"
RUN_SECONDS = 120  # at first run thousands of files of an SDK are not in memory


def files():
    return sorted(file for file in APPS.iterdir() if file.suffix in (".py", ".mjs"))


def run(tools):
    """{(app, provider): what is wrong with it, or nothing}"""
    verdicts, providers = {}, rig.Providers(tools)
    try:
        for file in files():
            for provider in rig.KINDS:
                verdicts[file.name, provider] = _run(tools, providers, file, provider)
    finally:
        providers.close()
    return verdicts


def _run(tools, providers, file, provider):
    providers.play([])
    sidecar = rig.Sidecar(tools, providers, provider, {})
    keys = {f"{name}_API_KEY": rig.CLIENT_KEY for name in ("OPENAI", "ANTHROPIC", "GOOGLE")}
    urls = {"OPENAI_BASE_URL": sidecar.url + "/v1", "ANTHROPIC_BASE_URL": sidecar.url, "GOOGLE_GEMINI_BASE_URL": sidecar.url}
    env = os.environ | keys | urls | {"MODEL": rig.MODELS[provider], "PYTHONWARNINGS": "ignore", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        with tempfile.TemporaryDirectory(prefix="app-") as folder:
            # Node looks for packages beside the file that imports them.
            here = pathlib.Path(folder)
            (here / "node_modules").symlink_to(tools.modules)
            program = tools.node if file.suffix == ".mjs" else tools.python
            done = subprocess.run([program, shutil.copy(file, here)], env=env, capture_output=True, text=True, timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired:
        return f"does not end within {RUN_SECONDS} s"
    finally:
        sidecar.close()
    answers = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode != 0:
        return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"
    return None if len(answers) >= 2 else f"printed {answers!r}"
