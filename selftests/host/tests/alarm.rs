// SPDX-License-Identifier: GPL-2.0

//! When a domain's one timer interrupt is programmed, against a simulated clock: whatever is armed
//! and disarmed in whatever order, each timer is taken out, never early, and never later than the
//! end of the run in which it is due. And the policies of missed ticks.

#![cfg(not(loom))]

use coop_host::alarm::{Alarm, Missed};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The domain of `coop/timers.rs`, with a map for its tree, and the kernel's `hrtimer`.
#[derive(Default)]
struct Domain {
    now: i64,
    alarm: Alarm,
    armed: BTreeMap<(i64, u32), ()>,
    next: u32,
    /// What the interrupt is programmed for.
    hrtimer: Option<i64>,
    programmed: usize,
    fired: usize,
    in_vain: usize,
}

impl Domain {
    fn program(&mut self, at: i64) {
        self.hrtimer = Some(at);
        self.programmed += 1;
    }

    fn arm(&mut self, after: i64) {
        let at = self.now + after;
        self.armed.insert((at, self.next), ());
        self.next += 1;
        if self.alarm.arm(at) {
            self.program(at);
        }
    }

    fn disarm(&mut self, choice: usize) {
        if let Some(key) = self
            .armed
            .keys()
            .nth(choice % self.armed.len().max(1))
            .copied()
        {
            self.armed.remove(&key);
        }
    }

    /// Time passes; if the interrupt comes, the domain does `before`, sees it, and does `then`
    /// before its run ends.
    fn pass(
        &mut self,
        ns: i64,
        mut before: impl FnMut(&mut Self),
        mut then: impl FnMut(&mut Self),
    ) {
        let end = self.now + ns;
        while let Some(at) = self.hrtimer.filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.hrtimer = None;
            // The domain may be in the middle of something, and arm and disarm before it looks.
            before(self);
            self.alarm.rang();
            let later = self.armed.split_off(&(self.now + 1, 0));
            let due = std::mem::replace(&mut self.armed, later).len();
            self.fired += due;
            self.in_vain += usize::from(due == 0);
            then(self);
            self.alarm.settle();
            if let Some(at) = self.armed.keys().next().map(|k| k.0) {
                if self.alarm.arm(at) {
                    self.program(at);
                }
            }
        }
        self.now = end;
    }

    /// Every timer that is armed has an interrupt that comes in time.
    fn check(&self) {
        if let Some(((at, _), ())) = self.armed.first_key_value() {
            assert!(*at >= self.now, "one is late: {at}, now {}", self.now);
            let hrtimer = self.hrtimer.expect("an interrupt to come");
            assert!(
                hrtimer <= *at,
                "the interrupt at {hrtimer} is too late for {at}"
            );
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Arm(i64),
    Disarm(usize),
    Pass(i64),
    /// Time passes, and who is woken arms this.
    Again(i64, i64),
    /// Time passes, the domain is busy when the interrupt comes, and arms this.
    Busy(i64, i64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1..1_000i64).prop_map(Op::Arm),
        3 => any::<usize>().prop_map(Op::Disarm),
        2 => (0..300i64).prop_map(Op::Pass),
        2 => (0..300i64, 1..1_000i64).prop_map(|(ns, after)| Op::Again(ns, after)),
        2 => (0..300i64, 1..1_000i64).prop_map(|(ns, after)| Op::Busy(ns, after)),
    ]
}

proptest! {
    #[test]
    fn every_timer_has_its_interrupt(ops in prop::collection::vec(op(), 0..200)) {
        let mut domain = Domain::default();
        let mut armed = 0usize;
        for op in ops {
            match op {
                Op::Arm(after) => {
                    domain.arm(after);
                    armed += 1;
                }
                Op::Disarm(choice) => {
                    armed -= usize::from(!domain.armed.is_empty());
                    domain.disarm(choice);
                }
                Op::Pass(ns) => domain.pass(ns, |_| (), |_| ()),
                Op::Again(ns, after) => domain.pass(
                    ns,
                    |_| (),
                    |domain| {
                        armed += 1;
                        domain.arm(after);
                    },
                ),
                Op::Busy(ns, after) => domain.pass(
                    ns,
                    |domain| {
                        armed += 1;
                        domain.arm(after);
                    },
                    |_| (),
                ),
            }
            domain.check();
        }
        domain.pass(10_000, |_| (), |_| ());
        prop_assert_eq!(domain.fired, armed);
        prop_assert!(domain.armed.is_empty());
    }

    /// Time-outs that never come to pass: one interrupt a time-out's length, however many.
    #[test]
    fn timeouts_cost_few_interrupts(length in 100..1_000i64, n in 1..2_000usize) {
        let mut domain = Domain::default();
        for _ in 0..n {
            domain.arm(length);
            domain.pass(1, |_| (), |_| ());
            domain.disarm(0);
        }
        let lengths = n / length as usize + 1;
        prop_assert!(domain.in_vain <= lengths, "{} in {lengths} lengths", domain.in_vain);
        prop_assert!(domain.programmed <= lengths + 1);
    }

    /// The next tick is in the future, and on the grid where the policy says so.
    #[test]
    fn missed_ticks(due in 0..1_000_000i64, period in 1..10_000i64, late in 0..100_000i64) {
        let now = due + late;
        let skip = Missed::Skip.next(due, period, now);
        prop_assert!(skip > now && skip <= now + period.max(due + period - now));
        prop_assert_eq!((skip - due) % period, 0);
        prop_assert_eq!(Missed::Burst.next(due, period, now), due + period);
        let delay = Missed::Delay.next(due, period, now);
        prop_assert_eq!(delay, if late < period { due + period } else { now + period });
    }

    /// At the ends of the clock nothing overflows.
    #[test]
    fn missed_ticks_at_the_end_of_time(
        due in any::<i64>(), period in 1..i64::MAX, late in 0..i64::MAX
    ) {
        let now = due.saturating_add(late);
        for missed in [Missed::Skip, Missed::Burst, Missed::Delay] {
            prop_assert!(missed.next(due, period, now) >= due);
        }
    }
}
