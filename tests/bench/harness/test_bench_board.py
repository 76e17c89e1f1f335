"""What a board reports of its heat, its clock and its energy: fake trees of the kernel's files and a fake vcgencmd."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from edgecap_bench.harness.board_state import BoardState, read_state
from edgecap_bench.harness.energy import PowerChipMeter, find_meter, rails

RAILS = """\
   3V7_WL_SW_A current(0)=0.10000000A
   VDD_CORE_A current(7)=2.00000000A
 3V7_WL_SW_V volt(8)=3.50000000V
   VDD_CORE_V volt(15)=0.75000000V
     EXT5V_V volt(24)=5.10000000V
"""
NO_TOOL = "no-such-tool-of-a-board"


def write(root: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


@pytest.fixture
def vcgencmd(tmp_path: Path) -> Path:
    tool = tmp_path / "vcgencmd"
    (tmp_path / "rails.txt").write_text(RAILS)
    tool.write_text(
        f"#!/bin/sh\ncase $1 in\nget_throttled) echo throttled=0x50004;;\n"
        f"pmic_read_adc) cat {tmp_path / 'rails.txt'};;\nesac\n"
    )
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    return tool


def test_a_board_reports_heat_clock_and_that_it_is_throttled(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "class/thermal/thermal_zone0/temp": 61_200,
            "class/thermal/thermal_zone1/temp": 55_000,
            "devices/platform/soc/soc:firmware/get_throttled": "4",
            "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": 1_500_000,
        },
    )
    state = read_state(root)
    assert state == BoardState(61.2, True, 1500.0)
    assert str(state) == "61.2 °C, throttled, 1500 MHz"
    write(root, {"devices/platform/soc/soc:firmware/get_throttled": "50000"})
    assert read_state(root).throttled is False  # throttled once since its start, not now


def test_an_older_kernel_reports_throttling_through_the_boards_tool(
    tmp_path: Path, vcgencmd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(vcgencmd.parent), prepend=os.pathsep)
    assert read_state(tmp_path / "nothing").throttled is True
    vcgencmd.write_text("#!/bin/sh\necho throttled=nonsense\n")
    assert read_state(tmp_path / "nothing").throttled is None


def test_a_machine_that_reports_nothing_is_unknown_and_not_fine(tmp_path: Path) -> None:
    assert read_state(tmp_path) == BoardState(None, None, None)
    assert str(read_state(tmp_path)) == "not reported"
    assert find_meter(tmp_path, NO_TOOL) is None


def test_energy_of_the_packages_is_counted_once_and_across_the_counters_end(tmp_path: Path) -> None:
    zones = tmp_path / "class/powercap"
    write(
        zones,
        {
            "intel-rapl:0/name": "package-0",
            "intel-rapl:0/energy_uj": 1_000_000,
            "intel-rapl:0/max_energy_range_uj": 10_000_000,
            "intel-rapl:0:0/name": "core",
            "intel-rapl:0:0/energy_uj": 0,
            "intel-rapl:1/name": "package-1",
            "intel-rapl:1/energy_uj": 9_500_000,
            "intel-rapl:1/max_energy_range_uj": 10_000_000,
        },
    )
    meter = find_meter(tmp_path, NO_TOOL)
    assert meter is not None
    assert "RAPL" in meter.source
    meter.start()
    write(
        zones,
        {"intel-rapl:0/energy_uj": 3_500_000, "intel-rapl:0:0/energy_uj": 2_000_000, "intel-rapl:1/energy_uj": 500_000},
    )
    assert meter.stop() == pytest.approx(2.5 + 1.0)
    (zones / "intel-rapl:1/energy_uj").unlink()
    assert meter.stop() is None


def test_a_counter_that_may_not_be_read_is_no_meter(tmp_path: Path) -> None:
    write(tmp_path, {"class/powercap/intel-rapl:0/name": "package-0"})
    assert find_meter(tmp_path, NO_TOOL) is None


def test_the_power_chip_of_a_pi_5_is_read_rail_by_rail(tmp_path: Path, vcgencmd: Path) -> None:
    assert rails(RAILS) == pytest.approx(0.1 * 3.5 + 2.0 * 0.75)  # the supply's voltage alone has no current
    assert rails("throttled=0x0") == 0.0
    meter = find_meter(tmp_path / "nothing", str(vcgencmd))
    assert meter is not None
    assert "power chip" in meter.source
    meter.start()
    joules = meter.stop()
    assert joules is not None
    assert joules > 0


def test_a_chip_that_stops_answering_counts_nothing() -> None:
    meter = PowerChipMeter(lambda: 0.0, every=0.001)
    meter.start()
    assert meter.stop() is None
