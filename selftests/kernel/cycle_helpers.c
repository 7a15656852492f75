// SPDX-License-Identifier: GPL-2.0
/* An object belongs to one module; coop_cycle.ko needs the same as coop_test.ko. */
#include "helpers.c"
