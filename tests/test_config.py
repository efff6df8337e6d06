"""Thread counts and their reasons, settings, and what happens without the compiled core."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

import dwconv

settings = importlib.import_module("dwconv.config")  # the package's attribute of that name is the function

WITHOUT_CORE = """
import sys, warnings
sys.modules["dwconv._core"] = None  # as if it had not been built
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    import dwconv
import numpy as np
layer = dwconv.DepthwiseConv2D(np.ones((1, 1, 2, 1), np.float32))
y = layer(np.ones((1, 3, 3, 2), np.float32), num_threads=2)
print(layer.backend, dwconv.config()["backend"], y.sum(), *(w.category.__name__ for w in seen))
dwconv.show_config()
"""


def run_python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("DWCONV_", "OMP_"))}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment | variables, capture_output=True, text=True, check=False
    )


def last_line(text: str) -> str:
    return text.splitlines()[-1] if text else ""


# ---- settings ---------------------------------------------------------------------------------


def test_config_tells_everything() -> None:
    found = dwconv.config()
    assert set(found) == {
        "version", "backend", "reason", "isa", "isas_compiled", "isas_available", "threads",
        "threads_reason", "compiler",
    }  # fmt: skip
    assert found["version"] == dwconv.__version__
    assert found["threads"] == dwconv.get_num_threads() >= 1
    assert set(found["isas_available"]) <= set(found["isas_compiled"])
    if found["backend"] == "native":
        assert found["isa"] in found["isas_available"]
        assert found["reason"] is None


def test_show_config_prints_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    dwconv.show_config()
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == list(dwconv.config())


@pytest.mark.usefixtures("thread_setting")
def test_threads_can_be_set() -> None:
    dwconv.set_num_threads(3)
    assert dwconv.get_num_threads() == 3
    assert dwconv.config()["threads_reason"] == "set_num_threads"


def test_the_package_tells_its_names() -> None:
    assert all(hasattr(dwconv, name) for name in dwconv.__all__)
    assert issubclass(dwconv.PerformanceWarning, UserWarning)


# ---- threads ----------------------------------------------------------------------------------


@pytest.fixture
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(settings, "_affinity_cpus", lambda: 8)
    monkeypatch.setattr(settings, "_cgroup_cpus", lambda: None)
    return monkeypatch


@pytest.mark.usefixtures("eight_cpus")
@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (8, "CPUs that this process may use")),
        ({"OMP_NUM_THREADS": "3"}, (3, "OMP_NUM_THREADS")),
        ({"OMP_NUM_THREADS": "5,2"}, (5, "OMP_NUM_THREADS")),
        ({"OMP_NUM_THREADS": " 5 , 2"}, (5, "OMP_NUM_THREADS")),
        *(
            ({"OMP_NUM_THREADS": garbage}, (8, "CPUs that this process may use"))
            for garbage in ("", "many", "0", "-2", "1.5", ",3", "0x2", "\udcff", "²", "9" * 5000)
        ),
        ({"OMP_NUM_THREADS": "99999"}, (1024, "OMP_NUM_THREADS")),
        ({"OMP_THREAD_LIMIT": "garbage"}, (8, "CPUs that this process may use")),
        ({"DWCONV_NUM_THREADS": " 4 "}, (4, "DWCONV_NUM_THREADS")),
        ({"OMP_THREAD_LIMIT": "6"}, (6, "OMP_THREAD_LIMIT")),
        ({"DWCONV_NUM_THREADS": "4", "OMP_NUM_THREADS": "3"}, (4, "DWCONV_NUM_THREADS")),
        ({"DWCONV_NUM_THREADS": "16"}, (16, "DWCONV_NUM_THREADS")),
    ],
    ids=str,
)
def test_the_default_number_of_threads(environment: dict[str, str], expected: tuple[int, str]) -> None:
    assert settings._default_threads(environment, has_threads=True) == expected


def test_quotas_limit_threads(eight_cpus: pytest.MonkeyPatch) -> None:
    eight_cpus.setattr(settings, "_cgroup_cpus", lambda: 2)
    assert settings._default_threads({}, has_threads=True) == (2, "CPU quota of the control group")
    eight_cpus.setattr(settings, "_cgroup_cpus", lambda: 9)
    assert settings._default_threads({}, has_threads=True)[0] == 8


def test_there_is_one_thread_without_the_core() -> None:
    threads, reason = settings._default_threads({"OMP_NUM_THREADS": "4"}, has_threads=False)
    assert threads == 1
    assert "without the compiled core" in reason


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "1025", "2,1", " ", "9" * 5000])
def test_a_wrong_number_of_threads_in_the_environment_is_an_error(value: str) -> None:
    result = run_python("import dwconv", DWCONV_NUM_THREADS=value)
    assert result.returncode != 0
    assert last_line(result.stderr).startswith("ValueError: DWCONV_NUM_THREADS must be ")


def test_garbage_for_openmp_does_not_break_the_import() -> None:
    garbage = {"OMP_NUM_THREADS": "2,x", "OMP_THREAD_LIMIT": "\udcff"}
    result = run_python("import dwconv; print(dwconv.get_num_threads())", **garbage)
    assert result.stdout == ("2\n" if dwconv.config()["isas_compiled"] else "1\n")


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"cpu.max": "max 100000"}, None),
        ({"a/b/cpu.max": "150000 100000"}, 2),
        ({"a/cpu.max": "100000 100000", "a/b/cpu.max": "400000 100000"}, 1),
        ({"a/b/cpu.max": "20000 100000"}, 1),
        ({"cpu.max": "300000 100000"}, 3),  # a container: its path is the host's, its own group is the root
        ({"a/b/cpu.max": "nonsense", "a/cpu.max": "200000 100000"}, 2),
        *(
            ({"a/b/cpu.max": garbage}, None)
            for garbage in (
                "",
                "max",
                "-1 100000",
                "0 100000",
                "100000 0",
                "100000",
                "1 2 3",
                "1e5 100000",
                b"\xff\xfe\0",
                "9" * 5000 + " 1",
            )
        ),
        ({"a/b/cpu.max": "9" * 19 + " 1"}, 10**19),
    ],
    ids=str,
)
def test_quotas_of_control_groups_version_2(
    files: dict[str, str], expected: int | None, tmp_path: Path
) -> None:
    write(tmp_path / "proc", "0::/a/b\n")
    for name, text in files.items():
        write(tmp_path / "root" / name, text)
    assert settings._cgroup_cpus(tmp_path / "proc", tmp_path / "root") == expected


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [
        ("-1", "100000", None),
        ("250000", "100000", 3),
        ("250000\n", "100000\n", 3),
        *((garbage, "100000", None) for garbage in ("", "max", "0", "many", "1 2", b"\xff\0", "9" * 5000)),
        *(("250000", garbage, None) for garbage in ("", "0", "-1", "many", b"\xff")),
    ],
    ids=str,
)
def test_quotas_of_control_groups_version_1(
    quota: str | bytes, period: str | bytes, expected: int | None, tmp_path: Path
) -> None:
    write(tmp_path / "proc", "7:memory:/other\n4:cpu,cpuacct:/a\n")
    write(tmp_path / "root/cpu/a/cpu.cfs_quota_us", quota)
    write(tmp_path / "root/cpu/a/cpu.cfs_period_us", period)
    assert settings._cgroup_cpus(tmp_path / "proc", tmp_path / "root") == expected


ODD_LISTS = (
    "",
    "\n\n",
    "garbage",
    "0:",
    "0::",
    ":::",
    "a:b",
    b"\xff\xfe\0:\0:/\0",
    "0::/a\0b",
    "1:cpu:../..",
    "\0",
)


@pytest.mark.parametrize("lines", ODD_LISTS, ids=repr)
def test_odd_lists_of_control_groups_are_no_quota(lines: str | bytes, tmp_path: Path) -> None:
    write(tmp_path / "proc", lines)
    (tmp_path / "root").mkdir()
    assert settings._cgroup_cpus(tmp_path / "proc", tmp_path / "root") is None


def test_odd_lines_do_not_hide_the_others(tmp_path: Path) -> None:
    write(tmp_path / "proc", b"garbage\n\xff:\xff\n0::/\xff\n")
    write(tmp_path / "root/cpu.max", "200000 100000")
    assert settings._cgroup_cpus(tmp_path / "proc", tmp_path / "root") == 2


def test_directories_and_links_that_lead_nowhere_are_no_quota(tmp_path: Path) -> None:
    write(tmp_path / "proc", "0::/a\n4:cpu:/a\n")
    for name in ("a/cpu.max", "cpu/a/cpu.cfs_quota_us"):
        (tmp_path / "root" / name).mkdir(parents=True)
    (tmp_path / "root/cpu.max").symlink_to("cpu.max")
    assert settings._cgroup_cpus(tmp_path / "proc", tmp_path / "root") is None
    assert settings._cgroup_cpus(tmp_path, tmp_path / "root") is None


@pytest.mark.parametrize("refused", ["proc", "cpu.max"])
def test_files_that_may_not_be_read_are_no_quota(
    refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "proc", "0::/\n")
    write(tmp_path / "root/cpu.max", "200000 100000")
    assert settings._cgroup_cpus(tmp_path / "proc", tmp_path / "root") == 2
    read = Path.read_text

    def read_text(path: Path, **options: str) -> str:
        if path.name == refused:
            raise PermissionError(path)
        return read(path, **options)

    monkeypatch.setattr(Path, "read_text", read_text)
    assert settings._cgroup_cpus(tmp_path / "proc", tmp_path / "root") is None


@hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(proc=st.binary(max_size=40), quota=st.binary(max_size=40))
def test_no_content_of_a_file_of_control_groups_is_an_error(
    proc: bytes, quota: bytes, tmp_path: Path
) -> None:
    write(tmp_path / "proc", b"0::/a\n" + proc)
    for name in ("root/a/cpu.max", "root/cpu/a/cpu.cfs_quota_us"):
        write(tmp_path / name, quota)
    found = settings._cgroup_cpus(tmp_path / "proc", tmp_path / "root")
    assert found is None or found >= 1


def test_systems_that_do_not_tell_the_affinity_have_all_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(process: int) -> set[int]:
        raise OSError("not here")

    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    monkeypatch.setattr(os, "sched_getaffinity", refuse, raising=False)
    assert settings._affinity_cpus() == 5
    monkeypatch.delattr(os, "sched_getaffinity")
    assert settings._affinity_cpus() == 5


def test_systems_without_control_groups_have_no_quota(tmp_path: Path) -> None:
    assert settings._cgroup_cpus(tmp_path / "absent", tmp_path) is None


# ---- without the compiled core ----------------------------------------------------------------


def test_without_the_core_numpy_runs_everything_after_one_warning() -> None:
    result = run_python(WITHOUT_CORE)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0].split() == ["numpy", "numpy", "18.0", "RuntimeWarning"]
    assert "cannot be imported" in result.stdout


def test_no_warning_where_numpy_was_asked_for() -> None:
    result = run_python(WITHOUT_CORE, DWCONV_BACKEND="numpy")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0].split() == ["numpy", "numpy", "18.0"]


@pytest.mark.parametrize(("variable", "value"), [("DWCONV_BACKEND", "native"), ("DWCONV_ISA", "baseline")])
def test_asking_for_an_absent_core_is_an_error(variable: str, value: str) -> None:
    result = run_python(WITHOUT_CORE, **{variable: value})
    assert result.returncode != 0
    assert last_line(result.stderr).startswith(f"ImportError: {variable}={value}: ")
