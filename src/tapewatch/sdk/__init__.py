"""Clients of tapewatch for programs that trade: they ask, and are told allow, widen or block.

`HttpGate` asks a running service; `RedisGate` and `NatsGate` read the bus and judge here. All are
named by `tapewatch.gate`, where programs should take them from. Nothing here can trade.
"""
