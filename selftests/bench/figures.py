# SPDX-License-Identifier: GPL-2.0
"""What stands beside what, and how good it has to be."""

from collections import namedtuple

# At most `plus` + `factor` times the cheapest of the figures `of`.
Bar = namedtuple("Bar", "factor of plus")


def at_most(number):
    return Bar(0, (), number)


def times(factor, *of, plus=0):
    return Bar(factor, of, plus)


KTHREAD_WORKERS = ("base.kthread_worker_same_cpu", "base.kthread_worker_cross_cpu")

# figure: (the baseline beside it, its bars)
FIGURES = {
    "ring.push_pop": ("base.kfifo", [at_most(14)]),
    "ring.push_pop_in_memory": ("base.kfifo", []),
    "ring.batch32": ("base.kfifo", [at_most(3)]),
    "ring.batch32_copied": ("base.kfifo", []),
    "task.yield": ("base.schedule", [at_most(40), times(1 / 60, "base.schedule")]),
    "task.spawn_join": ("base.kmalloc_kfree", [times(3, "base.kmalloc_kfree", plus=150)]),
    "task.wake_local": ("base.schedule", [at_most(60)]),
    "task.wake_remote": ("base.wake_up_process", [at_most(50)]),
    "task.yield_if_needed": ("base.schedule", [at_most(8)]),
    "task.yield_among_10": ("task.yield_among_10", []),
    "task.yield_among_1000": ("task.yield_among_10", [times(1.05, "task.yield_among_10")]),
    "task.yield_among_100000": ("task.yield_among_10", [times(1.05, "task.yield_among_10")]),
    "post.busy": (
        "base.queue_work_busy",
        [at_most(50), times(1 / 4, "base.queue_work_busy")],
    ),
    "post.batch32": ("base.queue_work_busy", []),
    "post.idle": ("base.wake_up_process", [times(1.1, "base.wake_up_process")]),
    "post.bh": ("base.spin_bh", []),
    "post.bh_off": ("base.spin_irqsave", []),
    "call.bh": ("base.spin_bh", []),
    "call.bh_enter": ("base.spin_irqsave", []),
    "call.inline": (
        "base.kthread_worker_same_cpu",
        [at_most(140), times(1 / 80, *KTHREAD_WORKERS)],
    ),
    "call.inline_among_10": ("call.inline_among_10", []),
    "call.inline_among_1000": ("call.inline_among_10", [times(1.05, "call.inline_among_10")]),
    "call.inline_among_100000": ("call.inline_among_10", [times(1.05, "call.inline_among_10")]),
    "call.inline_callers_1": ("base.mutex_callers_1", []),
    "call.inline_callers_2": ("base.mutex_callers_2", [times(1, "base.mutex_callers_2")]),
    "call.inline_callers_4": ("base.mutex_callers_4", [times(1, "base.mutex_callers_4")]),
    # Those who are woken at once are the baseline of those who are together.
    "call.meeting_4_now": (None, []),
    "call.meeting_4": ("call.meeting_4_now", [times(1, "call.meeting_4_now")]),
    "call.serving_4_now": (None, []),
    "call.serving_4": ("call.serving_4_now", [times(1, "call.serving_4_now")]),
    "call.meeting_4_delay_now": (None, []),
    "call.meeting_4_delay": ("call.meeting_4_delay_now", []),
    "call.serving_4_delay_now": (None, []),
    "call.serving_4_delay": ("call.serving_4_delay_now", []),
    "call.dedicated_same_cpu": (
        "base.kthread_worker_same_cpu",
        [
            times(1.05, "base.pingpong_same_cpu", plus=300),
            times(0.9, "base.kthread_worker_same_cpu"),
        ],
    ),
    "call.dedicated_cross_cpu": (
        "base.kthread_worker_cross_cpu",
        [
            times(1.05, "base.pingpong_cross_cpu", plus=300),
            times(0.9, "base.kthread_worker_cross_cpu"),
        ],
    ),
    "irq.to_coroutine": ("base.threaded_irq", []),
    # Pairs: 25 for each of the two operations. (Of a channel: single ones, of whose figures the first
    # and the last are means of sending and receiving.)
    "sync.semaphore": ("base.semaphore", [at_most(50)]),
    "sync.mutex": ("base.mutex", [at_most(50)]),
    "sync.rwlock_read": ("base.semaphore", [at_most(50)]),
    "sync.channel": ("base.kfifo", [at_most(25)]),
    "sync.channel_send": ("base.kfifo", [at_most(25)]),
    "sync.channel_recv": ("base.kfifo", [at_most(25)]),
    "sync.channel_try": ("base.kfifo", [at_most(25)]),
    "sync.event": ("base.mutex", []),
    "sync.mutex_hand_over": ("base.schedule", []),
    "timer.sleep": ("base.hrtimer_kthread", [times(1, "base.hrtimer_kthread")]),
    "timer.arm_cancel_among_10": ("base.hrtimer_start_cancel", []),
    # At most as the logarithm of the number, from 10.
    "timer.arm_cancel_among_1000": (
        "base.hrtimer_start_cancel",
        [times(1, "base.hrtimer_start_cancel"), times(3, "timer.arm_cancel_among_10")],
    ),
    "timer.arm_cancel_among_100000": (
        "base.hrtimer_start_cancel_among_1000",
        [times(5, "timer.arm_cancel_among_10")],
    ),
    "select.ready": (None, [at_most(60)]),
    "mem.task_header": (None, [at_most(64)]),
    "mem.domain": (None, []),
}


def baseline_of(name):
    beside, _ = FIGURES.get(name, ("base." + name, []))
    return beside if beside != name else None


def limit_of(name, figures):
    """The tightest of the figure's bars, or None."""
    limits = []
    for bar in FIGURES.get(name, (None, []))[1]:
        of = [figures[n]["value"] for n in bar.of if n in figures]
        if len(of) == len(bar.of):
            limits.append(bar.plus + bar.factor * min(of, default=0))
    return min(limits, default=None)


def own(figures):
    """The figures of the project, in the order of the table, others behind."""
    names = [n for n in FIGURES if n in figures]
    names += sorted(n for n in figures if n not in FIGURES and not n.startswith("base."))
    return names
