// SPDX-License-Identifier: GPL-2.0
/*
 * How long the CPUs have been idle, for bench.sh: to the microsecond, where
 * /proc/uptime and /proc/stat round to 10 ms. Read it from
 * /sys/module/coop_idle/parameters/idle_us
 */
#include <linux/cpumask.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/kernel_stat.h>

static int idle_us_get(char *buffer, const struct kernel_param *param)
{
	u64 sum = 0;
	int cpu;

	for_each_online_cpu(cpu)
		sum += get_cpu_idle_time_us(cpu, NULL) + get_cpu_iowait_time_us(cpu, NULL);
	return sysfs_emit(buffer, "%llu\n", sum);
}

static const struct kernel_param_ops idle_us_ops = { .get = idle_us_get };

module_param_cb(idle_us, &idle_us_ops, NULL, 0444);
MODULE_PARM_DESC(idle_us, "time that the CPUs have been idle since boot");
MODULE_DESCRIPTION("Idle time, precisely");
MODULE_LICENSE("GPL");
