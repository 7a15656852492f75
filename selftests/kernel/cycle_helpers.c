// SPDX-License-Identifier: GPL-2.0
/* An object belongs to one module; coop_cycle.ko needs the same as coop_test.ko. */
#define COOP_CYCLE
#include "helpers.c"

/* Not linked against coop_test.ko, which need not be there. */
void *coop_cycle_lodge(void)
{
	void **lodge = symbol_get(coop_test_lodge);
	void *found;

	if (!lodge)
		return NULL;
	found = *lodge;
	symbol_put(coop_test_lodge);
	return found;
}
