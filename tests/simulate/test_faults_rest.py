"""Faults that only REST shows."""

from kraken_client import calls


def test_rest_faults() -> None:
    refused = (200, {"error": ["EService:Unavailable"]})
    assert calls("error_body@0", "Trades?pair=XBTUSD", "Time") == [refused, refused]
    scoped = calls("error_body@0,call=Trades,error=EService:Busy", "Trades?pair=XBTUSD", "Time")
    assert scoped[0] == (200, {"error": ["EService:Busy"]})
    assert scoped[1][1]["error"] == []
    (page,) = calls("http_5xx@0,status=520", "Time")
    assert page[0] == 520
    assert "<html>" in page[1]
    answers = calls("rate_limit@0", "Time", count=8)
    assert [body["error"] for _, body in answers] == [[]] * 5 + [["EGeneral:Too many requests"]] * 3
