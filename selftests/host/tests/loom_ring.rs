// SPDX-License-Identifier: GPL-2.0

//! The ring in every interleaving. Loom's cells, which the slots are made of, report each access
//! that another one does not happen before; its tracked values, each that is lost.

#![cfg(loom)]

use coop_host::model::Static;
use coop_host::msgq::{Consumer, Polling, Producer};
use coop_host::{channel, model, ring};
use loom::alloc::Track;
use loom::sync::Arc;
use loom::thread;

/// Whether there is a value, which must be the one after those before.
fn is_next(value: Option<Track<usize>>, next: &mut usize) -> bool {
    let Some(value) = value else { return false };
    assert_eq!(value.into_inner(), *next);
    *next += 1;
    true
}

model! {
    /// Three values through two slots: both sides wait for each other's index, a slot is used
    /// twice, the indices wrap.
    fn values_one_by_one() {
        let (mut tx, mut rx) = channel(2);
        let producer = thread::spawn(move || {
            let mut sent = 0;
            for _ in 0..4 {
                if sent < 3 && tx.push(Track::new(sent)).is_ok() {
                    sent += 1;
                }
            }
            sent
        });
        let mut next = 0;
        for _ in 0..2 {
            is_next(rx.pop(), &mut next);
        }
        let sent = producer.join().unwrap();
        while is_next(rx.pop(), &mut next) {}
        assert_eq!(next, sent);
    }
    publish: "ring.publish",
    receive: "ring.receive",
    release: "ring.release",
    reclaim: "ring.reclaim",
}

model! {
    /// The end of who polls: a slot is free only when it looks again.
    fn values_that_are_polled() {
        let (mut tx, rx) = channel(1);
        let producer = thread::spawn(move || {
            let mut sent = 0;
            for _ in 0..3 {
                if sent < 2 && tx.push(Track::new(sent)).is_ok() {
                    sent += 1;
                }
            }
            sent
        });
        let mut rx = Polling::from(rx);
        let mut next = 0;
        for _ in 0..2 {
            is_next(rx.pop(), &mut next);
        }
        let sent = producer.join().unwrap();
        let mut rx = Consumer::from(rx);
        while is_next(rx.pop(), &mut next) {}
        assert_eq!(next, sent);
    }
    publish_polled: "ring.publish",
    receive_polled: "ring.receive",
    release_polled: "ring.release",
    reclaim_polled: "ring.reclaim",
}

model! {
    /// The same with more than one value at hand: two looks' worth, a part of which is released
    /// while the rest is still to be taken, and used again.
    fn values_that_are_polled_in_parts() {
        let (mut tx, rx) = channel(2);
        let producer = thread::spawn(move || {
            let mut values = (0..4).map(Track::new);
            tx.push_batch(&mut values) + tx.push_batch(&mut values)
        });
        let mut rx = Polling::from(rx);
        let mut next = 0;
        for _ in 0..2 {
            is_next(rx.pop(), &mut next);
        }
        let sent = producer.join().unwrap();
        while is_next(rx.pop(), &mut next) {}
        assert_eq!(next, sent);
    }
    publish_parts: "ring.publish",
    receive_parts: "ring.receive",
    release_parts: "ring.release",
    reclaim_parts: "ring.reclaim",
}

model! {
    /// Batches: one store shows all their values, one store frees all their slots.
    fn batches() {
        let (mut tx, mut rx) = channel(2);
        let producer = thread::spawn(move || {
            let mut values = (0..3).map(Track::new);
            let mut sent = tx.push_batch(&mut values);
            assert_eq!(sent, 2);
            sent += tx.push_batch(&mut values);
            if sent == 3 {
                assert!(values.next().is_none());
            }
            sent
        });
        let mut next = 0;
        for value in rx.drain(2) {
            assert_eq!(value.into_inner(), next);
            next += 1;
        }
        let sent = producer.join().unwrap();
        next += rx.release(2) + rx.release(2);
        assert_eq!(next, sent);
    }
    publish_batch: "ring.publish",
    receive_batch: "ring.receive",
    release_batch: "ring.release",
    reclaim_batch: "ring.reclaim",
}

model! {
    /// Senders that take turns under a lock of their own, without ends: as in a mailbox.
    fn without_ends() {
        let ring = Arc::new(ring::<Track<usize>>(1));
        let other = ring.clone();
        let producer = thread::spawn(move || {
            // SAFETY: This thread is the only producer.
            unsafe { other.push(Track::new(0)) }.ok().unwrap();
            // SAFETY: As above.
            unsafe { other.push(Track::new(1)) }.is_ok()
        });
        let mut seen = 0;
        for _ in 0..2 {
            // SAFETY: This thread is the only consumer.
            let first = unsafe { ring.peek() }.map(|value| *value.get_ref());
            // SAFETY: As above.
            if let Some(value) = unsafe { ring.pop() } {
                // What appears in between is not seen by `peek` yet.
                assert!(first.is_none_or(|first| first == seen));
                assert_eq!(value.into_inner(), seen);
                seen += 1;
            }
        }
        let sent = 1 + usize::from(producer.join().unwrap());
        assert!(seen <= sent);
        assert_eq!(ring.len(), sent - seen);
        // What is left is dropped with the ring.
    }
    publish_without_ends: "ring.publish",
    receive_without_ends: "ring.receive",
    release_without_ends: "ring.release",
    reclaim_without_ends: "ring.reclaim",
}

