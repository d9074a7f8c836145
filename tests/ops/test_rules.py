"""The alert rules, judged by promtool: every case they were mended for, and those before them."""

import pathlib
import re
import shutil
import subprocess

import pytest

from tapewatch.sinks.metrics_names import OURS, POLYTRADERS

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RULES = ROOT / "ops" / "prometheus"
OURS_TESTED = sorted((RULES / "tests").glob("*.yml"))
THEIRS_TESTED = sorted((RULES / "tests" / "polytraders").glob("*.yml"))
ORIGINAL = HERE / "polytraders_rules.yml"
CONTROL = "ordinary.yml"  # the one file that bot 4.15's own rules pass as well
CASES = {"dead_process", "quiet_market", "negative_z", "short_spike", "first_spike", "kill_switch"}
# What is taken from the rules, and the file whose tests must then fail.
MENDS = (
    ('or up{job="tapewatch"} == 0\n', "stale.yml"),
    ('or absent(up{job="tapewatch"})\n', "stale.yml"),
    ("and on (job, instance) present_over_time(tapewatch_cycles_total[5m] offset 5m)", "stale.yml"),
    ('and on (job, instance) tapewatch_observations_total{detector="zscore"}', "stale.yml"),
    (" or min_over_time(tapewatch_z_score_peak[5m]) < -5", "spikes.yml"),
    ("unless on (job, instance) (max_over_time(tapewatch_z_score_largest[5m]) > 5)", "spikes.yml"),
    ("increase(tapewatch_high_z_total[5m]) > 0\n              or", "spikes.yml"),
    ("and on (job, instance) (time() - process_start_time_seconds < 300)\n", "spikes.yml"),
    ('and deriv(tapewatch_outbox_rows{state="pending"}[10m]) >= 0', "service.yml"),
)


@pytest.fixture(scope="module")
def promtool() -> str:
    """The binary of Debian's package `prometheus`."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool not found (Debian: apt install prometheus)")
    return found


def passes(promtool: str, *words: str) -> bool:
    done = subprocess.run([promtool, *words], capture_output=True, text=True, check=False)
    assert "error parsing" not in done.stderr, done.stderr
    return done.returncode == 0


def against(rules: pathlib.Path, test: pathlib.Path, folder: pathlib.Path) -> str:
    """A copy of a test file that is run against other rules."""
    text, count = re.subn(
        r"^rule_files: .*$", f"rule_files: [{rules}]", test.read_text(), flags=re.MULTILINE
    )
    assert count == 1
    copy = folder / test.name
    copy.write_text(text)
    return str(copy)


@pytest.mark.parametrize("path", [*OURS_TESTED, *THEIRS_TESTED], ids=lambda path: path.stem)
def test_every_case(promtool: str, path: pathlib.Path) -> None:
    assert passes(promtool, "test", "rules", str(path))


@pytest.mark.parametrize("path", THEIRS_TESTED, ids=lambda path: path.stem)
def test_what_the_original_rules_do(
    promtool: str, path: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """They fail every case but the control, which is why they were mended."""
    done = passes(promtool, "test", "rules", against(ORIGINAL, path, tmp_path))
    assert done == (path.name == CONTROL)


def test_no_case_is_missing() -> None:
    assert {path.stem for path in THEIRS_TESTED} == CASES | {pathlib.Path(CONTROL).stem}


@pytest.mark.parametrize(("clause", "name"), MENDS)
def test_every_clause_is_needed(
    promtool: str, clause: str, name: str, tmp_path: pathlib.Path
) -> None:
    rules = (RULES / "rules.yml").read_text()
    assert clause in rules
    weaker = tmp_path / "rules.yml"
    weaker.write_text(rules.replace(clause, "\n" if clause.endswith("\n") else ""))
    test = RULES / "tests" / name
    assert passes(promtool, "check", "rules", str(weaker))
    assert not passes(promtool, "test", "rules", against(weaker, test, tmp_path))


def test_every_alert_is_tested() -> None:
    for file, tests in (("rules.yml", OURS_TESTED), ("rules-polytraders.yml", THEIRS_TESTED)):
        alerts = re.findall(r"- alert: (\w+)", (RULES / file).read_text())
        tested = "".join(path.read_text() for path in tests)
        assert alerts
        assert not [alert for alert in alerts if f'alertname="{alert}"' not in tested]


def test_the_example_configuration(promtool: str) -> None:
    assert passes(promtool, "check", "config", str(RULES / "prometheus.yml"))


@pytest.mark.parametrize("name", ["rules.yml", "rules-polytraders.yml"])
def test_every_name_in_the_rules_is_one_of_ours(name: str) -> None:
    text = re.sub(r"(?m)#.*$|runbook_url: .*$", "", (RULES / name).read_text())
    used = set(re.findall(r"\b(?:tapewatch|polytraders)_\w+", text))
    known = set(OURS) | (set(POLYTRADERS) if "polytraders" in name else set())
    assert used
    assert not used - known


@pytest.mark.parametrize("path", [*OURS_TESTED, *THEIRS_TESTED], ids=lambda path: path.stem)
def test_the_cases_are_made_of_series_that_we_export(path: pathlib.Path) -> None:
    """With labels that do not exist a rule can pass every test and never fire."""
    known = OURS | POLYTRADERS
    for name, inside in re.findall(r"- series: '(\w+)\{(.*)\}'", path.read_text()):
        labels = set(re.findall(r'(\w+)="', inside)) - {"job", "instance"}
        assert name in {"up", "process_start_time_seconds"} or labels == set(known[name].labels)


@pytest.mark.parametrize("name", ["rules.yml", "rules-polytraders.yml"])
def test_every_alert_has_a_place_in_the_runbook(name: str) -> None:
    rules = (RULES / name).read_text()
    places = re.findall(r"runbook_url: (\S+)", rules)
    assert len(places) == rules.count("- alert: ")
    for place in places:
        page, _, anchor = place.partition("#")
        headings = re.findall(r"(?m)^#+ (.*)$", (ROOT / page).read_text())
        assert anchor in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def test_the_anchors_that_bot_4_15_promised() -> None:
    """Links of its users end in these."""
    rules = (RULES / "rules.yml").read_text()
    for anchor in ("price-spike", "stale", "high-zscore"):
        assert f"#runbook-anomalydetector-{anchor}\n" in rules
