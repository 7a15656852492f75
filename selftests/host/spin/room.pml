/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Waiting for room in a mailbox: the sender registers, looks for room, and signals the receiver's
 * cell by an exchange; the receiver makes room, and looks for registered senders after the exchange
 * by which it consumes a signal, before it waits (coop/room.rs, Recv::poll). The receiver has no
 * barrier for each message. One slot, full at first.
 *
 * A sender that is never woken, or a receiver, is an invalid end state.
 *
 * mistake: NO_SIGNAL        the sender does not signal after it has registered
 * mistake: NO_LOOK          the receiver looks for senders only right after it has made room
 * mistake: LOOK_TOO_EARLY   the receiver looks for senders before it consumes the signal
 */
#define VARS 3
#define CPUS 2
#include "tso.h"

#define HEAD 0        /* values taken */
#define TAIL 1        /* values pushed */
#define REGISTERED 2  /* a sender waits for room */

#define RECEIVER 0
#define SENDER 1

/* The receiver's cell, changed by locked instructions only. */
mtype = { EMPTY, SIGNALLED, WAITER };
mtype cell = EMPTY;

bool wake_sender, wake_receiver;

inline signal()
{
	atomic {
		FENCE(SENDER);
		if
		:: cell == WAITER -> wake_receiver = true
		:: else -> skip
		fi;
		cell = SIGNALLED
	}
}

inline made()
{
	if
	:: LOAD(RECEIVER, REGISTERED) == 1 ->
		/* wake_all(): with the lock. */
		atomic { FENCE(RECEIVER); mem[REGISTERED] = 0; wake_sender = true }
	:: LOAD(RECEIVER, REGISTERED) == 0 -> skip
	fi
}

active proctype receiver()
{
	byte taken;

	do
	:: taken == 2 -> break
	:: else ->
#ifdef LOOK_TOO_EARLY
	   made();
#endif
	   /* try_wait() */
	   if
	   :: atomic { FENCE(RECEIVER) && cell == SIGNALLED -> cell = EMPTY }
	   :: cell != SIGNALLED -> skip
	   fi;
	   if
	   :: LOAD(RECEIVER, TAIL) > taken ->
		taken++;
		STORE(RECEIVER, HEAD, taken);
		/* try_recv() looks, without a barrier. */
#ifndef LOOK_TOO_EARLY
		made()
#endif
	   :: LOAD(RECEIVER, TAIL) == taken ->
#if !defined(NO_LOOK) && !defined(LOOK_TOO_EARLY)
		made();
#endif
		/* poll_wait() */
		atomic {
			FENCE(RECEIVER);
			if
			:: cell == SIGNALLED -> cell = EMPTY
			:: else -> cell = WAITER
			fi
		};
		if
		:: cell == WAITER -> wake_receiver; wake_receiver = false
		:: else -> skip
		fi
	   fi
	od
}

active proctype sender()
{
	bool room;

	do
	:: room = LOAD(SENDER, HEAD) == 1;
	   if
	   :: room -> break
	   :: else -> skip
	   fi;
	   /* register(): with the lock, whose release is a store. */
	   FENCE(SENDER);
	   STORE(SENDER, REGISTERED, 1);
	   room = LOAD(SENDER, HEAD) == 1;
#ifndef NO_SIGNAL
	   signal();
#endif
	   if
	   :: room -> break
	   :: else -> wake_sender; wake_sender = false
	   fi
	od;
	/* It pushes, and signals. */
	STORE(SENDER, TAIL, 2);
	signal()
}

init
{
	atomic {
		mem[TAIL] = 1;
		run drain(RECEIVER);
		run drain(SENDER)
	}
}
