// SPDX-License-Identifier: GPL-2.0

//! The run queue against a simple model: a `VecDeque` for each priority.

#![cfg(not(loom))]

use coop_host::run_queue::{List, Priority, RunQueue, FAVOUR, PRIORITIES, ROUND};
use coop_host::wake_queue::{Link, Push, WakeQueue};
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::ptr::NonNull;

#[repr(C)]
struct Node {
    link: Link,
    id: usize,
    priority: Cell<Priority>,
}

fn node(id: usize, priority: u8) -> NonNull<Link> {
    let node = Box::new(Node {
        link: Link::new(),
        id,
        priority: Cell::new(Priority::new(priority).unwrap()),
    });
    NonNull::from(Box::leak(node)).cast()
}

fn of<'a>(link: NonNull<Link>) -> &'a Node {
    // SAFETY: All links are those of nodes, which live to the end of the test.
    unsafe { link.cast::<Node>().as_ref() }
}

fn free(link: NonNull<Link>) {
    // SAFETY: It comes from `node`, and is used no more.
    drop(unsafe { Box::from_raw(link.cast::<Node>().as_ptr()) });
}

#[derive(Default)]
struct Model {
    lists: [VecDeque<usize>; PRIORITIES],
    picks: u32,
    favoured: usize,
}

impl Model {
    fn pick(&mut self) -> Option<usize> {
        let normal = usize::from(Priority::NORMAL.get());
        let ready = |n: &usize| !self.lists[*n].is_empty();
        let urgent = (0..PRIORITIES).find(ready)?;
        if (0..PRIORITIES).filter(ready).all(|n| n == normal) {
            return Some(normal);
        }
        self.picks += 1;
        if self.picks % FAVOUR != 0 {
            return Some(urgent);
        }
        let next = (1..=PRIORITIES)
            .map(|n| (self.favoured + n) % PRIORITIES)
            .find(ready);
        self.favoured = next.unwrap_or(urgent);
        Some(self.favoured)
    }
}

impl Model {
    /// Those that stay keep their order; those that come are behind them, by where they come from.
    fn refile(&mut self, to: &BTreeMap<usize, usize>) {
        let mut come = Vec::new();
        for (level, list) in self.lists.iter_mut().enumerate() {
            let moves = |id: &usize| to.get(id).copied().filter(|to| *to != level);
            come.extend(list.iter().filter_map(|id| Some((*id, moves(id)?))));
            list.retain(|id| moves(id).is_none());
        }
        for (id, level) in come {
            self.lists[level].push_back(id);
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Push(u8),
    Batch(Vec<u8>),
    Pop,
    Turn,
    Walk,
    Refile(Vec<(usize, u8)>),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..8u8).prop_map(Op::Push),
        1 => prop::collection::vec(0..8u8, 0..5).prop_map(Op::Batch),
        3 => Just(Op::Pop),
        3 => Just(Op::Turn),
        1 => Just(Op::Walk),
        1 => prop::collection::vec((any::<usize>(), 0..8u8), 0..4).prop_map(Op::Refile),
    ]
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(
        only_normal in any::<bool>(),
        ops in prop::collection::vec(op(), 1..300),
    ) {
        let mut queue = RunQueue::new();
        let mut model = Model::default();
        let mut next = 0;
        let at = |p: u8| if only_normal { Priority::NORMAL.get() } else { p };
        for op in ops {
            match op {
                Op::Push(p) => {
                    let link = node(next, at(p));
                    // SAFETY: It is new, and freed after it came out.
                    unsafe { queue.push(link, of(link).priority.get()) };
                    model.lists[usize::from(at(p))].push_back(next);
                    next += 1;
                }
                Op::Batch(ps) => {
                    let outside = WakeQueue::new();
                    for p in &ps {
                        let link = node(next, at(*p));
                        // SAFETY: As above.
                        prop_assert_eq!(unsafe { outside.push(link) }, Push::Queued);
                        model.lists[usize::from(at(*p))].push_back(next);
                        next += 1;
                    }
                    let n = queue.append(outside.take(), |link| of(link).priority.get());
                    prop_assert_eq!(n, ps.len());
                }
                Op::Pop => {
                    let found = queue.pop();
                    let expected = model.pick().and_then(|n| model.lists[n].pop_front());
                    prop_assert_eq!(found.map(|link| of(link).id), expected);
                    if let Some(link) = found {
                        free(link);
                    }
                }
                Op::Turn => {
                    let picked = queue.pick();
                    let expected = model.pick();
                    prop_assert_eq!(picked.map(|p| usize::from(p.get())), expected);
                    if let (Some(p), Some(n)) = (picked, expected) {
                        let first = queue.list(p).first().unwrap();
                        let id = model.lists[n].pop_front().unwrap();
                        prop_assert_eq!(of(first).id, id);
                        model.lists[n].push_back(id);
                        // SAFETY: It is the first, then it is in the list.
                        let after = unsafe {
                            queue.list(p).turn(first);
                            List::after(first)
                        };
                        prop_assert_eq!(of(after).id, model.lists[n][0]);
                    }
                }
                Op::Walk => {
                    let mut ids = Vec::new();
                    queue.for_each(|link| ids.push(of(link).id));
                    ids.sort_unstable();
                    let mut expected: Vec<_> = model.lists.iter().flatten().copied().collect();
                    expected.sort();
                    prop_assert_eq!(ids, expected);
                }
                Op::Refile(moves) => {
                    let mut queued = Vec::new();
                    queue.for_each(|link| queued.push(link));
                    let mut to = BTreeMap::new();
                    for (which, p) in moves.into_iter().filter(|_| !queued.is_empty()) {
                        let node = of(queued[which % queued.len()]);
                        node.priority.set(Priority::new(at(p)).unwrap());
                        to.insert(node.id, usize::from(at(p)));
                    }
                    queue.refile(|link| of(link).priority.get());
                    model.refile(&to);
                }
            }
            prop_assert_eq!(queue.is_empty(), model.lists.iter().all(VecDeque::is_empty));
        }
        while let Some(link) = queue.pop() {
            free(link);
        }
    }

