"""The TypeScript client as npm publishes it, in empty projects of each kind of resolution."""

import json
from pathlib import Path

import pytest

from tests.support.house import ROOT
from tests.support.node import install, node, npm
from tests.support.service import Service

FOLDER = ROOT / "clients" / "typescript"
BINARIES = FOLDER / "node_modules" / ".bin"
USE = """
declare const process: { env: Record<string, string | undefined>; exitCode: number };
const miles = new Miles({ url: process.env.MILES_URL ?? "" });
miles.predict({ title: "How do planes stay up?" }).then(
  (score) => { console.log("scored", score.viral_score.toFixed(6)); },
  (error: unknown) => { console.log(error instanceof MilesError, error); process.exitCode = 1; },
);
"""
IMPORT = 'import { Miles, MilesError, type Prediction } from "miles-client";\n'
PROJECTS = {
    "node16 from ESM": ("module", {"module": "node16", "moduleResolution": "node16"}),
    "node16 from CommonJS": ("commonjs", {"module": "node16", "moduleResolution": "node16"}),
    "bundler": ("module", {"module": "esnext", "moduleResolution": "bundler"}),
    "node10": ("commonjs", {"module": "commonjs", "moduleResolution": "node10"}),
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `npm pack` makes; prepack builds it first."""
    install(FOLDER)
    folder = tmp_path_factory.mktemp("pack")
    ran = npm(FOLDER, "pack", "--pack-destination", str(folder))
    assert ran.returncode == 0, ran.stdout
    return next(folder.glob("miles-client-*.tgz"))


def test_publint_reports_nothing(package: Path) -> None:
    ran = node(FOLDER, str(BINARIES / "publint"), "--strict", str(package))
    assert ran.returncode == 0, ran.stdout
    assert "All good!" in ran.stdout


def test_the_types_are_right_for_every_resolution(package: Path) -> None:
    ran = node(FOLDER, str(BINARIES / "attw"), str(package))
    assert ran.returncode == 0, ran.stdout


def test_the_package_works_in_an_empty_project(package: Path, service: Service, tmp_path: Path) -> None:
    """It compiles under tsc's strict options, and what tsc writes scores on Node.js, for each resolution."""
    (tmp_path / "package.json").write_text(json.dumps({"name": "outer", "private": True}))
    ran = npm(tmp_path, "install", "--offline", "--no-audit", "--no-fund", str(package))
    assert ran.returncode == 0, ran.stdout  # where each project's Node.js and tsc find it
    for name, (kind, options) in PROJECTS.items():
        project = tmp_path / name
        project.mkdir()
        (project / "package.json").write_text(json.dumps({"name": "empty", "private": True, "type": kind}))
        (project / "main.ts").write_text(f"{IMPORT}export type Score = Prediction;\n{USE}")
        # Without the types of Node.js and without a check of TypeScript's own, which take most of the time.
        options |= {"target": "es2022", "strict": True, "types": [], "outDir": "out"}
        options |= {"skipDefaultLibCheck": True}
        (project / "tsconfig.json").write_text(json.dumps({"compilerOptions": options}))
    ran = node(tmp_path, str(BINARIES / "tsc"), "--build", *PROJECTS)
    assert ran.returncode == 0, ran.stdout
    told = {name: node(tmp_path / name, "out/main.js", MILES_URL=service.url) for name in PROJECTS}
    failures = {
        name: ran.stdout for name, ran in told.items() if ran.returncode or "scored" not in ran.stdout
    }
    assert failures == {}


@pytest.mark.usefixtures("package")  # which has just been built in the example's folder
def test_the_readmes_example_runs_on_the_built_package(service: Service) -> None:
    """The README's example is examples/score.ts, which prints scores with the built package."""
    example = FOLDER / "examples" / "score.ts"
    assert f"```ts\n{example.read_text()}```" in (FOLDER / "README.md").read_text()
    ran = node(FOLDER, str(example), MILES_URL=service.url, MILES_API_KEY="")
    assert "views a day" in ran.stdout
    assert "2 title: " in ran.stdout, ran.stdout


def test_the_package_says_where_it_comes_from() -> None:
    """npm shows its licence and repository."""
    described = json.loads((FOLDER / "package.json").read_text(encoding="utf-8"))
    assert described["license"] == "MIT"
    assert (FOLDER / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert described["repository"]["directory"] == "clients/typescript"
    assert "private" not in described
