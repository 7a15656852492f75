// SPDX-License-Identifier: GPL-2.0
/*
 * Puts one PCI device to sleep as long as this module is loaded, by the calls by which the
 * system does it to all devices (drivers/base/power/main.c): the guest's file system is
 * on one that does not stand this.
 */
#include <linux/device.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/pm.h>

static char *device;
module_param(device, charp, 0);
MODULE_PARM_DESC(device, "where it is: 0000:00:03.0");

static bool cold;
module_param(cold, bool, 0);
MODULE_PARM_DESC(cold, "whether it has no power meanwhile, so that it forgets everything");

static struct device *asleep;

static int __init coop_sleep_init(void)
{
	const struct dev_pm_ops *pm = pci_bus_type.pm;
	struct device *dev;
	int error;

	if (!device || !pm)
		return -EINVAL;
	dev = bus_find_device_by_name(&pci_bus_type, NULL, device);
	if (!dev)
		return -ENODEV;
	if (cold && !to_pci_dev(dev)->bus->self) {
		put_device(dev);
		return -EOPNOTSUPP;
	}
	device_lock(dev);
	error = pm->suspend(dev);
	if (!error) {
		error = pm->suspend_noirq(dev);
		if (error)
			pm->resume(dev);
	}
	device_unlock(dev);
	if (error)
		put_device(dev);
	else
		asleep = dev;
	return error;
}
module_init(coop_sleep_init);

static void __exit coop_sleep_exit(void)
{
	const struct dev_pm_ops *pm = pci_bus_type.pm;

	device_lock(asleep);
	if (cold && pci_bridge_secondary_bus_reset(to_pci_dev(asleep)->bus->self))
		dev_err(asleep, "its bus was not reset\n");
	pm->resume_noirq(asleep);
	pm->resume(asleep);
	device_unlock(asleep);
	put_device(asleep);
}
module_exit(coop_sleep_exit);

MODULE_AUTHOR("The coop-domain project");
MODULE_DESCRIPTION("One PCI device sleeps");
MODULE_LICENSE("GPL");
