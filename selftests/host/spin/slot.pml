/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Waiting for a reply slot: who waits registers, then exchanges the spare slot for none; who gives a
 * slot back exchanges the spare one for it, then looks for those who wait (coop/reply.rs).
 *
 * A caller that waits for ever while a slot is free is an invalid end state.
 *
 * mistake: NO_EXCHANGE_BY_TAKER   the one who waits only reads the spare slot when there is none
 * mistake: NO_EXCHANGE_BY_GIVER   the one who gives a slot back stores it
 */
#define VARS 2
#define CPUS 2
#include "tso.h"

#define SPARE 0       /* 0: none, 1: there is one */
#define REGISTERED 1

#define TAKER 0
#define GIVER 1

bool wake_taker;

active proctype taker()
{
	byte slot;

	do
	:: FENCE(TAKER);
	   STORE(TAKER, REGISTERED, 1);
#ifdef NO_EXCHANGE_BY_TAKER
	   slot = LOAD(TAKER, SPARE);
#else
	   atomic { FENCE(TAKER); slot = mem[SPARE]; mem[SPARE] = 0 };
#endif
	   if
	   :: slot != 0 -> break
	   :: else -> wake_taker; wake_taker = false
	   fi
	od
}

active proctype giver()
{
	bool registered;

#ifdef NO_EXCHANGE_BY_GIVER
	STORE(GIVER, SPARE, 1);
#else
	atomic { FENCE(GIVER); mem[SPARE] = 1 };
#endif
	registered = LOAD(GIVER, REGISTERED) == 1;
	if
	:: registered -> atomic { FENCE(GIVER); mem[REGISTERED] = 0; wake_taker = true }
	:: else -> skip
	fi
}

init
{
	atomic { run drain(TAKER); run drain(GIVER) }
}
