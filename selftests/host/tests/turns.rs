// SPDX-License-Identifier: GPL-2.0

//! The turns of levels against a simple model, and the bound that is documented.

#![cfg(not(loom))]

use coop_host::run_queue::FAVOUR;
use coop_host::turns::Turns;
use proptest::prelude::*;
use std::collections::VecDeque;

/// As the receiver does it.
fn take(turns: &mut Turns, levels: &mut [VecDeque<u32>]) -> Option<(usize, u32)> {
    let found = turns.order().find(|level| !levels[*level].is_empty())?;
    turns.picked(found);
    let message = levels[found].pop_front()?;
    Some((found, message))
}

#[derive(Default)]
struct Model {
    picks: u32,
    favoured: usize,
}

impl Model {
    fn pick(&mut self, levels: &[VecDeque<u32>]) -> Option<usize> {
        let waits = |level: &usize| !levels[*level].is_empty();
        let urgent = (0..levels.len()).find(waits)?;
        self.picks += 1;
        if self.picks % FAVOUR != 0 {
            return Some(urgent);
        }
        // The next below the last one, then from the top, that one last.
        self.favoured = (self.favoured + 1..levels.len())
            .chain(0..=self.favoured)
            .find(waits)?;
        Some(self.favoured)
    }
}

proptest! {
    #[test]
    fn as_the_model(
        count in 1..9usize,
        ops in prop::collection::vec((any::<bool>(), 0..8usize), 0..400),
    ) {
        let mut levels = vec![VecDeque::new(); count];
        let (mut turns, mut model) = (Turns::new(count), Model::default());
        for (n, (push, level)) in ops.into_iter().enumerate() {
            if push {
                levels[level % count].push_back(n as u32);
            } else {
                let expected = model.pick(&levels);
                prop_assert_eq!(take(&mut turns, &mut levels).map(|(level, _)| level), expected);
            }
        }
    }

    /// What is first at its level is taken after at most eight others for each level.
    #[test]
    fn nobody_starves(count in 1..9usize, before in 0..100usize, victim in 0..8usize) {
        let victim = victim % count;
        let mut turns = Turns::new(count);
        // All other levels always have something.
        let mut levels = vec![VecDeque::from([0]); count];
        for _ in 0..before {
            if let Some((level, _)) = take(&mut turns, &mut levels) {
                levels[level].push_back(0);
            }
        }
        levels[victim] = VecDeque::from([1]);
        let mut others = 0;
        while let Some((level, message)) = take(&mut turns, &mut levels) {
            if message == 1 {
                break;
            }
            levels[level].push_back(0);
            others += 1;
            prop_assert!(others < FAVOUR as usize * count, "{others} others");
        }
    }
}
