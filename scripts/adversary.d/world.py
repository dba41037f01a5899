"""Common parts of trials: a vendor, gateways, callers, and the checks that every trial makes."""

import asyncio
import collections
import json
import math
import os
import random
import time

import callers
from callers import Unanswered
from gateway import Config, Gateway, token
from judge import overruns
from vendor import Vendor

# Answers that any call may get. 500 is never right; 400 may be a cid of another application.
FINE = {200, 429, 502, 503, 504}


class World:
    def __init__(self, seed, binary, folder, seconds):
        self.seed, self.binary, self.folder, self.seconds = seed, binary, folder, seconds
        self.counts = collections.Counter()
        self.problems = []
        self.gateways = []
        self.tasks = set()
        dice = self.dice("world")
        self.window = dice.choice([1.0, 1.5, 2.0, 3.0])
        self.vendor = Vendor(0.4, self.dice("vendor"))
        # Calls are checked against the vendor's limits, or against stricter ones where those are in force.
        self.limits = {}
        self.limit_at = None
        self.over = False
        self.fine = set(FINE)
        self.numbers = 0
        # Pushes under a key that one replica alone knew of.
        self.alone = set()
        # Time at which a process was last killed, and with it the requests that it had read.
        self.killed = -math.inf

    def dice(self, name):
        return random.Random(f"{self.seed}/{name}")

    def bad(self, what):
        self.problems.append(what)
        print(f"      seed {self.seed}: {what}", flush=True)

    async def open(self, **budgets):
        """Starts the vendor and writes a configuration with these budgets."""
        await self.vendor.start()
        config = Config(self.vendor.port)
        config.budgets = {name: (limit, self.window) for name, limit in budgets.items()}
        self.limits = budgets
        config.callers = {name: {} for name in ("anna", "bert", "cleo")}
        config.workers = self.dice("workers").randint(1, 3)
        return config

    def place(self, name):
        path = os.path.join(self.folder, name)
        os.makedirs(path, exist_ok=True)
        return path

    async def gateway(self, config, name="gateway", dies_after=None):
        """Starts a process and waits until it listens; or kills it this long after its start, in whatever state."""
        gateway = Gateway(self.binary, self.place(name), config)
        self.gateways.append(gateway)
        if dies_after is None:
            return await gateway.start()
        await gateway.spawn()
        await asyncio.sleep(dies_after)
        # It may listen already, on a port that is shared.
        self.killed = time.monotonic()
        await gateway.kill()
        return gateway

    # -- callers

    def spawn(self, work):
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def call(self, gateway, message, may_break=lambda: False):
        """Makes one exchange, which must get an acceptable answer."""
        self.counts["calls"] += 1
        try:
            answer = await callers.call(gateway().port if callable(gateway) else gateway.port, message)
        except Unanswered as error:
            if not may_break():
                self.bad(f"no answer: {error} to {message[:60]!r}")
            return None
        self.counts[f"{answer.status} {answer.reason or ''}".strip()] += 1
        if answer.status not in self.fine:
            self.bad(f"answer {answer} to {message[:60]!r}")
        if answer.status == 200 and b"Idempotency-Key" not in message and self.is_anothers(answer):
            self.bad(f"an answer to another call: {answer}")
        return answer

    def is_anothers(self, answer):
        """Whether an answer is for another request. The vendor's answers name theirs; those that it sent unasked name none."""
        try:
            return json.loads(answer.body).get("sendno") != answer.fields.get("x-request-id")
        except ValueError:
            return True

    async def crowd(self, gateway, messages, dice, may_break=lambda: False, pause=0.02):
        """Makes calls one after the other until the trial is over. `messages` makes a random one."""
        while not self.over:
            await self.call(gateway, messages(dice), may_break)
            await asyncio.sleep(dice.random() * 2 * pause)

    async def hangs_up(self, gateway, messages, dice, pause=0.05):
        while not self.over:
            self.counts["hang-ups"] += 1
            await callers.hang_up(gateway().port if callable(gateway) else gateway.port, messages(dice), dice)
            await asyncio.sleep(dice.random() * 2 * pause)

    def alert(self, dice):
        self.numbers += 1
        return f"push {self.numbers}-{dice.randint(0, 9999)}"

    async def stop_callers(self):
        self.over = True
        if self.tasks:
            _, late = await asyncio.wait(list(self.tasks), timeout=40)
            for task in late:
                self.bad("a caller never ended")
                task.cancel()
        for task in list(self.tasks):
            task.cancel()

    # -- checks

    def judge_windows(self):
        """Checks that no window holds a call too many."""
        self.counts["vendor calls"] += len(self.vendor.calls)
        by_budget = collections.defaultdict(list)
        for call in self.vendor.calls:
            for name in call.budgets:
                by_budget[call.key, name].append(call)
        for (key, name), calls in by_budget.items():
            limit_at = (
                (lambda at, name=name: self.limit_at(key, name, at))
                if self.limit_at
                else (lambda at, name=name: self.limits.get(name, math.inf))
            )
            found = overruns(calls, self.window, limit_at)
            if found:
                call, count, limit = max(found, key=lambda one: one[1] - one[2])
                self.bad(f"{len(found)} calls too many of {name}: up to {count} of {limit} in {self.window} s")
                for other in sorted(calls, key=lambda other: other.first):
                    if other.first <= call.first and other.last > call.first - self.window:
                        began, ended = other.first - call.first, other.last - call.first
                        print(f"        {began:7.3f} .. {ended:7.3f} s  {other.fate:12} {other.method} {other.path}")

    def judge_deliveries(self):
        self.counts["pushes delivered"] += len(self.vendor.deliveries)
        self.counts["keys of one replica"] += len(self.alone)
        doubled = self.vendor.doubled()
        if any("shared budgets is away" in gateway.text() for gateway in self.gateways):
            # On a machine that is too busy. Whoever got no answer was not told that its key is of one replica.
            self.counts["trials without a store for a while"] += 1
            doubled = {alert: times for alert, times in doubled.items() if not alert.startswith("keyed")}
        for alert, times in [(alert, times) for alert, times in doubled.items() if alert not in self.alone]:
            self.bad(f"{alert} was delivered {times} times")

    def judge_logs(self):
        for gateway in self.gateways:
            text = gateway.text()
            if "panic" in text:
                self.bad(f"a panic: {text[text.index('panic') - 200:][:600]}")

    async def judge(self):
        self.judge_windows()
        self.judge_deliveries()
        self.judge_logs()

    # -- afterwards

    async def settle(self, gateways, more=0.0):
        """Checks that no slot is in use and no call waits, once the last call's time is over."""
        config = gateways[0].config
        await asyncio.sleep(config.attempt + config.guard + self.window + 0.3 + more)
        before = [gateway.cpu_seconds() for gateway in gateways]
        await asyncio.sleep(1)
        for gateway, used in zip(gateways, before):
            if gateway.cpu_seconds() - used > 0.1:
                self.bad(f"{gateway.cpu_seconds() - used:.2f} s of CPU in a second without a call")
            status = await gateway.status()
            for name in ("in_flight_requests", "body_memory_bytes", "connections"):
                if status[name] != 0:
                    self.bad(f"{name} is {status[name]} after it settled")
            for tenant, kinds in status["tenants"].items():
                for kind in kinds.values():
                    for name, budget in kind["budgets"].items():
                        if budget["used"] or budget["waiting"]:
                            self.bad(f"after it settled {tenant}'s {name} has {budget}")

    async def full_rate(self, gateways, makers, tries=1):
        """Checks that each whole limit is available at once, at every gateway, and that queued calls are served."""
        for left in reversed(range(tries)):
            wrong = [*await self.rates(gateways, makers), *await self.all_waiters(gateways)]
            if not wrong:
                return
            if left:
                await self.settle(gateways)
        for what in wrong:
            self.bad(what)

    async def rates(self, gateways, makers):
        wrong = []
        # A broadcast draws on `push`, too.
        for budget in [budget for budget in self.limits if budget != "broadcast"]:
            admitted, limit = 0, self.limits[budget]
            for gateway in gateways:
                message = lambda: makers[budget](token("anna"))
                answers = await asyncio.gather(*(self.call(gateway, message()) for _ in range(limit)))
                admitted += sum(answer is not None and answer.status == 200 for answer in answers)
            if admitted < limit:
                wrong.append(f"after it settled {admitted} of {limit} calls of {budget} passed")
        return wrong

    async def all_waiters(self, gateways):
        """Checks that twice the limit can be sent in two windows, with some time left."""
        if gateways[0].config.deadline < 20:
            return []
        await asyncio.sleep(self.window)
        message = callers.tags(token("anna"), "Prefer: wait=20")
        calls = [self.call(gateways[number % len(gateways)], message) for number in range(2 * self.limits["device"])]
        start, answers = time.monotonic(), await asyncio.gather(*calls)
        served = sum(answer is not None and answer.status == 200 for answer in answers)
        took = time.monotonic() - start
        late = served < len(calls) or took > 2 * self.window + 3
        return [f"of {len(calls)} that waited {served} were served, in {took:.1f} s"] if late else []

    async def lone(self, gateway, message, mode, rounds=2):
        """Checks that a lone caller is admitted after the time that it was told. Nobody else makes calls meanwhile."""
        longest = gateway.config.connect + gateway.config.deadline + gateway.config.guard + 2 * self.window + 2
        for _ in range(rounds):
            for _ in range(200):
                answer = await self.call(gateway, message() if callable(message) else message)
                if answer is None or answer.status not in (200, 502, 504):
                    break
            if answer is None or answer.status != 429 or answer.reason is None:
                continue
            told, start = answer.retry_after, time.monotonic()
            if told > longest:
                self.bad(f"{mode}: Retry-After {told}, when nothing can last longer than {longest:.1f} s: {answer}")
                return
            await asyncio.sleep(told)
            again = await self.call(gateway, message() if callable(message) else message)
            self.counts["lone waits"] += 1
            if again is not None and again.reason in ("budget-exhausted", "quota-exhausted"):
                waited = time.monotonic() - start
                self.bad(f"{mode}: told to wait {told} s by {answer}; after {waited:.2f} s: {again}")

    async def precisely(self, gateway, mode, rounds=3):
        """Does the same with the times of the status page, which have fractions of seconds; for budgets without reserves."""
        message = callers.tags(token("anna"))
        for _ in range(rounds):
            for _ in range(200):
                answer = await self.call(gateway, message)
                if answer is None or answer.status not in (200, 502, 504):
                    break
            start, status = time.monotonic(), await gateway.status()
            left = status["tenants"]["shop"]["app"]["budgets"]["device"]["reset_seconds"]
            if answer is None or answer.reason != "budget-exhausted" or left > 8:
                continue
            await asyncio.sleep(left + 0.005)
            again = await self.call(gateway, message)
            self.counts["lone waits"] += 1
            if again is not None and again.reason == "budget-exhausted":
                self.bad(f"{mode}: {left:.3f} s left; after {time.monotonic() - start:.3f} s: {again}")

    async def close(self):
        for gateway in self.gateways:
            if gateway.process is not None and gateway.process.returncode is None:
                await gateway.kill()
        await self.vendor.stop()
