/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory with store buffers, as x86 has it (total store order): a store waits in its CPU's buffer,
 * first in first out, until the buffer process writes it; a load finds the CPU's own latest store,
 * or memory; a fence waits for the buffer to be empty; a locked instruction does, too, and is
 * atomic. Define VARS, the number of variables, and CPUS before.
 *
 * All that happens within one atomic block is one step to all others.
 */

byte mem[VARS];
chan buffer[CPUS] = [4] of { byte, byte };
/* What a CPU stored last, and how many of its stores are on their way, for each variable. */
byte own[CPUS * VARS];
byte waiting[CPUS * VARS];

#define AT(cpu, var) ((cpu) * VARS + (var))

#define STORE(cpu, var, value) \
	atomic { \
		buffer[cpu]!var, value; \
		own[AT(cpu, var)] = value; \
		waiting[AT(cpu, var)]++; \
	}

/* An expression: what a load finds now. */
#define LOAD(cpu, var) \
	(waiting[AT(cpu, var)] > 0 -> own[AT(cpu, var)] : mem[var])

/* A guard: true when the buffer is empty. A locked instruction: atomic { FENCE(cpu); ... mem[] } */
#define FENCE(cpu) (empty(buffer[cpu]))

proctype drain(byte cpu)
{
	byte var, value;

end:	do
	:: atomic {
		buffer[cpu]?var, value ->
		mem[var] = value;
		waiting[AT(cpu, var)]--;
		var = 0;
		value = 0;
	}
	od
}
