/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A try-lock baton that is not the pending word itself: the runner gives it up and looks at the word
 * again; who pushes tries to take it, and leaves the work to the runner if that fails. Whoever
 * drains takes all there is. (Where the word itself is the baton there is no such pair of variables:
 * the_word_as_the_baton() in tests/loom_baton.rs.)
 *
 * Work that nobody runs is a failed assertion, and so are two runners.
 *
 * mistake: NO_FENCE_AFTER_RELEASE   the baton is given up by a plain store, with no barrier after it
 * mistake: NO_LOOK_AGAIN            the runner does not look again
 * mistake: NO_TRY_LOCK              the one who pushes looks whether the baton is free, and takes it
 */
#define VARS 2
#define CPUS 2
#include "tso.h"

#define BATON 0  /* 0: free */
#define WORD 1   /* 0: idle, 1: there is work */

byte pushed, ran, runners, ended;

inline try_lock(cpu, got)
{
#ifdef NO_TRY_LOCK
	got = LOAD(cpu, BATON) == 0;
	if
	:: got -> STORE(cpu, BATON, 1)
	:: else -> skip
	fi
#else
	atomic {
		FENCE(cpu);
		got = mem[BATON] == 0;
		mem[BATON] = 1
	}
#endif
}

proctype side(byte cpu)
{
	bool got, work;

	/* push: a locked instruction. */
	atomic { FENCE(cpu); mem[WORD] = mem[WORD] + 1; pushed++ };
	do
	:: try_lock(cpu, got);
	   if
	   :: !got -> break
	   :: else -> skip
	   fi;
	   atomic { runners++; assert(runners == 1) };
	   atomic { FENCE(cpu); ran = ran + mem[WORD]; mem[WORD] = 0 };
	   runners--;
	   STORE(cpu, BATON, 0);
#ifndef NO_FENCE_AFTER_RELEASE
	   FENCE(cpu);
#endif
#ifdef NO_LOOK_AGAIN
	   break
#else
	   work = LOAD(cpu, WORD) != 0;
	   if
	   :: work -> skip
	   :: else -> break
	   fi
#endif
	od;
	atomic {
		ended++;
		if
		:: ended == CPUS -> assert(ran == pushed)
		:: else -> skip
		fi
	}
}

init
{
	atomic { run drain(0); run drain(1); run side(0); run side(1) }
}
