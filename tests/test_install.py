"""`pip install -e .`: the lists in pyproject.toml name what is in the tree, and versions agree."""

import re
import sys
import tomllib

import pytest
from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(lines):
    """Lines of requirements -> version by package."""
    return dict(re.findall(r"^([\w-]+)==([\w.]+)", "\n".join(lines), re.MULTILINE))


def test_every_module_and_package_is_installed():
    listed = PROJECT["tool"]["setuptools"]
    assert listed["py-modules"] == sorted(path.stem for path in ROOT.glob("*.py"))
    folders = (path.parent.relative_to(ROOT) for path in ROOT.glob("[!.]*/**/__init__.py"))
    packages = sorted(".".join(folder.parts) for folder in folders if folder.parts[0] not in ("exps", "data"))
    assert listed["packages"] == packages


def test_optional_packages_have_the_versions_that_are_tested():
    lines = {line for lines in PROJECT["project"]["optional-dependencies"].values() for line in lines}
    extras = pins(lines)
    tested = pins((ROOT / "requirements-dev.txt").read_text().splitlines())
    assert len(extras) == len(lines)
    assert {name: version for name, version in extras.items() if tested.get(name, version) != version} == {}


def test_wheels_are_refused(monkeypatch):
    pytest.importorskip("setuptools.build_meta")
    monkeypatch.setattr(sys, "path", [str(ROOT / "install"), *sys.path])
    import editable_only

    with pytest.raises(SystemExit, match=r"pip install -e \."):
        editable_only.build_wheel("wheels", config_settings=None, metadata_directory=None)