model! {
    /// A slot is found first and filled later, a value is looked at first and taken later; the
    /// first use of the ring is noted.
    fn one_look_then_push_or_take() {
        let ring = Arc::new(ring::<Track<usize>>(1));
        let other = ring.clone();
        let producer = thread::spawn(move || {
            let mut noted = 0;
            let mut positions = [None; 2];
            for (value, position) in positions.iter_mut().enumerate() {
                // SAFETY: This thread is the only producer.
                if let Some(vacant) = unsafe { other.vacant_noting(|| noted += 1) } {
                    assert!(noted > 0);
                    *position = Some(vacant.position());
                    vacant.push(Track::new(value));
                }
            }
            positions
        });
        let mut taken = 0;
        for _ in 0..2 {
            // SAFETY: This thread is the only consumer, and has one `First` at a time.
            if let Some(first) = unsafe { ring.first_noting(|n| assert_eq!(n, 1)) } {
                assert_eq!(first.with(|value| *value.get_ref()), taken);
                assert_eq!(first.take().into_inner(), taken);
                taken += 1;
            }
        }
        let positions = producer.join().unwrap();
        for (value, position) in positions.into_iter().enumerate() {
            let was_taken = position.is_some_and(|position| ring.has_taken(position));
            assert_eq!(was_taken, value < taken);
        }
    }
    publish_vacant: "ring.publish",
    receive_first: "ring.receive",
    release_first: "ring.release",
    reclaim_vacant: "ring.reclaim",
}

model! {
    /// A batch without an end, whose first value is changed before one store shows them all.
    fn a_staged_batch() {
        let ring = Arc::new(ring::<Track<usize>>(2));
        let other = ring.clone();
        let producer = thread::spawn(move || {
            let mut values = (1..4).map(Track::new);
            // SAFETY: This thread is the only producer.
            let mut staged = unsafe { other.stage_batch(&mut values) }.unwrap();
            assert_eq!(staged.len(), 2);
            staged.first_mut(|value| *value.get_mut() = 0);
            let last = staged.last_position();
            drop(staged);
            // SAFETY: As above.
            (last, unsafe { other.push_batch(&mut values) })
        });
        let mut taken = Vec::new();
        for _ in 0..3 {
            // SAFETY: This thread is the only consumer.
            taken.extend(unsafe { ring.pop() }.map(Track::into_inner));
        }
        assert!([0, 2, 3].starts_with(&taken));
        let (last, more) = producer.join().unwrap();
        assert_eq!(ring.has_taken(last), taken.len() >= 2);
        assert_eq!(ring.len(), 2 + more - taken.len());
    }
    publish_staged: "ring.publish",
    receive_staged: "ring.receive",
    release_staged: "ring.release",
    reclaim_staged: "ring.reclaim",
}

model! {
    /// The producer's role goes from one thread to another; the second goes on where the first
    /// stopped.
    fn producers_follow_one_another() {
        let ring = Static::new(ring::<usize>(2));
        let other = thread::spawn(move || match Producer::new(&*ring) {
            Ok(mut tx) => tx.push(7).is_ok(),
            Err(_) => false,
        });
        let mut sent = 0;
        if let Ok(mut tx) = Producer::new(&*ring) {
            assert!(tx.stage(7).is_ok());
            sent += 1;
        }
        sent += usize::from(other.join().unwrap());
        assert_eq!(ring.len(), sent);
        // SAFETY: The other thread has ended.
        unsafe { ring.free() };
    }
    producer_claims: "ring.claim",
    producer_hands_over: "ring.hand_over",
}

model! {
    /// The consumer's role goes from one thread to another; no value is taken twice.
    fn consumers_follow_one_another() {
        let ring = Static::new(ring::<usize>(2));
        let mut tx = Producer::new(&*ring).ok().unwrap();
        assert_eq!(tx.push_batch(&mut (1..3)), 2);
        let take = move || match Consumer::new(&*ring) {
            Ok(mut rx) => rx.pop().unwrap(),
            Err(_) => 0,
        };
        let other = thread::spawn(take);
        let sum = take() + other.join().unwrap();
        assert!(sum == 1 || sum == 2 || sum == 3);
        assert_eq!(ring.len(), if sum == 3 { 0 } else { 1 });
        drop(tx);
        // SAFETY: The other thread has ended.
        unsafe { ring.free() };
    }
    consumer_claims: "ring.claim",
    consumer_hands_over: "ring.hand_over",
}
