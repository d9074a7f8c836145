"""A service on a new machine takes over the baselines that another one left in Redis.

S2 `state.recovery`: on a cold start detection is suppressed until the baseline is populated; with
the state in Redis it is populated at once.
"""

import pathlib

from s2_service import CYCLE_S, WARM, serving

from servers import redis_server
from tapewatch.model.time import NS_PER_S
from tapewatch.testing.virtual_time import START_NS, run


def test_s2_state_a_new_machine_has_the_baselines_at_once(tmp_path: pathlib.Path) -> None:
    """The first report of a service in an empty folder already has z-scores."""

    async def reports(name: str, url: str, cycles: int) -> list[tuple[int, bool]]:
        folder = tmp_path / name
        folder.mkdir()
        changes = (f"redis.url={url}", "redis.window_every_s=5", "gate.sample_rate=1")
        async with serving(folder, *changes) as service:
            await service.cycles(cycles)
            told = service.reports()
        return [(one.baseline_sample_count, one.z_price is not None) for one in told]

    with redis_server() as server:
        before = run(reports("old", server.url, WARM + 4))
        later_ns = START_NS + (WARM + 8) * CYCLE_S * NS_PER_S
        after = run(reports("new", server.url, 3), start_ns=later_ns)
    assert before[0] == (0, False), "where Redis has nothing, one begins with nothing"
    count, scored = after[0]
    assert count >= 30
    assert scored