    /// Whatever waits beside somebody more urgent who is always ready: the documented bound.
    #[test]
    fn nobody_starves(waiting in prop::collection::hash_set(1..8u8, 1..7), before in 0..100u32) {
        let mut queue = RunQueue::new();
        let hog = node(usize::MAX, 0);
        // SAFETY: New, and freed after it came out.
        unsafe { queue.push(hog, Priority::HIGHEST) };
        for p in &waiting {
            let link = node(usize::from(*p), *p);
            // SAFETY: As above.
            unsafe { queue.push(link, of(link).priority.get()) };
        }
        // From any position of the turn.
        for _ in 0..before {
            queue.pick();
        }
        let mut left = waiting.len();
        for _ in 0..FAVOUR as usize * PRIORITIES {
            let priority = queue.pick().unwrap();
            let first = queue.list(priority).first().unwrap();
            if first == hog {
                // SAFETY: It is the first.
                unsafe { queue.list(priority).turn(first) };
                continue;
            }
            // SAFETY: As above.
            unsafe { queue.remove(first, priority) };
            free(first);
            left -= 1;
        }
        prop_assert_eq!(left, 0);
        queue.pop();
        free(hog);
    }
}

proptest! {
    /// Whatever is queued in the middle of rounds, or between them, and whether there is anybody left
    /// to poll: each poll is counted once, a round has no more than its polls, and one more at most
    /// after something urgent.
    #[test]
    fn the_polls_of_rounds_are_counted(
        rounds in prop::collection::vec(
            (1..=2 * ROUND, prop::collection::vec(prop::option::of(0..8u8), 0..40)),
            1..6,
        ),
    ) {
        let mut queue = RunQueue::new();
        let mut polls = 0;
        let n = rounds.len();
        for (there, pushes) in rounds {
            let mut pushes = pushes.into_iter();
            let mut push = |queue: &mut RunQueue| {
                let mut cut = false;
                while let Some(Some(p)) = pushes.next() {
                    let link = node(0, p);
                    // SAFETY: It is new, and freed after it came out.
                    unsafe { queue.push(link, of(link).priority.get()) };
                    cut |= p < Priority::NORMAL.get();
                }
                cut
            };
            push(&mut queue);
            if there == 1 {
                queue.count_one();
                push(&mut queue);
                prop_assert_eq!(queue.made(), 1);
                polls += 1;
                continue;
            }
            queue.start_round();
            let (mut steps, mut cut) = (0, false);
            loop {
                prop_assert!(steps < ROUND);
                prop_assert!(!cut, "a poll after the one that queued something urgent");
                cut |= push(&mut queue);
                steps += 1;
                prop_assert_eq!(queue.nth(), steps);
                if !queue.step() {
                    break;
                }
                if steps == there {
                    queue.end_round();
                    break;
                }
            }
            prop_assert_eq!(queue.made(), steps);
            polls += steps;
        }
        prop_assert_eq!(n * ROUND - queue.take_short(), polls);
        prop_assert_eq!(queue.take_short(), 0);
        while let Some(link) = queue.pop() {
            free(link);
        }
    }
}

#[test]
fn a_round_is_cut_by_something_urgent() {
    let mut queue = RunQueue::new();
    let nodes = [node(0, 4), node(1, 0), node(2, 7)];
    queue.start_round();
    assert!(queue.step());
    // SAFETY: They are new, and freed after they came out.
    unsafe { queue.push(nodes[2], Priority::LOWEST) };
    assert!(queue.step());
    // SAFETY: As above.
    unsafe { queue.push(nodes[1], Priority::HIGHEST) };
    assert!(!queue.step());
    assert_eq!(queue.made(), 3);
    assert_eq!(queue.take_short(), ROUND - 3);
    queue.start_round();
    while queue.step() {}
    assert_eq!(queue.made(), ROUND);
    assert_eq!(queue.take_short(), 0);
    // A round that ends early, since there is nothing more; then something urgent comes.
    queue.start_round();
    assert!(queue.step());
    queue.end_round();
    assert_eq!(queue.made(), 1);
    let urgent = node(3, 0);
    // SAFETY: As above.
    unsafe { queue.push(urgent, Priority::HIGHEST) };
    assert_eq!(
        queue.take_short(),
        ROUND - 1,
        "what came after it is no cut"
    );
    queue.start_round();
    assert!(queue.step());
    queue.end_round();
    assert_eq!(queue.made(), 1, "what came between the rounds is no cut");
    // SAFETY: As above.
    unsafe { queue.push(nodes[0], Priority::NORMAL) };
    for id in [1, 3, 0, 2] {
        let link = queue.pop().unwrap();
        assert_eq!(of(link).id, id);
        free(link);
    }
}
