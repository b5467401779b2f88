"""All kinds of faults by name."""

from typing import Final

from kvjepsen.nemesis.bit_flip import BitFlip
from kvjepsen.nemesis.clocks import ClockDrift, ClockJump
from kvjepsen.nemesis.delay import Delay
from kvjepsen.nemesis.descriptors import Descriptors
from kvjepsen.nemesis.disk_full import DiskFull
from kvjepsen.nemesis.fault import Fault
from kvjepsen.nemesis.kill import Kill, KillAll, KillLeader
from kvjepsen.nemesis.lag import Lag
from kvjepsen.nemesis.loss import Loss
from kvjepsen.nemesis.members import Membership
from kvjepsen.nemesis.partitions import Bridge, Halves, Isolate, IsolateLeader, OneWay, Ring
from kvjepsen.nemesis.pause import Pause, PauseLeader
from kvjepsen.nemesis.power import Power
from kvjepsen.nemesis.reset import Reset
from kvjepsen.nemesis.rolling import Rolling
from kvjepsen.nemesis.slow_sync import SlowSync
from kvjepsen.nemesis.stall import Stall
from kvjepsen.nemesis.torn_tail import TornTail
from kvjepsen.nemesis.transfer import Transfer

FAULTS: Final[dict[str, Fault]] = {
    fault.name: fault
    for fault in (
        Kill(),
        KillLeader(),
        KillAll(),
        Pause(),
        PauseLeader(),
        Rolling(),
        Halves(),
        Isolate(),
        IsolateLeader(),
        Bridge(),
        Ring(),
        OneWay(),
        Delay(),
        Reset(),
        Stall(),
        Loss(),
        Power(),
        TornTail(),
        BitFlip(),
        Membership(),
        DiskFull(),
        ClockJump(),
        ClockDrift(),
        Descriptors(),
        Lag(),
        SlowSync(),
        Transfer(),
    )
}
