/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Going to sleep against waking: a thread that sets its state and looks at a word once more, and
 * one who changes that word and wakes the thread if the state says so. The home thread and its
 * pending word (coop/wake_queue.rs), and a caller and its reply slot (coop/reply_state.rs).
 *
 * A lost wake-up is a sleeper that never ends: an invalid end state.
 *
 * mistake: NO_FENCE_BEFORE_LOOK   the state is set without set_current_state()'s barrier
 * mistake: NO_FENCE_BEFORE_WAKE   the word is a plain store, and the waker has no barrier either
 * mistake: NO_SECOND_LOOK         the sleeper does not look at the word after it has set its state
 */
#define VARS 2
#define CPUS 2
#include "tso.h"

#define WORD 0   /* 0: idle, 1: there is work */
#define STATE 1  /* 0: running, 1: about to sleep, or asleep */

active proctype sleeper()
{
	/* The word is idle. */
	do
	:: STORE(0, STATE, 1);
#ifndef NO_FENCE_BEFORE_LOOK
	   FENCE(0);
#endif
#ifndef NO_SECOND_LOOK
	   if
	   :: LOAD(0, WORD) != 0 -> break
	   :: LOAD(0, WORD) == 0 -> skip
	   fi;
#endif
	   /* schedule(): with the run queue's lock it sleeps only if the state still says so. */
	   FENCE(0);
	   mem[STATE] == 0;
	   if
	   :: LOAD(0, WORD) != 0 -> break
	   :: LOAD(0, WORD) == 0 -> skip
	   fi
	od;
	STORE(0, STATE, 0)
}

active proctype waker()
{
	bool asleep;

#ifdef NO_FENCE_BEFORE_WAKE
	STORE(1, WORD, 1);
#else
	/* push() or complete(): a locked instruction. */
	atomic { FENCE(1); mem[WORD] = 1 };
#endif
	/* try_to_wake_up(): a look at the state, then again with its lock. */
	asleep = LOAD(1, STATE) == 1;
	if
	:: asleep -> atomic { FENCE(1); mem[STATE] = 0 }
	:: else -> skip
	fi
}

init
{
	atomic { run drain(0); run drain(1) }
}
