"""Whatever the cuts, a stream that changes between the loop and a thread arrives as it was sent."""

from __future__ import annotations

import asyncio
import random
import socket

import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.gateway.sides import between, read_all


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(1, 400_000), min_size=1, max_size=12),
    threshold=st.integers(1, 600_000),
    count=st.none() | st.integers(1, 1_500_000),
    most=st.sampled_from([1000, 70_000, 1 << 20]),
    loop_factory=st.sampled_from([asyncio.new_event_loop, uvloop.new_event_loop]),
)
def test_a_stream_arrives_as_it_was_sent(seed, cuts, threshold, count, most, loop_factory):
    data = random.Random(seed).randbytes(sum(cuts))

    async def send(sender):
        start = 0
        for cut in cuts:
            await asyncio.get_running_loop().sock_sendall(sender, data[start : start + cut])
            await asyncio.sleep(0)
            start += cut
        sender.shutdown(socket.SHUT_WR)

    async def main():
        async with between(threshold, count) as (sender, reader, relay):
            received, _ = await asyncio.gather(read_all(reader, most), send(sender))
            if relay.handover is not None:
                taken, _ = await relay.returned
                assert count is None or taken <= count
            return received

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(asyncio.wait_for(main(), 30)) == data
