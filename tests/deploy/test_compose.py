"""compose.yaml and deploy/miles.service: valid by their own tools, locked down, and complete."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.support.process import completed
from tests.support.service import ROOT
from tests.support.system_programs import require_program

DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
UNIT = (DEPLOY / "miles.service").read_text(encoding="utf-8")


def fits_the_schema(file: Path) -> subprocess.CompletedProcess[str]:
    """check-jsonschema's verdict by the Compose Specification's schema, which it carries."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", file]
    return completed(command)


def test_compose_accepts_the_file() -> None:
    done = fits_the_schema(ROOT / "compose.yaml")
    assert done.returncode == 0, done.stdout


def test_a_misspelt_key_is_found(tmp_path: Path) -> None:
    """The schema rejects what it does not know."""
    broken = tmp_path / "compose.yaml"
    broken.write_text((ROOT / "compose.yaml").read_text(encoding="utf-8").replace("cap_drop", "cap_drops"))
    assert fits_the_schema(broken).returncode == 1


def test_containers_are_locked_down() -> None:
    """Read-only root, no capabilities and no way to gain any, limited processor and memory."""
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["deploy"]["resources"]["limits"].keys() >= {"cpus", "memory"}, name


def test_what_is_mounted_is_there_and_read_only() -> None:
    for volume in [volume for service in SERVICES.values() for volume in service.get("volumes", [])]:
        source, target, *mode = volume.split(":")
        assert Path(target).is_absolute(), volume
        if source.startswith("."):
            assert (ROOT / source).exists(), volume
            assert mode == ["ro"], volume
        else:
            assert source in COMPOSE["volumes"], volume


def test_only_miles_is_reached_from_outside() -> None:
    """Prometheus and Grafana have no log-in, so they listen on loopback, and run only when asked."""
    for name, service in SERVICES.items():
        (port,) = service["ports"]
        assert port.startswith("127.0.0.1:") == (name != "miles")
        assert service.get("profiles") == (None if name == "miles" else ["watch"])


def test_every_third_party_image_is_a_release() -> None:
    images = [service["image"] for service in SERVICES.values() if "build" not in service]
    assert [image for image in images if not re.search(r":v?\d+\.\d+\.\d+$", image)] == []


def test_miles_gets_settings_that_exist_and_time_to_stop() -> None:
    """Settings passed on are in docs/settings.md, and SIGKILL comes after the service's own 24 s."""
    miles = SERVICES["miles"]
    guide = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert [name for name in miles["environment"] if f"| `{name}` |" not in guide] == []
    assert int(miles["stop_grace_period"].removesuffix("s")) >= 25
    assert (ROOT / miles["build"] / "Dockerfile").is_file()


def test_prometheus_finds_miles_in_compose() -> None:
    """Its configuration there is the plain one's job for the service, under the container's name.

    `./miles outcomes --watch` runs beside a database, which compose.yaml does not have.
    """
    folder = DEPLOY / "prometheus"
    plain, compose = (
        yaml.safe_load((folder / name).read_text(encoding="utf-8"))
        for name in ("prometheus.yml", "compose.yml")
    )
    (scrape,) = compose["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": ["miles:7860"]}]
    of_the_service = [job for job in plain["scrape_configs"] if job["job_name"] == scrape["job_name"]]
    plain["scrape_configs"] = of_the_service
    plain["scrape_configs"][0]["static_configs"] = scrape["static_configs"]
    assert compose == plain
    assert "--config.file=/etc/prometheus/compose.yml" in SERVICES["prometheus"]["command"]


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    """Source and provider use the names of containers and mounts, and the home page is ours."""
    folder = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards" / "miles.yml").read_text())["providers"]
    assert source["url"] == "http://prometheus:9090"
    assert source["isDefault"] is True
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(provider["options"]["path"] + "/")
    mounts = dict(volume.split(":")[:2][::-1] for volume in SERVICES["grafana"]["volumes"])
    assert json.loads((ROOT / mounts[home]).read_text(encoding="utf-8"))["title"] == "Miles"


def systemd(unit: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = require_program("systemd-analyze", debian="systemd")
    return completed([program, *arguments, unit])


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """It knows every line, the command is executable, and the exposure is at most 2.5 of 10."""
    unit = tmp_path / "miles.service"
    unit.write_text(UNIT.replace("/opt/miles/.venv", sys.prefix).replace("/opt/miles", str(ROOT)))
    verified = systemd(unit, "verify")
    assert (verified.returncode, verified.stderr) == (0, "")
    locked = systemd(unit, "security", "--offline=true", "--threshold=25")
    assert locked.returncode == 0, locked.stdout[-400:]
    unit.write_text(unit.read_text().replace("ProtectHome", "ProtectHomes"))
    assert "ProtectHomes" in systemd(unit, "verify").stderr


def test_the_unit_ends_as_the_service_does() -> None:
    """After exit status 2 (wrong settings) there is no restart; SIGKILL comes after the service's 24 s."""
    assert "\nRestartPreventExitStatus=2\n" in UNIT
    assert "\nTimeoutStopSec=25\n" in UNIT
    assert re.search(r"^ExecStart=/opt/miles/\.venv/bin/python app\.py$", UNIT, re.MULTILINE)
